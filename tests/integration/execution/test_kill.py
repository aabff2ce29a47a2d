"""Runs that are killed at random points: nothing committed is lost, nothing half-written is loaded."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from support import run_driver
from support.engine import Engine

from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import Run, RunStatus, StepStatus
from rayform_runtime.execution.scheduling.liveness import mark_dead_runs

pytestmark = pytest.mark.fault

DRIVER = run_driver.__file__


class Driven:
    """A run in a process of its own."""

    def __init__(self, folder: Path, run_id: UUID, *, resume: bool = False, seconds: float = 0.03) -> None:
        self.process = subprocess.Popen(
            [sys.executable, DRIVER, str(folder), str(run_id), "resume" if resume else "new", str(seconds)],
            env={**os.environ, "RAYFORM_HOME": str(folder / "home")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def until(self, word: str) -> None:
        """Wait for a line of its output that holds `word`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if word in line:
                return
        _, errors = self.process.communicate()
        raise AssertionError(f"the run ended before {word!r}: {errors}")

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> int:
        _, errors = self.process.communicate(timeout=60)
        if self.process.returncode not in (0, -signal.SIGKILL, 130):
            sys.stderr.write(errors)
        return self.process.returncode


def all_gone(processes: list[psutil.Process], seconds: float = 5.0) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def marks(folder: Path) -> Counter[str]:
    return Counter(p.name.rsplit(".", 1)[0] for p in (folder / "marks").iterdir())


def finished_marks(engine: Engine, run_id: UUID) -> set[str]:
    """Load all outputs of the steps that the catalog calls completed; return the names of their marks."""
    names = set()
    for name, step in engine.steps(run_id).items():
        if step.status is StepStatus.COMPLETED:
            for output in step.outputs:
                engine.value_of(run_id, name, output)  # whole, and its digest is right
            if step.key.startswith("s") and step.key != "sum":
                names.add(f"{step.key}.{int(step.key[1:])}")
            elif step.key == "m":
                names.add(f"m.{step.map_index}")
    return names


def status_after_death(engine: Engine, run_id: UUID) -> Run | None:
    mark_dead_runs(engine.stack.catalog)
    runs = engine.stack.catalog.list_runs().items
    return next((run for run in runs if run.id == run_id), None)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_run_resumes_to_the_right_result(tmp_path: Path, seed: int) -> None:
    """The run's process, a worker's or the fork server's is killed at random; the run resumes and is right."""
    chance = random.Random(seed)
    engine = run_driver.prepare(tmp_path)
    run_id = new_id()
    started = False
    for _ in range(4):
        before = marks(tmp_path)
        finished = finished_marks(engine, run_id) if started else set()
        driven = Driven(tmp_path, run_id, resume=started)
        driven.until("ready")
        time.sleep(chance.uniform(0.0, 0.7))
        processes = driven.descendants() if driven.process.poll() is None else []
        victim = chance.choice(["run", "run", "worker"])
        if victim == "worker" and processes:
            try:
                chance.choice(processes).kill()
            except psutil.NoSuchProcess:
                pass  # it had ended
        else:
            driven.process.kill()
        driven.end()
        assert all_gone(processes), "a process outlived its run"
        new = marks(tmp_path) - before
        assert not finished & set(new), "a finished step ran again"
        run = status_after_death(engine, run_id)
        started = run is not None
        if run is None:
            continue
        assert run.status in (RunStatus.INTERRUPTED, RunStatus.FAILED, RunStatus.COMPLETED)
        if run.status is RunStatus.COMPLETED:
            break
    else:
        before, finished = marks(tmp_path), finished_marks(engine, run_id) if started else set()
        assert Driven(tmp_path, run_id, resume=started).end() == 0
        assert not finished & set(marks(tmp_path) - before)
    assert engine.value_of(run_id, "end") == run_driver.EXPECTED
    assert set(engine.statuses(run_id).values()) == {"completed"}
    engine.stack.close()


def test_killed_run_is_interrupted_at_the_next_look(tmp_path: Path) -> None:
    """Right after `kill -9` the run and its step show as interrupted, and no process is left."""
    engine = run_driver.prepare(tmp_path)
    run_id = new_id()
    driven = Driven(tmp_path, run_id, seconds=30)
    driven.until("step s0 running")
    processes = driven.descendants()
    assert processes
    assert mark_dead_runs(engine.stack.catalog) == []
    driven.process.kill()
    driven.end()
    assert mark_dead_runs(engine.stack.catalog) == [run_id]
    assert engine.stack.catalog.get_run(run_id).status is RunStatus.INTERRUPTED
    assert engine.statuses(run_id)["s0"] == "interrupted"
    assert all_gone(processes, 2.0)
    engine.stack.close()


def test_ctrl_c_ends_all_within_two_seconds(tmp_path: Path) -> None:
    """Ctrl-C on the terminal's group stops the run, records it, and leaves no process."""
    engine = run_driver.prepare(tmp_path)
    run_id = new_id()
    driven = Driven(tmp_path, run_id, seconds=30)
    driven.until("step s0 running")
    processes = driven.descendants()
    os.killpg(driven.process.pid, signal.SIGINT)
    started = time.monotonic()
    assert driven.end() == 130
    assert time.monotonic() - started < 2
    assert all_gone(processes, 0.5)
    assert engine.stack.catalog.get_run(run_id).status is RunStatus.STOPPED
    assert engine.statuses(run_id)["s0"] == "stopped"
    engine.stack.close()


def test_sigterm_stops_the_run(tmp_path: Path) -> None:
    """A run that is asked to terminate is recorded as stopped."""
    engine = run_driver.prepare(tmp_path)
    run_id = new_id()
    driven = Driven(tmp_path, run_id, seconds=30)
    driven.until("step s0 running")
    driven.process.terminate()
    assert driven.end() == 1
    assert engine.stack.catalog.get_run(run_id).status is RunStatus.STOPPED
    engine.stack.close()


@pytest.mark.parametrize("count", [2, 10])
def test_runs_at_once_share_a_catalog(tmp_path: Path, count: int) -> None:
    """Several runs at once, in processes of their own, all complete with the right result."""
    engine = run_driver.prepare(tmp_path)
    run_ids = [new_id() for _ in range(count)]
    driven = [Driven(tmp_path, run_id, seconds=0.0) for run_id in run_ids]
    assert [d.end() for d in driven] == [0] * count
    assert {engine.value_of(run_id, "end") for run_id in run_ids} == {run_driver.EXPECTED}
    engine.stack.close()
