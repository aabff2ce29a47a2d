"""Turns what boto3 raises into errors that say what to do next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rayform_core.errors import RemoteError
from rayform_provisioner.aws.credentials import credentials_error
from rayform_provisioner.targets import Target

__all__ = ["aws_calls", "error_code", "error_message"]

_UNKNOWN_KEYS = (
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "UnrecognizedClient",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "ExpiredToken",
    "RequestExpired",
)
"""Codes that say that the keys are wrong or too old, rather than that they lack a permission."""


def error_code(error: Exception) -> str:
    """Return AWS's code of a `ClientError`, such as `NoSuchBucket`; empty if it has none."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def error_message(error: Exception) -> str:
    """Return the sentence that AWS sent with a `ClientError`."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Message", ""))


@contextlib.contextmanager
def aws_calls(target: Target) -> Iterator[None]:
    """Turn the errors that boto3 raises inside the block into `RemoteError` or `MissingCredentialsError`."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        code = error_code(error)
        raise RemoteError(
            f"AWS refused {error.operation_name}.",
            why=f"{code}: {error_message(error)}",
            hint=_next_step(code, target),
        ) from error
    except ResponseParserError as error:
        raise RemoteError(
            "The answer is not AWS's: something between this machine and AWS replied.",
            why=f"{str(error).splitlines()[0][:300]}.",
            hint="Check the proxy (HTTPS_PROXY) and the network's login page, and try again.",
        ) from error
    except BotoCoreError as error:
        missing = credentials_error(error)
        if missing is not None:
            raise missing from error
        where = "The emulated cloud" if target.emulated else "AWS"
        hint = (
            "Is it up? See `rayform localstack status`."
            if target.emulated
            else "Check the network and the region."
        )
        raise RemoteError(f"{where} did not answer.", why=f"{error}", hint=hint) from error


def _next_step(code: str, target: Target) -> str:
    """Return what to do about a refusal with this code."""
    if any(word in code for word in _UNKNOWN_KEYS):
        if target.emulated:
            return "The emulated cloud at this address has other keys: see its endpoints file."
        return "Check which keys are used (`aws sts get-caller-identity`); `aws sso login` renews those of a login."
    if any(word in code for word in ("Denied", "Unauthorized", "Forbidden")):
        return "Give the user who deploys this permission; docs/stacks.md has the whole policy."
    if code == "NoSuchBucket":
        return "Check the bucket's name. The bucket of `state` must be there before the first deploy."
    if any(word in code for word in ("NotFound", "NoSuch", "Invalid", "Malformed", "Validation", "Conflict")):
        return "AWS's sentence says what doesn't fit; correct it in the definition or in the account."
    return "Run the command again; it continues where it stopped."
