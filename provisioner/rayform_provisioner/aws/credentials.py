# ruff: noqa: E501  (sentences read better whole)
"""Makes the boto3 session of this process, and turns what is wrong with a user's AWS credentials into errors.

botocore has a class for each way in which credentials can't be had, and none of them says what to do. Each gets a
sentence of its own here, with the profile's name.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from rayform_core.errors import PrerequisiteError
from rayform_provisioner.clouds import MissingCredentialsError
from rayform_provisioner.targets import emulated_cloud_is_up

__all__ = ["credentials_error", "emulated_session", "user_session"]


@functools.cache
def user_session() -> Any:
    """Return the session with the user's credentials, which are read here once; cheap after the first call.

    Raises:
        MissingCredentialsError: they can't be had; the error says why and which command gets new ones.
        PrerequisiteError: boto3 is not installed.
    """
    boto3 = _boto3()
    from botocore.exceptions import BotoCoreError, NoCredentialsError

    try:
        session = boto3.Session()
        if _asks_for_a_code(session):
            raise MissingCredentialsError(
                f"AWS profile '{_profile()}' asks for an MFA code, and there is no terminal to type it on.",
                hint="Run the command in a terminal, or put temporary keys into the environment (aws sts get-session-token).",
            )
        credentials = session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        # Most providers fetch keys only now.
        credentials.get_frozen_credentials()
    except BotoCoreError as error:
        raise credentials_error(error) or error from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # A `credential_process` that is missing or prints something else than its JSON ends in Python's own errors.
        raise MissingCredentialsError(
            f"The credentials of AWS profile '{_profile()}' can't be read.",
            why=f"{type(error).__name__}: {error}.",
            hint="Run the profile's `credential_process` by hand: it must print JSON with Version, AccessKeyId and SecretAccessKey.",
        ) from error
    return session


@functools.cache
def emulated_session() -> Any:
    """Return a session that reads no file and no profile of the user's: an emulated cloud has its own keys."""
    boto3 = _boto3()
    import botocore.session

    base = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    return boto3.Session(botocore_session=base)


def _boto3() -> Any:
    try:
        import boto3
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "Stacks on AWS need the Python package 'boto3'.",
            hint="Install it: pip install 'rayform[aws]'.",
        ) from error
    return boto3


def _asks_for_a_code(session: Any) -> bool:
    """Return whether botocore would ask for an MFA code on a terminal that isn't there."""
    # Private to boto3, but public in botocore, which boto3 never replaces.
    scoped = session._session.get_scoped_config()
    return "mfa_serial" in scoped and "role_arn" in scoped and not sys.stdin.isatty()


def _profile() -> str:
    return os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"


def _log_in() -> str:
    profile = _profile()
    return "aws sso login" if profile == "default" else f"aws sso login --profile {profile}"


def credentials_error(error: Exception) -> MissingCredentialsError | None:
    """Return what a botocore error means if it is about the user's credentials, else `None`."""
    from botocore import exceptions as aws

    profile = _profile()
    if isinstance(error, (aws.NoCredentialsError, aws.PartialCredentialsError)):
        log_in = "Run `aws configure` or `aws sso login`."
        other = (
            " Or deploy to the emulated cloud, which is up: --target localstack."
            if emulated_cloud_is_up()
            else ""
        )
        return MissingCredentialsError(
            "There are no AWS credentials.", why=f"{error}.", hint=log_in + other, log_in=log_in
        )
    texts: list[tuple[tuple[type[Exception], ...], str, str]] = [
        (
            (aws.ProfileNotFound,),
            f"There is no AWS profile '{profile}'.",
            "`aws configure list-profiles` shows those that there are; AWS_PROFILE names the one to use.",
        ),
        (
            (aws.SSOError, aws.TokenRetrievalError),
            f"The SSO login of AWS profile '{profile}' has expired.",
            f"Log in again: {_log_in()}",
        ),
        (
            (aws.LoginError,),
            f"The login of AWS profile '{profile}' has expired.",
            "Log in again: aws login" + ("" if profile == "default" else f" --profile {profile}"),
        ),
        (
            (aws.RefreshWithMFAUnsupportedError,),
            f"The keys of AWS profile '{profile}' have expired, and new ones need an MFA code.",
            "Run the command again, and type the code.",
        ),
        (
            (aws.ConfigParseError, aws.ConfigNotFound),
            "AWS's configuration file can't be read.",
            "Correct it; `aws configure list` reads the same file.",
        ),
        (
            (aws.InvalidConfigError,),
            f"The configuration of AWS profile '{profile}' is wrong.",
            "Correct it in ~/.aws/config (AWS_CONFIG_FILE names another file).",
        ),
        (
            (aws.CredentialRetrievalError, aws.UnknownCredentialError),
            f"AWS profile '{profile}' gave no credentials.",
            "Try the profile by hand: aws sts get-caller-identity"
            + ("" if profile == "default" else f" --profile {profile}"),
        ),
    ]
    for classes, message, hint in texts:
        if isinstance(error, classes):
            return MissingCredentialsError(message, why=f"{str(error).strip().rstrip('.')}.", hint=hint)
    return None
