"""Copying model versions from one stack to another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rayform import save_artifact
from rayform.reading.client import Client
from rayform.reading.copying import copy_model_version
from rayform.reading.views import ModelVersionView
from rayform_core.errors import IntegrityError, NotFoundError, UsageError
from rayform_runtime.components import StackSpec


@pytest.fixture
def elsewhere(rayform_home: Path, tmp_path: Path) -> Iterator[Client]:
    """A client of a second stack, with a store and a catalog of its own."""
    configs = {
        "orchestrator": ("local", {}),
        "artifact-store": ("local", {"path": str(tmp_path / "far" / "artifacts")}),
        "catalog": ("sqlite", {"path": str(tmp_path / "far" / "catalog.db")}),
    }
    components = {
        kind: {"name": "far", "kind": kind, "flavor": flavor, "config": config}
        for kind, (flavor, config) in configs.items()
    }
    with Client(StackSpec.model_validate({"name": "far", "components": components})) as opened:
        yield opened


@pytest.fixture
def trained(client: Client) -> ModelVersionView:
    """A version in production with two artifacts in the default stack."""
    client.create_model("digits")
    version = client.create_model_version(
        "digits", description="best", tags=["a"], metadata={"accuracy": 0.9}
    )
    ids = [save_artifact([1, 2], "classifier", tags=["t"]).id, save_artifact({"a": 1}, "scaler").id]
    client.catalog.link_model_version(version.id, artifact_version_ids=ids)
    return version.set_stage("production")


def test_a_copy_is_the_same_value_under_the_same_uuid(
    client: Client, elsewhere: Client, trained: ModelVersionView
) -> None:
    """Artifacts keep UUID, digest and tags; the version keeps its facts and says where it came from."""
    copy = copy_model_version(client, elsewhere, "digits", "production", stage="production")
    assert (copy.version, copy.stage.value, copy.description, list(copy.tags)) == (
        "1",
        "production",
        "best",
        ["a"],
    )
    assert copy.run_metadata["accuracy"] == 0.9
    assert copy.run_metadata["copied_from"] == {"stack": "default", "version": "1", "id": str(trained.id)}
    original = client.get_artifact_version("classifier")
    copied = copy.get_artifact("classifier")
    assert copied is not None
    assert (copied.id, copied.digest, list(copied.tags)) == (original.id, original.digest, ["t"])
    assert copied.load() == [1, 2]
    assert copy.load_artifact("scaler") == {"a": 1}


def test_copying_again_copies_nothing(client: Client, elsewhere: Client, trained: ModelVersionView) -> None:
    """A second copy of the same version is the first one."""
    first = copy_model_version(client, elsewhere, "digits", "production")
    before = sorted(o.key for o in elsewhere.artifact_store.list_objects())
    again = copy_model_version(client, elsewhere, "digits", "1")
    assert again.id == first.id
    assert elsewhere.list_artifact_versions().total == 2
    assert sorted(o.key for o in elsewhere.artifact_store.list_objects()) == before


def test_an_interrupted_copy_is_completed(
    client: Client, elsewhere: Client, trained: ModelVersionView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data that a first try committed without a row is taken up by the next."""
    with monkeypatch.context() as patched:

        def dies(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(elsewhere.catalog, "create_artifact_version", dies)
        with pytest.raises(KeyboardInterrupt):
            copy_model_version(client, elsewhere, "digits")
    assert not _has(elsewhere)
    copy = copy_model_version(client, elsewhere, "digits")
    assert copy.load_artifact("classifier") == [1, 2]


def _has(client: Client) -> bool:
    return client.list_models().total > 0


def test_a_damaged_artifact_is_never_copied(
    client: Client, elsewhere: Client, trained: ModelVersionView, rayform_home: Path
) -> None:
    """Where one artifact's bytes changed, the copy is refused and no model version is made."""
    store = rayform_home / "local" / "artifacts"
    data = next(p for p in store.rglob("*") if p.is_file() and "[1,2]" in p.read_text())
    data.write_text(data.read_text().replace("[1,2]", "[1,3]"))
    with pytest.raises(IntegrityError):
        copy_model_version(client, elsewhere, "digits")
    assert not _has(elsewhere)


def test_wrong_sources_are_refused(client: Client, elsewhere: Client, trained: ModelVersionView) -> None:
    """A stack isn't copied to itself, and an unknown version is answered with an error of the tree."""
    with pytest.raises(UsageError, match="share one artifact store"):
        copy_model_version(client, client, "digits")
    with pytest.raises(NotFoundError):
        copy_model_version(client, elsewhere, "digits", "7")
    assert not _has(elsewhere)
