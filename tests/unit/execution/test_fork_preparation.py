"""Preparing a process once for all workers that fork from it."""

import json
import os

import pytest
from botocore.exceptions import NoCredentialsError

from rayform_runtime.artifacts.stores import s3
from rayform_runtime.artifacts.stores.config import S3StoreConfig
from rayform_runtime.cluster.step_workers.fork_preparation import preparation_of, prepare_for_forks
from rayform_runtime.components import StackSpec

NOWHERE = {"bucket": "bucket", "endpoint_url": "http://127.0.0.1:9"}


@pytest.fixture
def keys(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")


@pytest.fixture(autouse=True)
def _nothing_prepared(monkeypatch):
    monkeypatch.setattr(s3, "_prepared", {})
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")


def stack(**config):
    kinds = {"artifact-store": ("s3", config), "catalog": ("postgres", {"host": "h", "password": "secret"})}
    components = {
        kind: {"name": "n", "kind": kind, "flavor": flavor, "config": settings}
        for kind, (flavor, settings) in kinds.items()
    }
    return StackSpec.model_validate({"name": "prod", "components": components})


def test_the_variable_holds_the_store_alone():
    """It holds nothing of the catalog or of another component."""
    (text,) = preparation_of(stack(**NOWHERE)).values()
    assert list(json.loads(text)["components"]) == ["artifact-store"]
    assert "secret" not in text


@pytest.mark.usefixtures("keys")
def test_stores_of_one_process_share_the_prepared_client(monkeypatch):
    """One client per configuration is made, without a request to the store; forks of its user make their own."""
    assert prepare_for_forks(preparation_of(stack(**NOWHERE)))
    (prepared,) = s3._prepared.values()
    other = s3.S3ArtifactStore(S3StoreConfig(**{**NOWHERE, "bucket": "another"}), stack_name="prod")
    assert other._client is not prepared.client
    first, second, in_a_fork = (
        s3.S3ArtifactStore(S3StoreConfig(**NOWHERE), stack_name="prod") for _ in range(3)
    )
    assert first._client is second._client is prepared.client
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert in_a_fork._client is not prepared.client
    assert prepare_for_forks(preparation_of(stack(**NOWHERE)))
    (anew,) = s3._prepared.values()
    assert anew.client is not prepared.client


def test_a_client_without_credentials_is_not_handed_on(monkeypatch):
    """Each worker then looks for credentials itself: they may come later."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NoCredentialsError):
        prepare_for_forks(preparation_of(stack(bucket="bucket", region="eu-central-1")))
    assert s3._prepared == {}


def test_without_the_variable_nothing_is_prepared():
    """A server of an older head, or without a run, starts as before."""
    assert not prepare_for_forks({})
