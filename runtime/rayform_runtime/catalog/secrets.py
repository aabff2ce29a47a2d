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
    """Return the password that the settings point to, or `None` where they name none.

    Raises:
        PrerequisiteError: the environment variable isn't set, or the cloud's package is missing.
        RemoteError: the secret can't be read, or holds no password.
    """
    if config.password_env:
        password = os.environ.get(config.password_env)
        if not password:
            raise PrerequisiteError(
                f"Environment variable '{config.password_env}' isn't set.",
                why=f"It is to hold the password of user '{config.user}' of the catalog.",
                hint=f"Set it: export {config.password_env}=…",
            )
        return password
    if config.password_secret:
        # Google's secrets are `projects/P/secrets/S/versions/V`; an AWS name may hold slashes but no such start.
        read = _from_google if config.password_secret.startswith("projects/") else _from_aws
        return _password_in(read(config, config.password_secret), config.password_secret)
    return None


def _password_in(text: str, name: str) -> str:
    """Take `password` out of the JSON that the clouds' databases keep, or the text itself where it isn't JSON."""
    try:
        held = json.loads(text)
    except ValueError:
        return text
    if isinstance(held, dict):
        password = held.get("password")
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


def _unreadable(name: str, error: Exception, right: str) -> RemoteError:
    return RemoteError(
        f"Secret '{name}' can't be read.",
        why=f"{type(error).__name__}: {error}.",
        hint=f"See that it exists and that your cloud credentials have the right '{right}'.",
    )
