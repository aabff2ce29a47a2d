"""One fixture, `store`: an empty store of each implementation in turn."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.servers.gcs import gcs_server
from support.servers.localstack import localstack_server
from support.servers.moto import CREDENTIALS, moto_server

from rayform_runtime.artifacts.stores.config import LocalStoreConfig, S3StoreConfig
from rayform_runtime.artifacts.stores.interface import ArtifactStore
from rayform_runtime.artifacts.stores.local import LocalArtifactStore


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches and staging folders of this test alone."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send files of 10 MB and more in parts, as to a cloud; emulators get one stream otherwise."""
    monkeypatch.setattr("rayform_runtime.artifacts.stores.s3._NEARBY_PART", 5 << 20)


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A moto server."""
    with moto_server(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def localstack_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real LocalStack."""
    with localstack_server(tmp_path_factory.mktemp("localstack")) as url:
        yield url


@pytest.fixture(scope="session")
def gcs_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """gcp-storage-emulator, with preconditions."""
    with gcs_server(tmp_path_factory.mktemp("gcs") / "log") as url:
        yield url


def make_bucket(url: str) -> str:
    """Make a bucket of its own for a test."""
    import boto3

    bucket = f"test-{uuid.uuid4().hex}"
    boto3.session.Session().client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(
        Bucket=bucket
    )
    return bucket


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of an emulator's client."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")


@pytest.fixture(
    params=[
        "local",
        pytest.param("s3-moto", marks=pytest.mark.moto),
        pytest.param("s3-localstack", marks=pytest.mark.localstack),
        "gcs",
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactStore]:
    """An empty store. A remote one forgets its cache after each commit, so that reads go to the server."""
    kind = request.param
    if kind == "local":
        yield LocalArtifactStore(LocalStoreConfig(path=str(tmp_path / "store with space")), stack_name="test")
        return
    request.getfixturevalue("aws")
    made: Any
    if kind.startswith("s3"):
        from rayform_runtime.artifacts.stores.s3 import S3ArtifactStore

        url = request.getfixturevalue("moto_url" if kind == "s3-moto" else "localstack_url")
        made = S3ArtifactStore(
            S3StoreConfig(bucket=make_bucket(url), endpoint_url=url, prefix="some/prefix"), stack_name="test"
        )
    else:
        made = request.getfixturevalue("make_gcs_store")()

    def forgetting(commit: Any) -> Any:
        def commit_and_forget(*args: Any, **kwargs: Any) -> Any:
            done = commit(*args, **kwargs)
            for kept in ("entries", "manifests"):
                shutil.rmtree(made._cache.root / kept, ignore_errors=True)
            return done

        return commit_and_forget

    made.commit, made.commit_files = forgetting(made.commit), forgetting(made.commit_files)
    yield made


@pytest.fixture
def make_gcs_store(gcs_url: str) -> Any:
    """Makes stores in buckets of their own."""

    def make() -> Any:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        from rayform_runtime.artifacts.stores.config import GCSStoreConfig
        from rayform_runtime.artifacts.stores.gcs import GCSArtifactStore

        bucket = f"test-{uuid.uuid4().hex}"
        client = storage.Client(
            project="test", credentials=AnonymousCredentials(), client_options={"api_endpoint": gcs_url}
        )
        client.create_bucket(bucket)
        client.close()
        return GCSArtifactStore(
            GCSStoreConfig(bucket=bucket, endpoint_url=gcs_url, project="test"), stack_name="test"
        )

    return make
