"""Turns what boto3 raises into errors that say what to do next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rayform_core.errors import PrerequisiteError, RemoteError
from rayform_provisioner.targets import Target, emulated_cloud_is_up

__all__ = ["MissingCredentialsError", "aws_calls", "error_code", "error_message"]

_UNKNOWN_KEYS = (
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "UnrecognizedClient",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "ExpiredToken",
    "RequestExpired",
)
"""Codes by which AWS's services say that the keys are wrong or too old, rather than that a right is missing."""


class MissingCredentialsError(PrerequisiteError):
    """This machine has no keys for AWS."""

    log_in = "Run `aws configure` or `aws sso login`."


def error_code(error: Exception) -> str:
    """Return AWS's code of a `ClientError`, such as `NoSuchBucket`; empty where it has none."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def error_message(error: Exception) -> str:
    """Return AWS's sentence of a `ClientError`."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Message", ""))


@contextlib.contextmanager
def aws_calls(target: Target) -> Iterator[None]:
    """Within it, boto3's errors become `RemoteError` or `PrerequisiteError`."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        hint = MissingCredentialsError.log_in
        if emulated_cloud_is_up():
            hint += " Or deploy to the emulated cloud, which is up: --target localstack."
        raise MissingCredentialsError("There are no AWS credentials.", why=f"{error}.", hint=hint) from error
    except ClientError as error:
        code, said = error_code(error), error_message(error)
        if any(word in code for word in _UNKNOWN_KEYS):
            hint = "Check which keys are used (`aws sts get-caller-identity`); `aws sso login` renews those of a login."
            if target.emulated:
                hint = "These are not the keys of the cloud that runs there: see its endpoints file."
        elif any(word in code for word in ("Denied", "Unauthorized", "Forbidden")):
            hint = "Give the person who deploys this right; docs/stacks.md has the whole policy."
        else:
            hint = "Run the command again; it goes on where it stopped."
        raise RemoteError(f"AWS refused {error.operation_name}.", why=f"{code}: {said}", hint=hint) from error
    except BotoCoreError as error:
        where = "The emulated cloud" if target.emulated else "AWS"
        hint = (
            "Is it up? See `rayform localstack status`."
            if target.emulated
            else "Check the network and the region."
        )
        raise RemoteError(f"{where} did not answer.", why=f"{error}", hint=hint) from error
