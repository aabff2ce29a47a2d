"""`save_artifact`, `load_artifact`, `register_artifact`, `log_metadata` and `Model`, outside of steps."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.seeded_stack import seed_training_run

from rayform import Model, load_artifact, log_metadata, register_artifact, save_artifact
from rayform.reading.client import Client
from rayform_core.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from rayform_runtime.catalog.metadata import StorageSize, Uri


def test_save_and_load(client: Client) -> None:
    """A saved value loads by name, by version and by UUID, and every save is a new version."""
    first = save_artifact(
        [1], "numbers", tags=["a"], user_metadata={"source": "hand"}, artifact_type="statistics"
    )
    second = save_artifact([1, 2], "numbers")
    named = save_artifact([3], "numbers", version="best")
    assert (first.version, second.version, named.version) == ("1", "2", "best")
    assert load_artifact("numbers", 1) == [1]
    assert load_artifact("numbers", "best") == [3]
    assert load_artifact(second.id) == [1, 2]
    assert load_artifact("numbers") == [3]
    assert first.tags == ["a"]
    assert first.type == "statistics"
    assert first.run_metadata["source"] == "hand"


def test_a_taken_version_is_refused_and_leaves_no_data(client: Client) -> None:
    """A version that exists is refused before anything is written."""
    save_artifact(1, "numbers", version="best")
    before = sorted(o.key for o in client.artifact_store.list_objects())
    with pytest.raises(ConflictError, match="best"):
        save_artifact(2, "numbers", version="best")
    assert sorted(o.key for o in client.artifact_store.list_objects()) == before


def test_what_cant_be_kept_is_refused_before_writing(client: Client) -> None:
    """Wrong metadata, tags, names, types and values change nothing."""
    with pytest.raises(UsageError):
        save_artifact(1, "x", user_metadata={"bad": object()})
    with pytest.raises(UsageError, match="one string"):
        save_artifact(1, "x", tags="tag")
    with pytest.raises(UsageError):
        save_artifact(1, " ")
    with pytest.raises(UsageError, match="materializer"):
        save_artifact(object(), "x")
    with pytest.raises(UsageError, match="exe"):
        save_artifact(1, "x", visualizations={"virus.exe": b""})
    assert list(client.artifact_store.list_objects()) == []
    with pytest.raises(NotFoundError, match="Did you mean 'model'"):
        save_artifact(1, "x", artifact_type="modl")


def test_visualizations_are_kept_and_shown(client: Client) -> None:
    """Attached pictures come back as text or bytes."""
    version = save_artifact(1, "x", visualizations={"a.html": "<b>hi</b>", "b.png": b"\x89PNG"})
    assert version.visualize() == {"a.html": "<b>hi</b>", "b.png": b"\x89PNG"}
    assert version.visualize("a.html") == {"a.html": "<b>hi</b>"}
    with pytest.raises(NotFoundError, match=r"a\.html"):
        version.visualize("c.html")
    assert version.load() == 1


def test_registered_data_stays_where_it_is(client: Client) -> None:
    """Registered data loads as a path, is never removed, and a change of it is noticed."""
    store = client.artifact_store
    store.put_bytes("raw/a.csv", b"a,b\n")
    store.put_bytes("raw/b.csv", b"c,d\n")
    version = register_artifact("raw", "raw", tags=["source"])
    path = version.load()
    assert sorted(p.name for p in path.iterdir()) == ["a.csv", "b.csv"]
    assert version.run_metadata["files"] == 2
    assert register_artifact(store.uri + "/raw/a.csv", "one").load().read_text() == "a,b\n"
    client.delete_artifact_version(version.id)
    assert path.exists()
    one = client.get_artifact_version("one")
    store.put_bytes("raw/a.csv", b"other\n")
    with pytest.raises(IntegrityError, match="changed"):
        one.load()


@pytest.mark.parametrize("uri", ["missing", "/etc", "s3://other/x", "../..", "raw/../../etc", "versions", ""])
def test_register_refuses_what_isnt_in_the_store(client: Client, uri: str) -> None:
    """Data outside of the store, or missing, isn't registered."""
    client.artifact_store.put_bytes("raw/a.csv", b"a")
    with pytest.raises((UsageError, NotFoundError)):
        register_artifact(uri, "x")


def test_log_metadata_to_everything(client: Client) -> None:
    """Metadata reaches a run, a step, an artifact version, a model and a model version, and merges."""
    seeded = seed_training_run(client)
    client.create_model("m")
    made = client.create_model_version("m", metadata={"old": 1})
    when = datetime(2026, 1, 2, tzinfo=UTC)
    log_metadata({"at": when, "link": Uri("https://x")}, run_id_name_or_prefix="train-1")
    log_metadata({"loss": 0.5}, run_id_name_or_prefix="train-1", step_name="trainer")
    log_metadata({"rows": 3}, artifact_version_id=seeded["data"].id)
    log_metadata({"size": StorageSize(5)}, artifact_name="data", artifact_version="1")
    log_metadata({"new": [1, {"a": True}]}, model_name="m", model_version=1)
    log_metadata({"owner": "me"}, model_name="m")
    log_metadata({"more": None}, model_version_id=made.id)
    run = client.get_pipeline_run("train-1")
    assert run.run_metadata == {"at": when, "link": Uri("https://x")}
    assert run.steps["trainer"].run_metadata["loss"] == 0.5
    data = client.get_artifact_version("data").run_metadata
    assert data["rows"] == 3
    assert data["size"] == StorageSize(5)
    assert client.get_model_version("m", 1).run_metadata == {"old": 1, "new": [1, {"a": True}], "more": None}
    assert client.get_model("m").run_metadata == {"owner": "me"}


def test_log_metadata_refuses_riddles(client: Client) -> None:
    """Arguments that name nothing, or two things, are refused."""
    with pytest.raises(UsageError, match="outside of a step"):
        log_metadata({"a": 1})
    with pytest.raises(UsageError, match="and"):
        log_metadata({"a": 1}, artifact_name="x", model_name="y")
    with pytest.raises(UsageError, match="inside"):
        log_metadata({"a": 1}, infer_model=True)
    with pytest.raises(UsageError):
        log_metadata({"a": object()}, artifact_name="x")
    with pytest.raises(UsageError):
        log_metadata({"a": 1}, artifact_version="3")
    with pytest.raises(NotFoundError):
        log_metadata({"a": 1}, artifact_name="x")


def test_model_declaration_travels() -> None:
    """A declaration becomes a spec, pickles, and keeps a model card's parts as metadata."""
    model = Model("m", version=3, tags=["t"], license="MIT", metadata={"a": 1}, limitations="few")
    spec = model.to_spec()
    assert (spec.name, spec.version, spec.tags, spec.license) == ("m", "3", ["t"], "MIT")
    assert spec.metadata == {"a": 1, "limitations": "few"}
    assert pickle.loads(pickle.dumps(model)) == model
    with pytest.raises(UsageError):
        Model("")
    with pytest.raises(UsageError, match="one string"):
        Model("m", tags="t")


def test_model_reads_its_version(client: Client) -> None:
    """A declared model finds its version, artifacts and metadata, and moves through stages."""
    version = client.catalog.create_model_version("digits", metadata={"acc": 0.9})
    seed_training_run(client, model=version.id)
    model = Model("digits", version="latest")
    assert model.number == 1
    assert model.run_metadata == {"acc": 0.9}
    assert model.load_artifact("model") == {"weights": [0.5]}
    assert model.get_model_artifact("model") is not None
    assert model.get_model_artifact("data") is None
    assert model.get_data_artifact("data") is not None
    assert model.get_artifact("nothing") is None
    with pytest.raises(NotFoundError, match="report"):
        model.load_artifact("reprt")
    model.set_stage("production")
    assert Model("digits", version="production").id == version.id
    second = client.create_model_version("digits")
    with pytest.raises(ConflictError):
        second.set_stage("production")
    second.set_stage("production", force=True)
    assert client.get_model_version("digits", 1).stage == "archived"
    history = [(c.version, c.new.value) for c in client.get_model("digits").stage_changes]
    assert history == [("1", "production"), ("1", "archived"), ("2", "production")]
    with pytest.raises(NotFoundError, match="production"):
        second.set_stage("prodution")
    with pytest.raises(ConflictError):
        client.delete_model("digits")
    with pytest.raises(ConflictError):
        client.delete_model_version("digits", 2)
    client.delete_model("digits", force=True)
    assert client.get_artifact_version("model").load()


def test_registered_data_has_a_plain_path(client: Client) -> None:
    """The path of registered data in a local store is that of the data itself."""
    client.artifact_store.put_bytes("raw folder/a b.csv", b"1")
    version = register_artifact("raw folder", "raw")
    root = Path(unquote(client.artifact_store.uri.removeprefix("file://")))
    assert version.load() == root / "raw folder"
