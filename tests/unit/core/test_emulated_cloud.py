"""The keys of the emulated cloud only go to its own endpoints."""

from __future__ import annotations

import json

import pytest

from rayform_core.emulated_cloud import keys_for

KEYS = {"aws_access_key_id": "AKIA1", "aws_secret_access_key": "s"}


@pytest.fixture
def endpoints(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))
    (tmp_path / "localstack").mkdir()
    path = tmp_path / "localstack" / "endpoints.json"
    services = {"s3": "http://198.18.1.1:4566", "ec2": "http://198.18.1.1:4566"}
    path.write_text(json.dumps({"services": services, "access_key": "AKIA1", "secret_key": "s"}))
    return path


@pytest.mark.parametrize("url", ["http://198.18.1.1:4566", "http://198.18.1.1:4566/"])
def test_emulator_endpoint(endpoints, url):
    """A component that names the emulator's endpoint gets the emulator's keys."""
    assert keys_for(url) == KEYS


@pytest.mark.parametrize("url", [None, "http://198.18.1.1:9000", "https://minio.example:4566"])
def test_other_endpoints(endpoints, url):
    """No other endpoint gets the emulator's keys."""
    assert keys_for(url) == {}


@pytest.mark.parametrize("text", ["", "[]", '{"services": []}', '{"services": {"s3": "http://h:1"}}'])
def test_unreadable(endpoints, text):
    """A file of another form yields neither keys nor an error."""
    endpoints.write_text(text)
    assert keys_for("http://h:1") == {}


def test_nothing_up(tmp_path, monkeypatch):
    """If no emulated cloud is up, as on a stack's own machines, AWS's chain finds the keys."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))
    assert keys_for("http://198.18.1.1:4566") == {}


def test_components_speak_with_them(endpoints, monkeypatch):
    """The stack's bucket is opened with the emulator's keys, whatever account the shell is logged in to."""
    pytest.importorskip("boto3")
    from rayform_runtime.artifacts.stores.config import S3StoreConfig
    from rayform_runtime.artifacts.stores.s3 import S3ArtifactStore

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPRODUCTION")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "p")
    store = S3ArtifactStore(
        S3StoreConfig(bucket="rayform-x", endpoint_url="http://198.18.1.1:4566"), stack_name="x"
    )
    assert store._client._request_signer._credentials.access_key == "AKIA1"
