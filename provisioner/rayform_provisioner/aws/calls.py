"""Turns what boto3 raises into errors that say what to do next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rayform_core.errors import RemoteError
from rayform_provisioner.clouds import MissingCredentialsError
from rayform_provisioner.targets import Target, emulated_cloud_is_up

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

_LOG_IN = "Run `aws configure` or `aws sso login`."


def error_code(error: Exception) -> str:
    """Return AWS's code of a `ClientError`, such as `NoSuchBucket`; empty if it has none."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def error_message(error: Exception) -> str:
    """Return the sentence that AWS sent with a `ClientError`."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Message", ""))


@contextlib.contextmanager
def aws_calls(target: Target) -> Iterator[None]:
    """Turn the errors that boto3 raises inside the block into `RemoteError` or `MissingCredentialsError`."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        hint = _LOG_IN
        if emulated_cloud_is_up():
            hint += " Or deploy to the emulated cloud, which is up: --target localstack."
        raise MissingCredentialsError(
            "There are no AWS credentials.", why=f"{error}.", hint=hint, log_in=_LOG_IN
        ) from error
    except ClientError as error:
        code = error_code(error)
        if any(word in code for word in _UNKNOWN_KEYS):
            hint = "Check which keys are used (`aws sts get-caller-identity`); `aws sso login` renews those of a login."
            if target.emulated:
                hint = "The emulated cloud at this address has other keys: see its endpoints file."
        elif any(word in code for word in ("Denied", "Unauthorized", "Forbidden")):
            hint = "Give the user who deploys this permission; docs/stacks.md has the whole policy."
        else:
            hint = "Run the command again; it continues where it stopped."
        raise RemoteError(
            f"AWS refused {error.operation_name}.", why=f"{code}: {error_message(error)}", hint=hint
        ) from error
    except BotoCoreError as error:
        where = "The emulated cloud" if target.emulated else "AWS"
        hint = (
            "Is it up? See `rayform localstack status`."
            if target.emulated
            else "Check the network and the region."
        )
        raise RemoteError(f"{where} did not answer.", why=f"{error}", hint=hint) from error
