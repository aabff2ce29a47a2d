"""What a prune must never remove: data of other stacks, values saved by hand, rows whose data stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.seeded_stack import seed_training_run

from rayform import Client, stacks
from rayform.artifacts import save_artifact
from rayform.reading.pruning import apply_prune
from rayform.stacks.components import register_component
from rayform_core.errors import IntegrityError, PrerequisiteError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.values import save_value
from rayform_runtime.catalog.entities import NewArtifactVersion

SOON = timedelta(seconds=5)


@pytest.fixture
def client(rayform_home: Path) -> Client:
    """A client of the default stack."""
    return Client()


def now() -> datetime:
    """Return a moment after all that the test has saved."""
    return datetime.now(UTC) + SOON


def add_row(client: Client, name: str, uri: str, **changes: object) -> NewArtifactVersion:
    """Record a version that nothing needs, with any URI."""
    row = NewArtifactVersion(
        id=new_id(),
        artifact_name=name,
        uri=uri,
        type="builtins:str",
        materializer="x:Y",
        digest="0" * 64,
        size=1,
    )
    row = row._replace(**changes)
    client.catalog.create_artifact_version(row)
    return row


def second_stack(client: Client, folder: Path) -> Client:
    """Register a stack with the same catalog and another store."""
    register_component("artifact-store", "other", flavor="local", config={"path": str(folder)})
    stacks.register_stack("second", artifact_store="other")
    return Client("second")


def test_versions_in_another_stacks_store_stay(client: Client, tmp_path: Path) -> None:
    """A prune of one stack leaves the rows and data of a stack that shares its catalog, and counts them."""
    second = second_stack(client, tmp_path / "other")
    id = new_id()
    saved = save_value(second.artifact_store, id, "theirs")
    add_row(client, "theirs", saved.uri, id=id, output_name="out")
    mine = save_artifact("mine", "mine")
    report = client.prune_artifacts(older_than=now())
    assert [v.id for v in report.versions] == [mine.id]
    assert report.elsewhere == 1
    assert second.get_artifact_version("theirs").uri == saved.uri
    assert second.artifact_store.exists(saved.uri)
    assert [v.id for v in second.prune_artifacts(older_than=now()).versions] == [id]
    assert not second.artifact_store.exists(saved.uri)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/versions/x",
        "file:///",
        "",
        "versions/..",
        "file:///etc/passwd",
        "\n",
        "/",
        "file://%00/versions/a",
    ],
)
def test_a_bad_uri_does_not_end_the_batch(client: Client, uri: str) -> None:
    """A row with any URI stays, and the versions after it are removed."""
    add_row(client, "bad", uri, output_name="out")
    loose = save_artifact("loose", "loose")
    report = client.prune_artifacts(older_than=now())
    assert [v.id for v in report.versions] == [loose.id]
    assert report.elsewhere == 1
    assert client.get_artifact_version("bad").uri == uri


def test_a_row_cannot_name_anothers_data(client: Client) -> None:
    """A row whose URI is that of another version doesn't take that version's data along."""
    needed = seed_training_run(client)["report"]
    add_row(client, "thief", needed.uri, output_name="out")
    assert not client.prune_artifacts(older_than=now()).versions
    assert client.artifact_store.exists(needed.uri)


def test_rows_go_after_their_data(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version whose data can't be deleted keeps its row, is named, and doesn't keep others from being removed."""
    stuck, loose = save_artifact("stuck", "stuck"), save_artifact("loose", "loose")
    store, delete = client.artifact_store, client.artifact_store.delete

    def refuse_one(uri: str) -> None:
        if uri == stuck.uri:
            raise PrerequisiteError("No permission.")
        delete(uri)

    monkeypatch.setattr(store, "delete", refuse_one)
    report = client.prune_artifacts(older_than=now())
    assert [v.id for v in report.versions] == [loose.id]
    assert list(report.failed) == [stuck.uri]
    assert client.get_artifact_version("stuck").load() == "stuck"
    with pytest.raises(PrerequisiteError):
        client.delete_artifact_version("stuck")
    assert client.get_artifact_version("stuck").load() == "stuck"


def test_values_saved_by_hand_need_an_age(client: Client) -> None:
    """Without an age, a prune leaves what `save_artifact` saved, however old it is, and counts it."""
    saved = save_artifact("saved", "saved")
    report = client.prune_artifacts()
    assert not report.versions
    assert report.saved_by_hand == 1
    assert not client.prune_artifacts(older_than=datetime.now(UTC) - timedelta(days=1)).versions
    assert [v.id for v in client.prune_artifacts(older_than=now()).versions] == [saved.id]


def test_what_is_needed_by_now_stays(client: Client) -> None:
    """A version that a model took between the plan and the removal keeps its row and its data."""
    taken, loose = save_artifact("taken", "taken"), save_artifact("loose", "loose")
    plan = client.prune_artifacts(older_than=now(), dry_run=True)
    version = client.catalog.create_model_version("m")
    client.catalog.link_model_version(version.id, artifact_version_ids=[taken.id])
    report = apply_prune(client.catalog, client.artifact_store, plan)
    assert [v.id for v in report.versions] == [loose.id]
    assert not report.failed
    assert taken.load() == "taken"


def test_a_moved_store_is_pruned(client: Client, tmp_path: Path) -> None:
    """Rows from before a store's folder was moved belong to the store where it is now."""
    loose = save_artifact("loose", "loose")
    folder = Path(client.artifact_store.uri.removeprefix("file://"))
    folder.rename(tmp_path / "moved")
    moved = second_stack(client, tmp_path / "moved")
    assert [v.id for v in moved.prune_artifacts(older_than=now()).versions] == [loose.id]
    assert not (tmp_path / "moved" / "versions" / str(loose.id)).exists()


def test_an_emptied_catalog_is_said(client: Client, rayform_home: Path) -> None:
    """A catalog's file of zero bytes next to a store that holds artifacts is an error; a new stack is none."""
    from rayform.stacks.open import close_stacks

    save_artifact("x", "x")
    path = client.catalog.database.path  # type: ignore[attr-defined]
    close_stacks()
    for file in path.parent.glob(path.name + "*"):
        file.unlink()
    path.touch()
    with pytest.raises(IntegrityError, match="was emptied"):
        Client().list_pipeline_runs()
    path.unlink()
    assert not Client().list_pipeline_runs().items


def test_leftovers_that_cannot_be_deleted_are_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leftover that the store can't delete doesn't end the prune."""
    store = client.artifact_store
    for _ in range(2):
        store.put_bytes(f"versions/{uuid4()}/value.json", b"{}")
    plan = client.prune_artifacts(leftover_age=-60, dry_run=True)
    stuck, delete = plan.leftovers[0], store.delete_objects

    def refuse_one(keys: list[str]) -> None:
        if keys == list(stuck.keys):
            raise PrerequisiteError("No permission.")
        delete(keys)

    monkeypatch.setattr(store, "delete_objects", refuse_one)
    report = apply_prune(client.catalog, store, plan)
    assert list(report.leftovers) == list(plan.leftovers[1:])
    assert list(report.failed) == [store.uri_of(stuck.folder)]
