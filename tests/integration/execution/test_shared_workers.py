"""What a step does to the process that it shares with others stays with that step."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine import Engine, out, value

from rayform_runtime.artifacts.stores.config import LocalStoreConfig
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.processes.identity import process_started


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A project and a stack that has room for one step at a time, so that all share one worker."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KEEP", "kept")
    built = Engine.at(tmp_path, cpus=1)
    yield built
    built.stack.close()


@pytest.mark.parametrize(("function", "returned"), [("fork_and_return", "parent"), ("fork_and_raise", "1")])
def test_a_forked_child_never_answers_for_its_parent(engine: Engine, function: str, returned: str) -> None:
    """A forked child that returns from the step's function ends there; the parent's value or error counts."""
    outcome = engine.run(engine.pipeline(engine.step("s", function)))
    assert outcome.status is RunStatus.COMPLETED
    assert engine.value_of(outcome.run_id, "s") == returned
    if function == "fork_and_raise":
        assert "only in the child" in engine.log_of(outcome.run_id, "s")


def test_a_step_that_spoils_its_process_spoils_no_other(engine: Engine) -> None:
    """The next step gets the original folder, mask, streams, import path and variables."""
    before = {"folder": os.getcwd(), "PATH": os.environ["PATH"]}
    mask = os.umask(0o077)
    os.umask(mask)
    elsewhere = engine.folder / "elsewhere"
    elsewhere.mkdir()
    outcome = engine.run(
        engine.pipeline(
            engine.step("spoil", "spoil", {"folder": value(str(elsewhere))}),
            engine.step("look", "look_around", {"x": out("spoil")}),
        )
    )
    assert outcome.status is RunStatus.COMPLETED, outcome.errors
    surroundings = engine.value_of(outcome.run_id, "look")
    assert surroundings == {**before, "mask": oct(mask), "KEEP": "kept", "ADDED": ""}
    assert "still heard" in engine.log_of(outcome.run_id, "look")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_a_completed_step_left_behind_ends_with_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A process that a step started doesn't outlive the stack."""
    monkeypatch.setenv("RAYFORM_START_METHOD", method)
    engine = Engine.at(tmp_path)
    outcome = engine.run(engine.pipeline(engine.step("s", "leave_child_and_end")))
    child = engine.value_of(outcome.run_id, "s")
    engine.stack.close()
    deadline = time.monotonic() + 5
    while process_started(child) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process_started(child) is None


def test_a_store_that_was_moved_is_still_whole(engine: Engine) -> None:
    """Versions load from the store's new folder; a version that isn't there is a cache miss and no error."""
    spec = engine.pipeline(engine.step("s", "constant"))
    first = engine.run(spec)
    version_id = engine.steps(first.run_id)["s"].outputs["output"][0]
    version = engine.stack.catalog.get_artifact_versions([version_id])[version_id]
    moved = engine.folder / "moved"
    shutil.move(engine.folder / "store", moved)
    store = LocalArtifactStore(LocalStoreConfig(path=str(moved)), stack_name="t")
    assert store.exists(version.uri)
    with store.open_local(version.uri, digest=version.digest) as folder:
        assert (folder / "value.json").read_text() == "1"
    engine.stack.__dict__["artifact_store"] = LocalArtifactStore(
        LocalStoreConfig(path=str(engine.folder / "empty")), stack_name="t"
    )
    again = engine.run(spec)
    assert again.status is RunStatus.COMPLETED
    assert "no longer" in again.cache["s"].reason


def test_runs_that_threads_start_at_once_all_complete(engine: Engine) -> None:
    """Several threads of one process may run pipelines; they take turns."""
    from concurrent.futures import ThreadPoolExecutor

    spec = engine.pipeline(engine.step("s", "constant", enable_cache=False))
    with ThreadPoolExecutor(4) as pool:
        outcomes = [job.result(timeout=60) for job in [pool.submit(engine.run, spec) for _ in range(4)]]
    assert [outcome.status for outcome in outcomes] == [RunStatus.COMPLETED] * 4
