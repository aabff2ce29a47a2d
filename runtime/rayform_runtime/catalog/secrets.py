"""The database's password: from the environment, or from a cloud's secret store with the cloud's own credentials."""

from __future__ import annotations

import base64
import binascii
import json
import os
from typing import Any

from rayform_core.emulated_cloud import keys_for
from rayform_core.errors import PrerequisiteError, RemoteError
from rayform_runtime.catalog.config import PostgresConfig

__all__ = ["read_password"]


def read_password(config: PostgresConfig) -> str | None:
    """Return the password that the settings name, or `None` if they name none.

    Raises:
        PrerequisiteError: the environment variable isn't set, or the cloud's package is missing.
        RemoteError: the secret can't be read, or has no password in it.
    """
    if config.password_env:
        password = os.environ.get(config.password_env)
        if not password:
            raise PrerequisiteError(
                f"Environment variable '{config.password_env}' isn't set.",
                why=f"The catalog's settings name it for the password of user '{config.user}'.",
                hint=f"Set it: export {config.password_env}=…",
            )
        return password
    if config.password_secret:
        # Google's secrets are `projects/P/secrets/S/versions/V`; an AWS name may have slashes, but doesn't start so.
        read = _from_google if config.password_secret.startswith("projects/") else _from_aws
        return _password_in(read(config, config.password_secret), config.password_secret)
    return None


def _password_in(text: str, name: str) -> str:
    """Return `password` of the JSON that the clouds' databases store, or the text itself if it isn't JSON."""
    try:
        secret = json.loads(text)
    except ValueError:
        return text
    if isinstance(secret, dict):
        password = secret.get("password")
        if isinstance(password, str) and password:
            return password
        raise RemoteError(f"Secret '{name}' holds no password.", why="Its JSON has no text under 'password'.")
    return text


def _from_aws(config: PostgresConfig, name: str) -> str:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError as error:
        raise _missing(error, "aws") from error
    client: Any = boto3.client(
        "secretsmanager",
        region_name=config.region or _region_in(name),
        endpoint_url=config.endpoint_url,
        **keys_for(config.endpoint_url),
    )
    try:
        return str(client.get_secret_value(SecretId=name)["SecretString"])
    except (BotoCoreError, ClientError, KeyError) as error:
        raise _unreadable(name, error, "secretsmanager:GetSecretValue") from error


def _region_in(name: str) -> str | None:
    parts = name.split(":")
    return parts[3] if len(parts) > 5 and parts[0] == "arn" else None


def _from_google(config: PostgresConfig, name: str) -> str:
    try:
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import AuthorizedSession
        from requests import RequestException
    except ModuleNotFoundError as error:
        raise _missing(error, "gcp") from error
    endpoint = (config.endpoint_url or "https://secretmanager.googleapis.com").rstrip("/")
    version = name if "/versions/" in name else f"{name}/versions/latest"
    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        with AuthorizedSession(credentials) as session:  # type: ignore[no-untyped-call]
            answer = session.get(f"{endpoint}/v1/{version}:access", timeout=20)
            answer.raise_for_status()
            return base64.b64decode(answer.json()["payload"]["data"]).decode()
    except (GoogleAuthError, RequestException, KeyError, ValueError, binascii.Error) as error:
        raise _unreadable(name, error, "secretmanager.versions.access") from error


def _missing(error: ModuleNotFoundError, extra: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"The catalog's password needs the Python package '{error.name}'.",
        hint=f"Install it: pip install 'rayform[{extra}]'.",
    )


def _unreadable(name: str, error: Exception, permission: str) -> RemoteError:
    return RemoteError(
        f"Secret '{name}' can't be read.",
        why=f"{type(error).__name__}: {error}.",
        hint=f"Check that it exists and that your cloud credentials have the permission '{permission}'.",
    )
