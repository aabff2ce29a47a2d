"""The database's password comes from the place that the settings name, and from nowhere else."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import boto3
import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials
from moto import mock_aws

from rayform_core.errors import PrerequisiteError, RemoteError
from rayform_runtime.catalog.config import PostgresConfig
from rayform_runtime.catalog.secrets import read_password


def config(**settings: str) -> PostgresConfig:
    return PostgresConfig(host="db", **settings)  # type: ignore[arg-type]


def test_no_password_is_asked_for_where_none_is_named() -> None:
    """A server that trusts its network needs no password."""
    assert read_password(config()) is None


def test_the_environment_holds_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named variable is read each time, and one that isn't set is a missing prerequisite."""
    monkeypatch.setenv("DB_PASSWORD", "one")
    assert read_password(config(password_env="DB_PASSWORD")) == "one"
    monkeypatch.delenv("DB_PASSWORD")
    with pytest.raises(PrerequisiteError, match="DB_PASSWORD"):
        read_password(config(password_env="DB_PASSWORD"))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    with mock_aws():
        yield


@pytest.mark.moto
@pytest.mark.parametrize(
    ("kept", "password"),
    [(json.dumps({"username": "u", "password": "p'w"}), "p'w"), ("bare words", "bare words")],
)
def test_aws_keeps_a_password(aws: None, kept: str, password: str) -> None:
    """A secret's ARN names its region; it may be RDS's JSON or a bare password."""
    client = boto3.client("secretsmanager", region_name="eu-west-1")
    arn = client.create_secret(Name="catalog/db", SecretString=kept)["ARN"]
    assert read_password(config(password_secret=arn)) == password
    assert read_password(config(password_secret="catalog/db", region="eu-west-1")) == password


@pytest.mark.moto
def test_a_secret_that_helps_nobody_is_named(aws: None) -> None:
    """A missing secret, and one without a password, are remote errors that don't show what is in them."""
    with pytest.raises(RemoteError, match=r"'nope' can't be read.*GetSecretValue"):
        read_password(config(password_secret="nope", region="eu-west-1"))
    client = boto3.client("secretsmanager", region_name="eu-west-1")
    client.create_secret(Name="odd", SecretString=json.dumps({"token": "hidden"}))
    with pytest.raises(RemoteError, match="holds no password") as caught:
        read_password(config(password_secret="odd", region="eu-west-1"))
    assert "hidden" not in str(caught.value)


class SecretManager(BaseHTTPRequestHandler):
    """Answers for one secret as Google's API does."""

    def do_GET(self) -> None:
        exists = self.path == "/v1/projects/p/secrets/catalog/versions/latest:access"
        body = json.dumps(
            {"payload": {"data": base64.b64encode(b'{"password": "g"}').decode()}} if exists else {}
        )
        self.send_response(200 if exists else 404)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        """Log nothing."""


def test_google_keeps_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that begins with `projects/` is read from Google's Secret Manager, by default its latest version."""
    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), "p"))
    with HTTPServer(("127.0.0.1", 0), SecretManager) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            endpoint = f"http://127.0.0.1:{server.server_port}"
            settings = config(password_secret="projects/p/secrets/catalog", endpoint_url=endpoint)
            assert read_password(settings) == "g"
            with pytest.raises(RemoteError, match="'projects/p/secrets/other' can't be read"):
                read_password(config(password_secret="projects/p/secrets/other", endpoint_url=endpoint))
        finally:
            server.shutdown()
            thread.join()
