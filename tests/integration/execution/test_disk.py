"""Disks that are full and folders that can't be written: a clear error, nothing lost, and the run resumes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine import Engine, out, value

from rayform_core.errors import RayformError
from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.execution.scheduling.liveness import mark_dead_runs

pytestmark = pytest.mark.fault

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True, check=False).returncode != 0
    ):
        pytest.skip("this user may not mount a small file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def engine(small_disk: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Engine]:
    """A project and a stack on the small disk; logs lie elsewhere."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    made = Engine.at(small_disk)
    yield made
    made.stack.close()


def test_store_on_a_full_disk_fails_the_step_and_resumes(small_disk: Path, engine: Engine) -> None:
    """A result that doesn't fit fails its step with the reason; with room it is made by a resume."""
    spec = engine.pipeline(
        engine.step("small", "constant", {"value": value(7)}),
        engine.step("large", "big", {"size": value(6 * MIB)}, after=["small"]),
        engine.step("size", "size_of", {"data": out("large")}),
    )
    outcome = engine.run(spec)
    assert outcome.status is RunStatus.FAILED
    assert outcome.errors["large"].type == "PrerequisiteError"
    assert "No space left" in outcome.errors["large"].message
    assert engine.value_of(outcome.run_id, "small") == 7
    assert sum(f.stat().st_size for f in (small_disk / "store").rglob("*") if f.is_file()) < MIB
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    again = engine.run(spec, run_id=outcome.run_id, resume=True)
    assert again.status is RunStatus.COMPLETED
    assert engine.value_of(outcome.run_id, "size") == 6 * MIB


def test_catalog_on_a_full_disk_loses_nothing(small_disk: Path, engine: Engine) -> None:
    """Where the catalog can't be written the run ends with a clear error; what was there stays readable."""
    first = engine.run(engine.pipeline(engine.step("one", "constant", {"value": value(7)})))
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    steps = [engine.step(f"s{i}", "constant", {"value": value(i)}) for i in range(40)]
    with pytest.raises(RayformError) as caught:
        outcome = engine.run(engine.pipeline(*steps))
        assert outcome.status is RunStatus.FAILED  # there was room for the rows, and none for the results
        raise RayformError(outcome.errors["s0"].message)
    assert "space" in str(caught.value).lower() or "full" in str(caught.value).lower()
    filler.unlink()
    mark_dead_runs(engine.stack.catalog)
    assert engine.value_of(first.run_id, "one") == 7
    for run in engine.stack.catalog.list_runs().items:
        assert run.status.is_finished
        if run.status is not RunStatus.COMPLETED:
            spec = engine.pipeline(*steps)
            assert engine.run(spec, run_id=run.id, resume=True).status is RunStatus.COMPLETED


def test_log_that_cannot_be_kept_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home that can't be written costs the logs, says so, and lets the run complete."""
    engine = Engine.at(tmp_path)
    (tmp_path / "no-folder").write_text("")
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "no-folder"))
    outcome = engine.run(engine.pipeline(engine.step("talk", "say", {"text": value("hello")})))
    assert outcome.status is RunStatus.COMPLETED
    shown = "\n".join(e.text for e in engine.events if e.kind == "log")
    assert "hello" in shown
    assert "can't keep the rest of this log" in shown
    engine.stack.close()
