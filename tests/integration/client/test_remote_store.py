"""The client on a stack whose artifact store is an S3 bucket."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.servers.moto import CREDENTIALS, moto_server

from rayform import load_artifact, register_artifact, save_artifact, stacks
from rayform.reading.client import Client
from rayform.stacks.components import register_component
from rayform_core.errors import RayformError

pytestmark = pytest.mark.moto


@pytest.fixture(scope="module")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A moto server."""
    with moto_server(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url


@pytest.fixture
def bucket(moto_url: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket, and a stack `s3` on it that is active."""
    import boto3

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    name = f"test-{uuid.uuid4().hex}"
    boto3.session.Session().client("s3", endpoint_url=moto_url).create_bucket(Bucket=name)
    config = {"bucket": name, "region": "us-east-1", "endpoint_url": moto_url}
    register_component("artifact-store", "s3", flavor="s3", config=config)
    stacks.register_stack("s3", artifact_store="s3")
    stacks.set_active_stack("s3")
    return name


def test_save_load_register_and_prune(bucket: str, moto_url: str) -> None:
    """Values, pictures and registered data come back from a bucket, and prune sweeps lost attempts in it."""
    version = save_artifact({"a": 1}, "values", visualizations={"a.html": "<b>hi</b>"})
    assert version.uri.startswith(f"s3://{bucket}/")
    assert load_artifact("values") == {"a": 1}
    assert version.visualize() == {"a.html": "<b>hi</b>"}
    with Client() as client:
        store = client.artifact_store
        store.put_bytes("raw/deep/a.bin", b"x" * 100_000)
        store.put_bytes("raw/b.bin", b"y")
        registered = register_artifact(f"s3://{bucket}/artifacts/raw", "raw")
        path = registered.load()
        assert sorted(p.relative_to(path).as_posix() for p in path.rglob("*.bin")) == ["b.bin", "deep/a.bin"]
        assert registered.load() == path
        kept = save_artifact([1], "values", tags=["keep"])
        lost = f"versions/{kept.id}/lost-attempt/value.json"
        store.put_bytes(lost, b"half")
        orphan = f"versions/{uuid.uuid4()}/attempt/value.json"
        store.put_bytes(orphan, b"half")
        # Values saved by hand are only offered with an age.
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        report = client.prune_artifacts(leftover_age=-60, older_than=tomorrow)
        assert [v.id for v in report.versions] == [version.id]
        assert {key for lo in report.leftovers for key in lo.keys} == {lost, orphan}
        assert {o.key for o in store.list_objects("raw/")} == {"raw/deep/a.bin", "raw/b.bin"}
        assert kept.load() == [1]


@pytest.mark.parametrize("data", [None, b"", b'{"schema": 99}'], ids=["gone", "empty", "newer"])
def test_a_damaged_manifest_keeps_prune_from_nothing_else(bucket: str, data: bytes | None) -> None:
    """Data next to a manifest that can't be read is left alone, and all other leftovers go."""
    kept = save_artifact([1], "values", tags=["keep"])
    with Client() as client:
        store = client.artifact_store
        beside, manifest = (
            f"versions/{kept.id}/{n}" for n in ("attempt/value.json", "rayform-manifest.json")
        )
        store.put_bytes(beside, b"half")
        store.delete_objects([manifest])
        if data is not None:
            store.put_bytes(manifest, data)
        loose = f"versions/{uuid.uuid4()}/attempt/value.json"
        store.put_bytes(loose, b"half")
        report = client.prune_artifacts(leftover_age=-60)
        assert [lo.keys for lo in report.leftovers] == [(loose,)]
        assert store.get_bytes(beside) == b"half"


def test_a_bucket_that_cant_be_used_isnt_registered(bucket: str, moto_url: str) -> None:
    """Registration reaches the bucket first."""
    config = {"bucket": "no-such-bucket-here", "region": "us-east-1", "endpoint_url": moto_url}
    with pytest.raises(RayformError, match="no-such-bucket-here"):
        register_component("artifact-store", "bad", flavor="s3", config=config)


def test_logs_and_results_of_a_run_are_in_the_bucket(bucket: str, project: Path) -> None:
    """A pipeline on such a stack leaves its values and logs in the bucket, and any reader finds them."""
    (project / "hello.py").write_text(
        "from rayform import pipeline, step\n\n@step\ndef hello() -> int:\n    print('said')\n    return 7\n\n"
        "@pipeline\ndef greet() -> None:\n    hello()\n\nif __name__ == '__main__':\n    greet()\n"
    )
    done = subprocess.run([sys.executable, "hello.py"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with Client() as client:
        run = client.list_pipeline_runs()[0]
        assert run.steps["hello"].output.load() == 7
        assert run.steps["hello"].output.uri.startswith(f"s3://{bucket}/")
        assert run.steps["hello"].logs() == "said\n"
    listed = subprocess.run(
        [sys.executable, "-m", "rayform.cli", "artifact", "describe", "greet::hello::output", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(listed.stdout)["uri"].startswith("s3://")
