"""`Client` on the default stack, over the real catalog and store."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from support.seeded_stack import Seeder, seed_training_run

from rayform import stacks
from rayform.reading.client import Client
from rayform_core.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from rayform_core.files import home
from rayform_runtime.catalog.entities import RunStatus


def test_walk_from_a_run_to_its_values(client: Client) -> None:
    """A run's steps lead to inputs and outputs, in ZenML's shapes."""
    seed_training_run(client)
    run = client.get_pipeline_run("train-1")
    assert list(run.steps) == ["loader", "trainer", "score"]
    trainer = run.steps["trainer"]
    assert trainer.outputs["model"].load() == {"weights": [0.5]}
    assert trainer.outputs["model"][0].load() == {"weights": [0.5]}
    assert trainer.inputs["rows"].load() == [1, 2, 3]
    assert run.steps["loader"].output.load() == [1, 2, 3]
    with pytest.raises(UsageError, match="'model', 'report'"):
        _ = trainer.output
    assert trainer.run_metadata == {"seconds": 1.5}
    assert run.parameters == {"epochs": 3}
    assert run.config["name"] == "train"
    assert trainer.outputs["model"].step == trainer
    assert trainer.outputs["model"].run == run


def test_mapped_step_joins_its_instances(client: Client) -> None:
    """A mapped step's outputs load as the list of its instances' values."""
    seed_training_run(client)
    score = client.get_pipeline_run("train-1").steps["score"]
    assert score.outputs["scores"].load() == [0, 10, 20]
    assert len(score.outputs["scores"]) == 3
    assert score.is_successful


def test_mapped_outputs_are_in_the_order_of_the_list(client: Client) -> None:
    """Instances that started in another order, as they do on a cluster, are still put together by the list's."""
    seeder = Seeder(client, "mixed")
    for index in (2, 0, 3, 1):
        seeder.step("score", {"doubled": 2 * index}, map_index=index, log=f"element {index}\n")
    step = client.get_pipeline_run("mixed").steps["score"]
    assert step.output.load() == [0, 2, 4, 6]
    assert step.logs() == "element 0\nelement 1\nelement 2\nelement 3\n"


def test_unknown_names_are_answered_with_near_ones(client: Client) -> None:
    """Unknown steps, outputs, artifacts and runs name the nearest ones; steps raise `KeyError` too."""
    seed_training_run(client)
    run = client.get_pipeline_run("train-1")
    with pytest.raises(NotFoundError, match="Did you mean 'trainer'"):
        _ = run.steps["triner"]
    with pytest.raises(KeyError):
        _ = run.steps["trainer"].outputs["modl"]
    with pytest.raises(NotFoundError, match="'report'"):
        client.get_artifact_version("reprt")
    with pytest.raises(NotFoundError):
        client.get_artifact_version(uuid4())
    with pytest.raises(NotFoundError):
        client.get_pipeline_run("nope")


def test_filters_order_and_pages(client: Client) -> None:
    """Lists filter, sort and page, newest first by default."""
    for number in range(5):
        seeder = Seeder(client, f"run-{number}", pipeline="even" if number % 2 == 0 else "odd")
        seeder.finish(RunStatus.FAILED if number == 4 else RunStatus.COMPLETED)
    names = [run.name for run in client.list_pipeline_runs()]
    assert names == ["run-4", "run-3", "run-2", "run-1", "run-0"]
    assert [r.name for r in client.list_pipeline_runs(sort_by="asc:created", size=2)] == ["run-0", "run-1"]
    assert [r.name for r in client.list_pipeline_runs(pipeline_name="odd")] == ["run-3", "run-1"]
    assert [r.name for r in client.list_pipeline_runs(status=["failed"])] == ["run-4"]
    page = client.list_pipeline_runs(page=2, size=2)
    assert (page.total, page.total_pages, page.index, [r.name for r in page]) == (5, 3, 2, ["run-2", "run-1"])
    with pytest.raises(UsageError, match="status"):
        client.list_pipeline_runs(statu="x")
    with pytest.raises(UsageError):
        client.list_pipeline_runs(sort_by="upwards:name")
    assert client.get_pipeline("even").last_run.name == "run-4"
    assert client.get_pipeline("even").last_successful_run.name == "run-2"
    with pytest.raises(NotFoundError, match="even"):
        client.get_pipeline("evn")


def test_tags_and_names_change_and_values_dont(client: Client) -> None:
    """Tags come and go, an artifact is renamed, and the value stays."""
    seed_training_run(client)
    version = client.update_artifact_version("report", add_tags=["good", "kept"], remove_tags=["kept"])
    assert version.tags == ["good"]
    renamed = client.update_artifact("report", new_name="summary", add_tags=["text"])
    assert (renamed.name, renamed.tags) == ("summary", ["text"])
    assert client.get_artifact_version("summary").load() == "fine"
    with pytest.raises(ConflictError):
        client.update_artifact("summary", new_name="data")
    with pytest.raises(UsageError, match="list"):
        client.update_artifact("summary", add_tags="text")


def test_delete_guards(client: Client) -> None:
    """What is in use isn't deleted unless forced; a deleted version's data goes too."""
    seeded = seed_training_run(client)
    with pytest.raises(ConflictError):
        client.delete_artifact_version(seeded["data"].id)
    assert client.get_artifact_version("data").load() == [1, 2, 3]
    with pytest.raises(ConflictError):
        client.delete_artifact("data")
    client.delete_artifact_version(seeded["data"].id, force=True)
    assert not client.artifact_store.exists(seeded["data"].uri)
    client.delete_artifact("data")
    running = Seeder(client, "busy", pipeline="busy")
    with pytest.raises(ConflictError):
        client.delete_pipeline_run("busy")
    with pytest.raises(ConflictError, match="busy"):
        client.delete_pipeline("busy")
    running.finish()
    assert client.delete_pipeline("busy") == 1
    client.delete_pipeline_run("train-1")
    assert client.get_artifact_version("report").run is None


def test_data_that_is_gone_is_an_error(client: Client) -> None:
    """A version whose data was removed behind Rayform's back says so on load, and still describes itself."""
    seeded = seed_training_run(client)
    client.artifact_store.delete(seeded["report"].uri)
    version = client.get_artifact_version("report")
    assert version.size > 0
    with pytest.raises(IntegrityError):
        version.load()


def test_download_as_folder_and_zip(client: Client, tmp_path: Path) -> None:
    """Files are copied to a new folder or packed; nothing is overwritten by default."""
    import zipfile

    seed_training_run(client)
    version = client.get_artifact_version("report")
    folder = version.download(tmp_path / "out" / "report")
    assert [p for p in folder.rglob("*") if p.is_file()]
    with pytest.raises(ConflictError):
        version.download(folder)
    version.download(folder, overwrite=True)
    packed = version.download(tmp_path / "report.zip")
    assert zipfile.ZipFile(packed).namelist()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_logs_of_a_step(client: Client) -> None:
    """A step's log is read from where the run kept it."""
    seed_training_run(client)
    assert client.get_pipeline_run("train-1").steps["loader"].logs() == "loading\nloaded 3 rows\n"


def test_views_show_themselves(client: Client) -> None:
    """Views and pages have readable text, and HTML in which names are escaped."""
    seed_training_run(client, "<script>alert(1)</script>")
    run = client.list_pipeline_runs()[0]
    for view in (
        run,
        run.steps["trainer"],
        run.steps["trainer"].outputs["model"],
        client.get_artifact("data"),
    ):
        assert view.summary()["id"] == view.id
        assert str(view.id) in repr(view)
        assert "<script>" not in view._repr_html_()
    page = client.list_pipeline_runs()
    assert "completed" in repr(page)
    assert "&lt;script&gt;" in page._repr_html_()


def test_activate_stack_switches_the_client(client: Client) -> None:
    """After a switch the client reads the other stack, and the profile remembers it."""
    from rayform.stacks.components import register_component

    path = home() / "other.db"
    register_component("catalog", "other", flavor="sqlite", config={"path": str(path)})
    stacks.register_stack("second", catalog="other")
    seed_training_run(client)
    client.activate_stack("second")
    assert client.active_stack.name == "second"
    assert client.list_pipeline_runs().total == 0
    assert stacks.active_stack().name == "second"
    assert Client("default").list_pipeline_runs().total == 1
    with pytest.raises(NotFoundError):
        client.activate_stack("third")


def test_prune_keeps_what_is_needed(client: Client) -> None:
    """Prune takes only what no run, model or `keep` tag needs; a dry run takes nothing."""
    from rayform.artifacts import save_artifact

    seed_training_run(client)
    loose = save_artifact("loose", "loose")
    kept = save_artifact("kept", "kept", tags=["keep"])
    model_version = client.catalog.create_model_version("m")
    linked = save_artifact("linked", "linked")
    client.catalog.link_model_version(model_version.id, artifact_version_ids=[linked.id])
    now = datetime.now(UTC) + timedelta(seconds=1)
    report = client.prune_artifacts(older_than=now, dry_run=True)
    assert [v.id for v in report.versions] == [loose.id]
    assert loose.load() == "loose"
    report = client.prune_artifacts(older_than=now)
    assert report.removed
    assert not client.artifact_store.exists(loose.uri)
    assert kept.load() == "kept"
    assert linked.load() == "linked"
    assert client.get_pipeline_run("train-1").steps["trainer"].outputs["model"].load()
    assert not client.prune_artifacts()
    assert not client.prune_artifacts(older_than=datetime.now(UTC) - timedelta(days=1), keep_runs=False)


def test_prune_sweeps_uncommitted_leftovers(client: Client) -> None:
    """Data without a row goes once it is old and no run is running; folders that Rayform didn't make never."""
    unknown_here = seed_training_run(client)["report"]
    store = client.artifact_store
    orphan = f"versions/{uuid4()}/value.json"
    store.put_bytes(orphan, b"{}")
    store.put_bytes("versions/not-ours/data.bin", b"x")
    store.put_bytes("raw/data.bin", b"x")
    assert not client.prune_artifacts(dry_run=True).leftovers
    at_work = Seeder(client, "at-work")
    written_meanwhile = f"versions/{uuid4()}/value.json"
    store.put_bytes(written_meanwhile, b"{}")
    later = client.prune_artifacts(leftover_age=-60, dry_run=True).leftovers
    assert written_meanwhile not in [key for lo in later for key in lo.keys]
    store.delete_objects([written_meanwhile])
    at_work.finish()
    client.catalog.delete_artifact_versions([client.get_artifact_version("report").id], force=True)
    report = client.prune_artifacts(leftover_age=-60)
    assert [lo.keys for lo in report.leftovers] == [(orphan,)]
    assert client.artifact_store.exists(unknown_here.uri)
    report = client.prune_artifacts(leftover_age=-60, orphans=True)
    assert [(lo.kind, lo.folder.split("/")[1]) for lo in report.leftovers] == [
        ("orphan", str(unknown_here.id))
    ]
    assert not client.artifact_store.exists(unknown_here.uri)
    keys = {o.key for o in store.list_objects()}
    assert orphan not in keys
    assert {"versions/not-ours/data.bin", "raw/data.bin"} <= keys
    assert client.get_artifact_version("model").load() == {"weights": [0.5]}


def test_reading_imports_no_value_library(client: Client, rayform_home: Path) -> None:
    """Listing and describing load neither numpy nor any materializer; that waits for `load`."""
    seed_training_run(client)
    code = (
        "import sys; from rayform import Client; c = Client(); r = c.get_pipeline_run('train-1');"
        "v = r.steps['trainer'].outputs['model']; v.run_metadata, v.tags, repr(v), c.list_artifact_versions();"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('numpy', 'pandas', 'sqlalchemy', 'torch', 'ray')"
        " or 'materializers' in m]; assert not bad, bad; assert v.load() == {'weights': [0.5]}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_unknown_run_names_the_stack_that_was_searched(client: Client) -> None:
    """Where there are other stacks, a run that isn't found says whose catalog was searched and how to name another."""
    seed_training_run(client, "training-monday")
    with pytest.raises(NotFoundError) as alone:
        client.get_pipeline_run("trainin-monday")
    assert alone.value.why is None
    stacks.register_stack("prod")
    with pytest.raises(NotFoundError) as caught:
        client.get_pipeline_run("trainin-monday")
    assert caught.value.why == "Only the catalog of stack 'default' was searched."
    for said in ("Did you mean 'training-monday'?", "'prod'", "--stack NAME"):
        assert said in str(caught.value.hint)
