"""Dynamic pipelines that are killed, fail or are stopped, and resumed by replay."""

# A plain call has the type of the value, so that `.load()` on it is unknown to Pyright.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rayform import Client, pipeline, step
from rayform.launching.resume import resume_run
from rayform_core.errors import NotFoundError, PipelineFailedError
from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.execution.scheduling.liveness import mark_dead_runs

pytestmark = pytest.mark.usefixtures("home")

LOOP = Path(__file__).parents[2] / "support" / "scripts" / "dynamic_loop.py"
MOMENTS = int(os.environ.get("RAYFORM_KILL_MOMENTS", "8"))


class Killed:
    """A run that is killed and resumed, each time in a process of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.marks = folder / name
        self.marks.mkdir()
        self.name = name
        self.done: dict[str, int] = {}  # how often each step had run that the catalog called finished

    def start(self) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, str(LOOP), str(self.marks), self.name]
        if self.is_recorded():
            arguments = [str(Path(sys.executable).with_name("rayform")), "runs", "resume", self.name]
        with (self.marks.parent / "log").open("ab") as log:
            return subprocess.Popen(arguments, stdout=log, stderr=log, start_new_session=True)

    def is_recorded(self) -> bool:
        try:
            Client().get_pipeline_run(self.name)
        except NotFoundError:
            return False
        return True

    def counts(self) -> Counter[str]:
        return Counter(path.name.rpartition(".")[0] for path in self.marks.iterdir())

    def check(self) -> RunStatus | None:
        """No step that was finished ran again; return the run's status."""
        if not self.is_recorded():
            return None
        client = Client()
        mark_dead_runs(client.catalog)
        run = client.get_pipeline_run(self.name)
        counts = self.counts()
        for key, count in self.done.items():
            assert counts[key] == count, f"{key} was finished and ran again"
        for step_run in run.step_runs:
            if step_run.status.is_successful:
                self.done[step_run.parameters["name"]] = counts[step_run.parameters["name"]]
        return run.status


@pytest.mark.slow
@pytest.mark.fault
def test_a_killed_run_resumes_and_runs_no_finished_call_again(home: Path, tmp_path: Path) -> None:
    """However often it is killed with -9, a dynamic run resumes, takes the same way, and comes to its end."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    kills, number = 0, 0
    while kills < MOMENTS:
        number += 1
        killed = Killed(tmp_path, f"run-{number}")
        status = None
        while status is not RunStatus.COMPLETED:
            process = killed.start()
            if kills < MOMENTS:
                try:
                    process.wait(rng.uniform(0.3, 2.2))
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    kills += 1
            code = process.wait(60)
            status = killed.check()
            assert status in (None, RunStatus.COMPLETED, RunStatus.INTERRUPTED), (
                code,
                (tmp_path / "log").read_text(),
            )
        run = Client().get_pipeline_run(killed.name)
        turns = range(4)
        counts = [run.steps["draw" if turn == 0 else f"draw_{turn + 1}"].output.load() for turn in turns]
        expected = sum(sum(range(1, count + 1)) + (11 if count % 2 else 0) for count in counts)
        assert run.step_runs[-1].output.load() == expected + 1
        assert len(run.config["steps"]) == len(run.step_runs)


# -- resuming after failures --------------------------------------------------------------------------------
@step(enable_cache=False)
def draw(value: int, folder: str) -> int:
    (Path(folder) / f"draw{value}.{time.time_ns()}").touch()
    return value


@step(enable_cache=False)
def fails_once(folder: str) -> int:
    if not (Path(folder) / "fixed").exists():
        raise ValueError("not yet")
    return 7


def ways(folder: Path) -> Any:
    """Return what the body reads from outside: a text that tests change between the run and its resumption."""
    return (folder / "way").read_text().split()


@pipeline(dynamic=True)
def by_file(folder: str) -> None:
    for word in ways(Path(folder)):
        if word == "fail":
            fails_once(folder)
        else:
            draw(int(word), folder)


def failed_run(folder: Path, way: str) -> Any:
    (folder / "way").write_text(way)
    with pytest.raises(PipelineFailedError):
        by_file(str(folder))
    return Client().list_pipeline_runs(size=1).items[0]


def resumed(run: Any) -> Any:
    client = Client()
    return resume_run(client, client.get_pipeline_run(run.id))


def test_a_failed_run_goes_on_from_its_failed_call(tmp_path: Path) -> None:
    """Once the cause is fixed, only the failed call and those after it run."""
    run = failed_run(tmp_path, "1 2 fail 3")
    assert [s.name for s in run.step_runs] == ["draw", "draw_2", "fails_once"]
    (tmp_path / "fixed").touch()
    again = resumed(run)
    assert again.status == "completed" and again.id == run.id
    assert [s.name for s in again.step_runs if s.status == "completed"] == [
        "draw",
        "draw_2",
        "fails_once",
        "draw_3",
    ]
    assert len(list(tmp_path.glob("draw*"))) == 3


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("1 5 fail 3", "Call 2 was `draw(value=2, folder="),
        ("1 fail", "Call 2 was `draw(value=2"),
        ("1", "it ended without that call"),
        ("1 2 3 fail", r"Call 3 was `fails_once("),
    ],
)
def test_a_body_that_takes_another_way_is_refused(tmp_path: Path, way: str, text: str) -> None:
    """The first call that differs is named, nothing of the other way runs, and the right way still works."""
    run = failed_run(tmp_path, "1 2 fail 3")
    (tmp_path / "way").write_text(way)
    before = len(list(tmp_path.glob("draw*")))
    with pytest.raises(PipelineFailedError) as caught:
        resumed(run)
    assert "took another way" in str(caught.value) and text in str(caught.value)
    assert len(list(tmp_path.glob("draw*"))) == before
    (tmp_path / "way").write_text("1 2 fail 3")
    (tmp_path / "fixed").touch()
    assert resumed(run).status == "completed"


def test_a_call_without_a_result_may_get_other_arguments(tmp_path: Path) -> None:
    """Users fix the arguments of the call that failed, and resume."""

    @pipeline(dynamic=True, name="fixable")
    def fixable(folder: str) -> None:
        draw(1, folder)
        fails_once(ways(Path(folder))[0])

    (tmp_path / "way").write_text(str(tmp_path / "nowhere"))
    with pytest.raises(PipelineFailedError):
        fixable(str(tmp_path))
    run = Client().list_pipeline_runs(size=1).items[0]
    (tmp_path / "fixed").touch()
    (tmp_path / "way").write_text(str(tmp_path))
    assert resumed(run).status == "completed"
    assert len(list(tmp_path.glob("draw*"))) == 1


def test_stop_ends_the_body(tmp_path: Path) -> None:
    """Ctrl-C ends a run whose body waits for a step, within seconds; it can be resumed."""
    script = tmp_path / "long.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom rayform import pipeline, step\n\n\n"
        "@step(enable_cache=False)\ndef long(path: str) -> int:\n    Path(path).touch()\n"
        "    while not Path(path + '.go').exists():\n        time.sleep(0.05)\n    return 1\n\n\n"
        "@pipeline(dynamic=True)\ndef waits(path: str) -> None:\n"
        "    if long(path).load() == 1:\n        long(path + '2')\n\n\n"
        "if __name__ == '__main__':\n    waits.with_options(run_name='waits')(sys.argv[1])\n"
    )
    flag = tmp_path / "flag"
    process = subprocess.Popen([sys.executable, str(script), str(flag)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not flag.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    process.wait(30)
    assert time.monotonic() - began < 5
    run = Client().get_pipeline_run("waits")
    assert run.status == "stopped"
    Path(f"{flag}.go").touch()
    Path(f"{flag}2.go").touch()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("rayform")), "runs", "resume", "waits"],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert Client().get_pipeline_run("waits").status == "completed"
