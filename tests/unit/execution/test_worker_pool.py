"""The pool of local workers, with workers that the test plays itself: it never waits outside of `poll`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from rayform_core.errors import PrerequisiteError
from rayform_runtime.catalog.entities import StepStatus
from rayform_runtime.execution.interface import PipelineFacts, StepFacts, StepResult, Task
from rayform_runtime.execution.local import worker_pool
from rayform_runtime.execution.local.fork_launcher import ForkLauncher
from rayform_runtime.execution.local.launcher import Launcher, RunCode, WorkerProcess, slots, socket_and_pipe
from rayform_runtime.execution.local.worker_pool import Answered, Died, PoolEvent, Printed, Worker, WorkerPool
from rayform_runtime.processes.framing import receive, send
from rayform_runtime.usercode.code_ref import CodeRef

NO_CODE = RunCode({}, None, (".",), ())


def task(timeout: float | None = None, code_root: str = "/code") -> Task:
    return Task(
        run_id="r",
        run_name="r",
        step_run_id="s",
        step=StepFacts("s", "s", CodeRef("module", "function"), timeout=timeout),
        stack="{}",
        pipeline=PipelineFacts(),
        code_root=code_root,
    )


class PlayedLauncher(Launcher):
    """Hands out workers whose other ends the test holds; says how they ended when the test lets it."""

    def __init__(self) -> None:
        self.theirs: dict[int, tuple[socket.socket, int]] = {}
        self.launched: list[dict[str, str]] = []
        self.ended: list[WorkerProcess] = []

    def prepare(self, code: RunCode) -> None:
        pass

    def launch(self, environment: Mapping[str, str], *, preloaded: bool) -> WorkerProcess:
        ours, theirs, output_read, output_write = socket_and_pipe()
        worker = WorkerProcess(next(slots), ours, output_read)
        self.theirs[worker.slot] = (theirs, output_write)
        self.launched.append(dict(environment))
        return worker

    def descriptors(self) -> dict[int, int]:
        return {}

    def collect(self) -> tuple[list[WorkerProcess], str]:
        ended, self.ended = self.ended, []
        return ended, ""

    def close(self, *, kill: bool) -> None:
        for sock, output in self.theirs.values():
            sock.close()
            if output >= 0:
                os.close(output)

    def shutdown(self) -> None:
        pass

    def print(self, worker: Worker, text: bytes) -> None:
        os.write(self.theirs[worker.process.slot][1], text)

    def hang_up(self, worker: Worker) -> None:
        sock, output = self.theirs[worker.process.slot]
        sock.close()
        os.close(output)
        self.theirs[worker.process.slot] = (sock, -1)


@pytest.fixture
def launcher() -> PlayedLauncher:
    return PlayedLauncher()


@pytest.fixture
def pool(launcher: PlayedLauncher) -> Iterator[WorkerPool]:
    built = WorkerPool(launcher, 2)
    yield built
    built.close(kill=True)


def taken(pool: WorkerPool, **environment: str) -> Worker:
    worker = pool.take(environment, preloaded=True)
    assert worker is not None
    return worker


def events_until(
    pool: WorkerPool, over: Callable[[list[PoolEvent]], bool], seconds: float = 5.0
) -> list[PoolEvent]:
    """Poll until the events are enough; each call takes little longer than it may."""
    events: list[PoolEvent] = []
    deadline = time.monotonic() + seconds
    while not over(events) and time.monotonic() < deadline:
        started = time.monotonic()
        events += pool.poll(0.05)
        assert time.monotonic() - started < 0.5
    return events


def result(name: str = "s") -> StepResult:
    return StepResult(name, StepStatus.COMPLETED)


def test_output_comes_before_the_answer_it_was_printed_before(
    pool: WorkerPool, launcher: PlayedLauncher
) -> None:
    """Whole lines are passed on as they come, the rest with the answer; the worker then takes the next task."""
    worker = taken(pool)
    pool.give(worker, task())
    theirs, _ = launcher.theirs[worker.process.slot]
    assert receive(theirs) == task()
    launcher.print(worker, b"\nfirst\nsec")
    assert events_until(pool, bool) == [Printed(worker, b"\nfirst\nsec", "\nfirst")]
    launcher.print(worker, b"ond")
    send(theirs, result())
    events = events_until(pool, lambda events: any(isinstance(event, Answered) for event in events))
    assert events[-1] == Answered(worker, result())
    printed = [event for event in events if isinstance(event, Printed)]
    assert b"".join(event.data for event in printed) == b"ond"
    assert [event.lines for event in printed if event.lines is not None] == ["second"]
    pool.release(worker)
    assert taken(pool) is worker


def test_workers_with_other_variables_make_room(pool: WorkerPool, launcher: PlayedLauncher) -> None:
    """A worker is shared by tasks with the same variables; at the limit an idle one leaves, a busy one doesn't."""
    first, second = taken(pool, A="1"), taken(pool, A="2")
    assert pool.take({"A": "3"}, preloaded=True) is None
    pool.release(first)
    third = taken(pool, A="3")
    assert launcher.launched == [{"A": "1"}, {"A": "2"}, {"A": "3"}]
    assert launcher.theirs[first.process.slot][0].recv(1) == b""  # so it ends by itself
    assert third is not second


def test_a_task_larger_than_a_socket_takes_does_not_block(pool: WorkerPool, launcher: PlayedLauncher) -> None:
    """`give` returns at once though the worker doesn't read yet; the rest is sent as it reads."""
    worker = taken(pool)
    started = time.monotonic()
    pool.give(worker, task(code_root="x" * (8 << 20)))
    assert time.monotonic() - started < 1
    theirs, _ = launcher.theirs[worker.process.slot]
    theirs.setblocking(False)
    received = 0
    deadline = time.monotonic() + 10
    while received < 8 << 20 and time.monotonic() < deadline:
        pool.poll(0.01)
        try:
            received += len(theirs.recv(1 << 20))
        except BlockingIOError:
            continue
    assert received > 8 << 20
    assert pool.poll(0.01) == []


def test_an_exit_status_that_comes_late_is_waited_for_in_poll_alone(
    pool: WorkerPool, launcher: PlayedLauncher
) -> None:
    """A worker that hung up is reported with its status once the launcher has it; others are served meanwhile."""
    dead, other = taken(pool, A="1"), taken(pool, A="2")
    launcher.hang_up(dead)
    assert events_until(pool, bool, 0.2) == []
    send(launcher.theirs[other.process.slot][0], result("other"))
    assert events_until(pool, bool) == [Answered(other, result("other"))]
    dead.process.exit_status = 3
    launcher.ended.append(dead.process)
    assert events_until(pool, bool) == [Died(dead)]
    assert pool.poll(0) == []


def test_an_idle_worker_that_hung_up_gets_no_task(pool: WorkerPool, launcher: PlayedLauncher) -> None:
    """Not even before it is known how it ended."""
    worker = taken(pool)
    pool.release(worker)
    launcher.hang_up(worker)
    assert events_until(pool, bool, 0.1) == []
    assert taken(pool) is not worker


def test_an_answer_that_the_dead_worker_sent_counts(pool: WorkerPool, launcher: PlayedLauncher) -> None:
    """It comes before the death, and the worker gets no further task."""
    worker = taken(pool)
    send(launcher.theirs[worker.process.slot][0], result())
    launcher.hang_up(worker)
    worker.process.exit_status = 0
    launcher.ended.append(worker.process)
    assert events_until(pool, lambda events: len(events) == 2) == [Answered(worker, result()), Died(worker)]
    pool.release(worker)
    assert taken(pool) is not worker


def test_a_worker_that_hung_up_and_lives_on_is_killed(
    pool: WorkerPool, launcher: PlayedLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an exit status it is killed after a moment, and reported as dead."""
    monkeypatch.setattr(worker_pool, "_SECONDS_TO_DIE", 0.1)
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        worker = taken(pool)
        worker.process.pid = process.pid
        launcher.hang_up(worker)
        assert events_until(pool, bool) == [Died(worker)]
        assert process.wait(5) == -9
    assert worker.process.exit_status is None


def test_a_task_that_runs_too_long_is_asked_where_it_stands_and_killed(
    pool: WorkerPool, launcher: PlayedLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGUSR1 comes at the timeout, SIGKILL after a moment; what it answers then doesn't count."""
    monkeypatch.setattr(worker_pool, "_SECONDS_TO_SHOW", 1.0)
    code = "trap 'echo here >&2' USR1; echo ready >&2; while :; do sleep 0.01; done"
    with subprocess.Popen(["sh", "-c", code], start_new_session=True, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None and process.stderr.readline() == b"ready\n"
        worker = taken(pool)
        worker.process.pid = process.pid
        pool.give(worker, task(timeout=0.05))
        events_until(pool, lambda _: worker.is_ending)
        assert worker.timed_out and process.wait(5) == -9
        assert process.stderr.read() == b"here\n"
    send(launcher.theirs[worker.process.slot][0], result())
    launcher.hang_up(worker)
    launcher.ended.append(worker.process)
    assert events_until(pool, bool) == [Died(worker)]


def test_a_worker_whose_process_is_not_known_yet_is_killed_once_it_is(
    pool: WorkerPool, launcher: PlayedLauncher
) -> None:
    """A cancelled step's worker may not have been forked yet."""
    worker = taken(pool)
    pool.kill(worker)
    assert pool.poll(0.05) == []
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        worker.process.pid = process.pid
        events_until(pool, lambda _: process.poll() is not None)
        assert process.returncode == -9
    assert not worker.timed_out


def test_a_fork_server_that_cannot_start_is_an_error_of_poll(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error says what the server printed, and no call waits for the server's end."""
    program = tmp_path / "python"
    lines = [
        f"#!{sys.executable} -IS",
        "import os, sys, time",
        "os.closerange(3, 1 << 16)",
        "time.sleep(0.2)",
        "sys.exit('no memory')",
    ]
    program.write_text("\n".join(lines))
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    launcher = ForkLauncher()
    pool = WorkerPool(launcher, 2)
    try:
        pool.prepare(NO_CODE)
        with pytest.raises(PrerequisiteError, match="can't be started") as raised:
            events_until(pool, bool)
        assert raised.value.why == "no memory"
    finally:
        pool.close(kill=True)
        launcher.shutdown()


class Unreadable:
    """Pickles well, and raises where it is read."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return __import__, ("a_module_that_is_nowhere",)


def test_answer_that_cannot_be_read_fails_its_task_alone() -> None:
    """A result with an object that this process can't read becomes a failure, and later answers are read."""
    launcher = PlayedLauncher()
    pool = WorkerPool(launcher, 1)
    worker = pool.take({}, preloaded=True)
    assert worker is not None
    pool.give(worker, task())
    theirs, _ = launcher.theirs[worker.process.slot]
    send(theirs, StepResult("s", StepStatus.COMPLETED, metadata={"x": Unreadable()}))
    send(theirs, StepResult("s", StepStatus.COMPLETED))
    answers = [event.result for event in pool.poll(1) if isinstance(event, Answered)]
    assert [answer.status for answer in answers] == [StepStatus.FAILED, StepStatus.COMPLETED]
    assert answers[0].error is not None
    assert "a_module_that_is_nowhere" in answers[0].error.message
    pool.close(kill=True)
