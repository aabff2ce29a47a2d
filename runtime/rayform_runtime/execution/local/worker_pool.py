"""The worker processes of one run: started when needed, kept warm, watched, and killed."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from rayform_runtime.execution.interface import StepResult, Task
from rayform_runtime.execution.local.launcher import Launcher, RunCode, WorkerProcess
from rayform_runtime.processes.death import kill_group

__all__ = ["Answered", "Died", "PoolEvent", "Printed", "Worker", "WorkerPool"]

_WorkerKey = tuple[tuple[str, str], ...]

_SECONDS_TO_SHOW, _STACK = 0.5, b"(most recent call first)"
"""Seconds that a step has to print its stack after its timeout, and the first words of that output."""

_SECONDS_TO_DIE = 1.0
"""Seconds that a worker has to end by itself after it closed its socket."""

_BETWEEN_LOOKS = 0.002
"""Seconds between questions to the launcher for the exit status of a worker that closed its socket."""

_MOST_OUTPUT, _LONGEST_LINE = 1 << 22, 1 << 16
"""Bytes of output: the most that one turn reads from a worker, and the longest line that is held back."""


@dataclass(eq=False, slots=True)
class Worker:
    """A worker process, and what the pool waits for."""

    process: WorkerProcess
    key: _WorkerKey
    """Its variables; tasks with the same variables may share it."""
    deadline: float | None = None
    """When its task times out; set with each task."""
    kill_at: float | None = None
    """When to kill it; set once its task has timed out, or while its process ID isn't known yet."""
    dead_at: float | None = None
    """When to count it as dead without an exit status; set once it has closed its socket."""
    is_ending: bool = False
    """It was killed on purpose, so its answer no longer counts."""
    timed_out: bool = False
    """It was killed because its task timed out."""
    line: bytes = b""
    """The last line of its output, until its end is read."""

    def take_lines(self, data: bytes, *, whole: bool) -> str | None:
        """Add output; return the lines that are complete now, or `None` if none is.

        Args:
            data: what was read.
            whole: return the last line too, though its end may be missing.
        """
        lines, newline, rest = (self.line + data).rpartition(b"\n")
        if rest and (whole or len(rest) > _LONGEST_LINE):
            lines, newline, rest = lines + newline + rest, b"\n", b""
        self.line = rest
        return lines.decode(errors="replace") if lines or newline else None


class Printed(NamedTuple):
    """Output of a worker, or of importing the user's code if `worker` is `None`.

    Args:
        data: what was printed since the last event.
        lines: the lines that are complete now, without the last newline.
    """

    worker: Worker | None
    data: bytes
    lines: str | None


class Answered(NamedTuple):
    """A worker has run its task."""

    worker: Worker
    result: StepResult


class Died(NamedTuple):
    """A worker has died and is forgotten; `worker.process.exit_status` says how, if that is known."""

    worker: Worker


PoolEvent = Printed | Answered | Died


class WorkerPool:
    """Holds the workers of one run. Only `poll` waits, and `close`, for a bounded time.

    Args:
        launcher: starts the workers; it stays the caller's.
        max_workers: workers at once.
    """

    def __init__(self, launcher: Launcher, max_workers: int) -> None:
        self._launcher = launcher
        self._max_workers = max_workers
        # All workers by slot; a worker leaves when it has died or makes room for another.
        self._workers: dict[int, Worker] = {}
        # Those without a task, by their variables.
        self._idle: dict[_WorkerKey, list[Worker]] = {}
        # What `poll` waits on: sockets and pipes of all workers, and the launcher's descriptors.
        self._selector = selectors.DefaultSelector()
        # The launcher's descriptors in the selector, with their events.
        self._watched: dict[int, int] = {}
        # What happened since the last `poll`.
        self._events: list[PoolEvent] = []

    def prepare(self, code: RunCode) -> None:
        """Import a run's code in the background, and start a first worker."""
        self._launcher.prepare(code)
        self.release(self._launch((), preloaded=True))

    def take(self, environment: Mapping[str, str], *, preloaded: bool) -> Worker | None:
        """Return an idle worker with these variables, else a new one; `None` if all workers have a task.

        Args:
            environment: the variables.
            preloaded: the user's code may have been imported before these variables were set.
        """
        key = tuple(sorted(environment.items()))
        if idle := self._idle.get(key):
            return idle.pop()
        if len(self._workers) >= self._max_workers:
            other = next((workers.pop() for workers in self._idle.values() if workers), None)
            if other is None:
                return None
            self._forget(other)  # it ends by itself
        return self._launch(key, preloaded=preloaded)

    def give(self, worker: Worker, task: Task) -> None:
        """Let a worker run a task; the end is an `Answered` or a `Died`.

        Args:
            worker: one that `take` returned.
            task: what to run; it is killed after its timeout.
        """
        timeout = task.step.timeout
        worker.deadline = time.monotonic() + timeout if timeout else None
        try:
            worker.process.writer.send(task)
        except OSError:
            return  # it died while idle; `poll` notices that and reports it as a crash
        if not worker.process.writer.is_done:
            self._watch_worker(worker)

    def release(self, worker: Worker) -> None:
        """Keep a worker that has answered for the next task, if it still lives."""
        if worker.process.slot in self._workers and worker.dead_at is None and not worker.is_ending:
            self._idle.setdefault(worker.key, []).append(worker)

    def dismiss(self, worker: Worker) -> None:
        """Let a worker that has answered end; tasks like its own get another one."""
        if worker.process.slot in self._workers and worker.dead_at is None:
            self._forget(worker)

    def kill(self, worker: Worker) -> None:
        """Kill a worker with all processes of its step; `poll` reports its end."""
        worker.is_ending = True
        worker.deadline = None
        if worker.process.pid is not None:
            kill_group(worker.process.pid)
        else:
            worker.kill_at = time.monotonic() + 0.01  # its process ID is still on its way

    def poll(self, timeout: float) -> list[PoolEvent]:
        """Wait until something happens, at most `timeout` seconds, and return what happened, in order.

        Raises:
            PrerequisiteError: workers can't be started.
        """
        look = any(worker.dead_at is not None for worker in self._workers.values())
        for key, events in self._selector.select(self._until_next_deadline(timeout)):
            worker: Worker | None = key.data
            if worker is None:
                look = True
            elif key.fd == worker.process.output:
                self._read_output(worker)
            else:
                self._talk(worker, events)
                look = look or worker.dead_at is not None
        if look:
            self._ask_launcher()
        self._enforce_deadlines()
        happened, self._events = self._events, []
        return happened

    def close(self, *, kill: bool) -> None:
        """End all workers; with `kill` at once."""
        self._selector.close()
        self._launcher.close(kill=kill)
        for worker in self._workers.values():
            worker.process.close()
        self._workers.clear()

    # -- starting and forgetting workers ------------------------------------------------------------------
    def _launch(self, key: _WorkerKey, *, preloaded: bool) -> Worker:
        process = self._launcher.launch(dict(key), preloaded=preloaded)
        worker = Worker(process, key)
        self._workers[process.slot] = worker
        self._selector.register(process.tasks, selectors.EVENT_READ, worker)
        self._selector.register(process.output, selectors.EVENT_READ, worker)
        self._watch_launcher()
        return worker

    def _forget(self, worker: Worker) -> None:
        """Drop a worker and close the connection to it; a worker that still lives then ends by itself."""
        self._workers.pop(worker.process.slot, None)
        self._retire(worker)
        self._unwatch(worker.process.tasks.fileno())
        self._unwatch(worker.process.output)
        worker.process.close()

    def _retire(self, worker: Worker) -> None:
        """Let a worker get no further task."""
        idle = self._idle.get(worker.key)
        if idle is not None and worker in idle:
            idle.remove(worker)

    # -- watching -----------------------------------------------------------------------------------------
    def _unwatch(self, descriptor: int) -> None:
        try:
            self._selector.unregister(descriptor)
        except (KeyError, ValueError):
            pass  # its end of file was read before

    def _watch_worker(self, worker: Worker) -> None:
        """Wait for room in a worker's socket only as long as part of its task isn't sent."""
        writing = 0 if worker.process.writer.is_done else selectors.EVENT_WRITE
        key = self._selector.get_map().get(worker.process.tasks)
        if key is not None and key.events != selectors.EVENT_READ | writing:
            self._selector.modify(worker.process.tasks, selectors.EVENT_READ | writing, worker)

    def _watch_launcher(self) -> None:
        descriptors = self._launcher.descriptors()
        if descriptors == self._watched:
            return
        for descriptor in self._watched.keys() - descriptors.keys():
            self._unwatch(descriptor)
        for descriptor, events in descriptors.items():
            if descriptor not in self._watched:
                self._selector.register(descriptor, events, None)
            elif events != self._watched[descriptor]:
                self._selector.modify(descriptor, events, None)
        self._watched = descriptors

    def _until_next_deadline(self, timeout: float) -> float:
        now = time.monotonic()
        for worker in self._workers.values():
            if worker.dead_at is not None:
                return min(timeout, _BETWEEN_LOOKS)
            for moment in (worker.deadline, worker.kill_at):
                if moment is not None:
                    timeout = min(timeout, max(0.0, moment - now))
        return timeout

    def _talk(self, worker: Worker, events: int) -> None:
        """Send the rest of a task and read answers."""
        if events & selectors.EVENT_WRITE:
            try:
                worker.process.writer.flush()
            except OSError:
                worker.process.writer.drop()  # it died; the end of file shows that
            self._watch_worker(worker)
        if events & ~selectors.EVENT_WRITE:
            self._read_answers(worker)

    def _read_answers(self, worker: Worker) -> None:
        for result in worker.process.results.read():
            # Output that was printed before the answer was sent is in the pipe by now.
            self._read_output(worker, drain=True)
            if not worker.is_ending:
                worker.deadline = worker.kill_at = None
                self._events.append(Answered(worker, result))
        if worker.process.results.ended and worker.dead_at is None:
            # It is dead or about to end; the launcher will say how.
            self._retire(worker)
            worker.dead_at = time.monotonic() + _SECONDS_TO_DIE
            self._unwatch(worker.process.tasks.fileno())

    def _read_output(self, worker: Worker, *, drain: bool = False) -> None:
        """Read what a worker printed: all of it if `drain` is set, else as much as one read returns."""
        data = b""
        while worker.process.output >= 0 and len(data) < _MOST_OUTPUT:
            try:
                chunk = os.read(worker.process.output, 1 << 16)
            except BlockingIOError:
                break
            except OSError:
                chunk = b""
            if not chunk:
                self._unwatch(worker.process.output)
                break
            data += chunk
            if not drain:
                break
        if worker.kill_at is not None and _STACK in data:
            worker.kill_at = min(worker.kill_at, time.monotonic() + 0.05)
        lines = worker.take_lines(data, whole=drain)
        if data or lines is not None:
            self._events.append(Printed(worker, data, lines))

    def _ask_launcher(self) -> None:
        ended, printed = self._launcher.collect()
        if printed:
            self._events.append(Printed(None, b"", printed.rstrip("\n")))
        for process in ended:
            worker = self._workers.get(process.slot)
            if worker is not None:
                self._read_answers(worker)
                self._end(worker)
        self._watch_launcher()

    # -- ends ---------------------------------------------------------------------------------------------
    def _end(self, worker: Worker) -> None:
        self._read_output(worker, drain=True)
        self._forget(worker)
        self._events.append(Died(worker))

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers.values()):
            if worker.dead_at is not None and now >= worker.dead_at:
                # It closed its socket and lives on: a step has closed descriptors that it doesn't own.
                if worker.process.pid is not None:
                    kill_group(worker.process.pid)
                self._end(worker)
            elif worker.kill_at is not None and now >= worker.kill_at:
                worker.kill_at = None
                worker.timed_out = worker.timed_out or not worker.is_ending
                self.kill(worker)
            elif worker.deadline is not None and now >= worker.deadline:
                worker.deadline = None
                worker.kill_at = now + _SECONDS_TO_SHOW
                self._ask_where_it_stands(worker)

    def _ask_where_it_stands(self, worker: Worker) -> None:
        """Let a worker print its stack, before it is killed."""
        if worker.process.pid is not None:
            try:
                os.kill(worker.process.pid, signal.SIGUSR1)
            except ProcessLookupError:
                pass  # its end is noticed in a moment
