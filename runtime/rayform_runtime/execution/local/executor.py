"""Runs step tasks in warm worker processes on this machine."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayform_core.errors import PrerequisiteError
from rayform_runtime.catalog.entities import StepError, StepStatus
from rayform_runtime.execution.interface import Executor, RunEvent, StepResources, StepResult, Task
from rayform_runtime.execution.local.launcher import Launcher, WorkerProcess
from rayform_runtime.execution.local.resources import Grant, LocalResources
from rayform_runtime.execution.worker.logs import LocalLogs, LogFile, LogUploads
from rayform_runtime.processes.death import kill_group
from rayform_runtime.processes.framing import send
from rayform_runtime.spec import PipelineSpec

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore

__all__ = ["LocalExecutor"]

_WorkerKey = tuple[tuple[str, str], ...]

_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSYS)

_TO_SAY_WHERE, _STACK = 0.5, b"(most recent call first)"
"""How many seconds a step that ran too long has to print where it stands, and how that begins."""

_PASSES_BEFORE_RESERVING = 64
"""How many smaller tasks may overtake one that doesn't fit yet."""


@dataclass(eq=False, slots=True)
class _Queued:
    task: Task
    resources: StepResources
    environment: dict[str, str]


@dataclass(eq=False, slots=True)
class _Queue:
    """Waiting tasks that ask for the same resources, first come first served."""

    resources: StepResources
    tasks: deque[_Queued] = field(default_factory=deque)


@dataclass(eq=False, slots=True)
class _Worker:
    process: WorkerProcess
    key: _WorkerKey
    running: _Queued | None = None
    grant: Grant | None = None
    started: float = 0.0
    deadline: float | None = None
    ending_as: StepResult | None = None
    """What to report once it is dead: it is being killed on purpose."""
    kill_at: float | None = None
    log: LogFile | None = None
    partial: bytes = b""


class LocalExecutor(Executor):
    """Runs step tasks in local worker processes, each doing one task at a time and staying warm.

    Args:
        launcher: starts the workers; it stays the caller's.
        resources: what steps share.
        max_workers: workers at once.
        environment: variables for all steps, set before the person's code is imported.
        code_root, import_paths: where the person's code is; see `PipelineSpec`.
        sources: functions whose modules are worth importing once for all workers.
        log_store: a remote store that finished logs are copied to; logs stay on this machine unless given.
    """

    def __init__(
        self,
        launcher: Launcher,
        resources: LocalResources,
        *,
        max_workers: int = 64,
        environment: Mapping[str, str] | None = None,
        code_root: str | None = None,
        import_paths: Sequence[str] = (".",),
        sources: Sequence[Mapping[str, Any]] = (),
        log_store: ArtifactStore | None = None,
    ) -> None:
        self._launcher = launcher
        self._resources = resources
        self._max_workers = max_workers
        self._queues: dict[str, _Queue] = {}
        self._queued_ids: dict[str, _Queued] = {}
        self._workers: dict[int, _Worker] = {}
        self._idle: dict[_WorkerKey, list[_Worker]] = {}
        self._by_step_run: dict[str, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._registered: set[int] = set()
        self._out: list[Task | StepResult | RunEvent] = []
        self._overtaken = 0
        self._run_id = ""
        self._logs: LocalLogs | None = None
        self._oom_kills = _oom_kills()
        self._closed = False
        self._uploads = LogUploads(log_store) if log_store is not None else None
        self._is_ready = False
        self._prepare = partial(launcher.prepare, environment or {}, code_root, import_paths, sources)

    def get_ready(self) -> None:
        """Start the first worker now rather than with the first task."""
        if not self._is_ready:
            self._is_ready = True
            self._prepare()
            self._watch_launcher()
            self._launch(())

    # -- Executor -----------------------------------------------------------------------------------------
    def check(self, spec: PipelineSpec) -> None:
        self._resources.check(spec)

    def submit(self, task: Task) -> None:
        resources = task.step.resources
        queued = _Queued(task, resources, dict(task.step.environment))
        self._run_id = task.run_id
        self.get_ready()
        queue = self._queues.setdefault(repr(resources), _Queue(resources))
        queue.tasks.append(queued)
        self._queued_ids[task.step_run_id] = queued
        self._start_what_fits()

    def wait(self, timeout: float) -> list[Task | StepResult | RunEvent]:
        if not self._out:
            self._poll(self._until_next_deadline(timeout))
        out, self._out = self._out, []
        return out

    def cancel(self, step_run_id: str) -> None:
        queued = self._queued_ids.pop(step_run_id, None)
        if queued is not None:
            self._queues[repr(queued.resources)].tasks.remove(queued)
            self._out.append(StepResult(step_run_id, StepStatus.STOPPED, ended_at=_now()))
            return
        worker = self._by_step_run.get(step_run_id)
        if worker is not None and worker.ending_as is None:
            self._kill(worker, StepResult(step_run_id, StepStatus.STOPPED, lost=True, ended_at=_now()))

    def close(self, *, kill: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        for worker in self._workers.values():
            if worker.running is not None and worker.process.pid is not None:
                kill_group(worker.process.pid)
            if worker.log is not None:
                worker.log.close()
        self._selector.close()
        self._launcher.close(kill=kill)
        for worker in self._workers.values():
            worker.process.close()
        self._workers.clear()
        if self._uploads is not None:
            self._uploads.finish()

    def log_uri(self, run_id: str, step_run_id: str) -> str | None:
        if self._uploads is not None:
            return self._uploads.uri(run_id, step_run_id)
        return self._logs_of(run_id).uri(step_run_id)

    def _logs_of(self, run_id: str) -> LocalLogs:
        if self._logs is None or self._logs.run_id != run_id:
            self._logs = LocalLogs(run_id)
        return self._logs

    # -- placing ------------------------------------------------------------------------------------------
    def _start_what_fits(self) -> None:
        blocked = False
        for name, queue in list(self._queues.items()):
            while queue.tasks:
                if blocked and self._overtaken >= _PASSES_BEFORE_RESERVING:
                    return  # let resources come free for the task that was overtaken so often
                grant = self._resources.take(queue.resources)
                if grant is None:
                    blocked = True
                    break
                queued = queue.tasks[0]
                visible = grant.environment(machine_has_gpus=bool(self._resources.gpu_ids))
                worker = self._worker_for({**queued.environment, **visible}, bool(queued.environment))
                if worker is None:
                    self._resources.give_back(grant)
                    return
                queue.tasks.popleft()
                self._overtaken = self._overtaken + 1 if blocked else 0
                self._assign(worker, queued, grant)
            if not queue.tasks:
                del self._queues[name]

    def _worker_for(self, environment: dict[str, str], own_environment: bool) -> _Worker | None:
        key = tuple(sorted(environment.items()))
        idle = self._idle.get(key)
        if idle:
            return idle.pop()
        if len(self._workers) >= self._max_workers:
            victim = next((w.pop() for w in self._idle.values() if w), None)
            if victim is None:
                return None
            self._retire(victim)
        return self._launch(key, preloaded=not own_environment, idle=False)

    def _launch(self, key: _WorkerKey, *, preloaded: bool = True, idle: bool = True) -> _Worker:
        process = self._launcher.launch(dict(key), preloaded=preloaded)
        worker = _Worker(process, key)
        self._workers[process.slot] = worker
        self._selector.register(process.tasks, selectors.EVENT_READ, worker)
        self._selector.register(process.output, selectors.EVENT_READ, worker)
        self._watch_launcher()
        if idle:
            self._idle.setdefault(key, []).append(worker)
        return worker

    def _assign(self, worker: _Worker, queued: _Queued, grant: Grant) -> None:
        task = queued.task
        self._queued_ids.pop(task.step_run_id, None)
        worker.running, worker.grant = queued, grant
        worker.started = time.monotonic()
        timeout = task.step.timeout
        worker.deadline = worker.started + timeout if timeout else None
        worker.log = LogFile(self._logs_of(task.run_id).path(task.step_run_id))
        self._by_step_run[task.step_run_id] = worker
        self._out.append(task)
        try:
            send(worker.process.tasks, task)
        except OSError:
            pass  # it died while idle; its end is noticed like that of any other and reported as a crash

    def _retire(self, worker: _Worker) -> None:
        """Let an idle worker go, to make room for one with another environment."""
        self._forget(worker)
        worker.process.close()

    def _forget(self, worker: _Worker) -> None:
        self._workers.pop(worker.process.slot, None)
        for part in (worker.process.tasks, worker.process.output):
            try:
                self._selector.unregister(part)
            except (KeyError, ValueError):
                continue  # its end of file was seen already
        waiting = self._idle.get(worker.key)
        if waiting is not None and worker in waiting:
            waiting.remove(worker)

    # -- watching -----------------------------------------------------------------------------------------
    def _watch_launcher(self) -> None:
        wanted = set(self._launcher.descriptors())
        for descriptor in wanted - self._registered:
            self._selector.register(descriptor, selectors.EVENT_READ, None)
        for descriptor in self._registered - wanted:
            try:
                self._selector.unregister(descriptor)
            except (KeyError, ValueError):
                continue
        self._registered = wanted

    def _until_next_deadline(self, timeout: float) -> float:
        now = time.monotonic()
        for worker in self._workers.values():
            for moment in (worker.deadline, worker.kill_at):
                if moment is not None:
                    timeout = min(timeout, max(0.0, moment - now))
        return timeout

    def _poll(self, timeout: float) -> None:
        launcher_spoke = False
        for key, _ in self._selector.select(timeout):
            worker: _Worker | None = key.data
            if worker is None:
                launcher_spoke = True
            elif key.fd == worker.process.output:
                self._read_output(worker)
            elif worker.process.slot in self._workers:
                self._read_result(worker)
        if launcher_spoke:
            self._read_launcher()
        self._enforce_deadlines()

    def _read_launcher(self) -> None:
        ended, printed = self._launcher.collect()
        if printed:
            self._out.append(RunEvent("log", _now(), self._run_id, text=printed.rstrip("\n")))
        for process in ended:
            worker = self._workers.get(process.slot)
            if worker is not None:
                self._read_result(worker, final=True)
                if process.slot in self._workers:
                    self._on_death(worker)
        self._watch_launcher()

    def _read_result(self, worker: _Worker, *, final: bool = False) -> None:
        frames = worker.process.frames
        for result in frames.read():
            # What was printed before the result was sent lies in the pipe by now.
            self._read_output(worker, drain=True)
            if worker.ending_as is None and worker.running is not None:
                self._release(worker, result)
        if frames.ended and not final and worker.process.slot in self._workers:
            try:
                self._selector.unregister(worker.process.tasks)
            except (KeyError, ValueError):
                pass  # seen before
            # How it ended comes from whoever reaps it.
            self._read_launcher_until(worker)

    def _read_launcher_until(self, worker: _Worker) -> None:
        deadline = time.monotonic() + 1.0
        while worker.process.slot in self._workers and time.monotonic() < deadline:
            self._read_launcher()
            if worker.process.slot in self._workers:
                time.sleep(0.002)
        if worker.process.slot in self._workers:
            # It closed its socket and lives on: a step that closes descriptors it doesn't own.
            if worker.process.pid is not None:
                kill_group(worker.process.pid)
            self._on_death(worker)

    def _read_output(self, worker: _Worker, *, drain: bool = False) -> None:
        if worker.process.output < 0:
            return
        data = b""
        while len(data) < 1 << 22:
            try:
                chunk = os.read(worker.process.output, 1 << 16)
            except BlockingIOError:
                break
            except OSError:
                chunk = b""
            if not chunk:
                try:
                    self._selector.unregister(worker.process.output)
                except (KeyError, ValueError):
                    pass  # seen before
                break
            data += chunk
            if not drain:
                break
        if data:
            self._show(worker, data)
        if drain and worker.partial:
            self._show(worker, b"", flush=True)

    def _show(self, worker: _Worker, data: bytes, *, flush: bool = False) -> None:
        """Keep output in the log as it is; pass on whole lines."""
        if data and worker.log is not None:
            self._keep(worker, worker.log, data)
        if data and worker.kill_at is not None and _STACK in data:
            worker.kill_at = min(worker.kill_at, time.monotonic() + 0.05)
        whole, newline, rest = (worker.partial + data).rpartition(b"\n")
        if flush or len(rest) > 1 << 16:
            whole, rest = whole + newline + rest, b""
        worker.partial = rest
        if not whole and not newline:
            return
        task = worker.running.task if worker.running is not None else None
        self._out.append(
            RunEvent(
                "log",
                _now(),
                task.run_id if task else self._run_id,
                step_key=task.step.key if task else None,
                map_index=task.map_index if task else None,
                text=whole.decode(errors="replace"),
            )
        )

    def _keep(self, worker: _Worker, log: LogFile, data: bytes) -> None:
        """Write to the log; a disk that is full costs the rest of this step's log, not the run."""
        try:
            log.write(data)
        except PrerequisiteError as error:
            worker.log = None
            task = worker.running.task if worker.running is not None else None
            self._out.append(
                RunEvent(
                    "log",
                    _now(),
                    self._run_id,
                    step_key=task.step.key if task else None,
                    map_index=task.map_index if task else None,
                    text=f"Rayform can't keep the rest of this log. {error}",
                )
            )

    # -- ends ---------------------------------------------------------------------------------------------
    def _release(self, worker: _Worker, result: StepResult) -> None:
        """Free what the worker held, give it its next task, and report the result."""
        self._settle(worker, result)
        self._idle.setdefault(worker.key, []).append(worker)
        self._start_what_fits()

    def _settle(self, worker: _Worker, result: StepResult) -> None:
        assert worker.running is not None
        self._by_step_run.pop(worker.running.task.step_run_id, None)
        if worker.grant is not None:
            self._resources.give_back(worker.grant)
        if worker.log is not None:
            worker.log.close()
            if self._uploads is not None and worker.log.is_written:
                task = worker.running.task
                self._uploads.add(task.run_id, task.step_run_id, worker.log.path)
        worker.running = worker.grant = worker.log = worker.deadline = worker.kill_at = None
        self._out.append(result)

    def _kill(self, worker: _Worker, result: StepResult) -> None:
        """End a worker with all processes of its step; `result` is reported once it is dead."""
        worker.ending_as = result
        worker.deadline = None
        if worker.process.pid is not None:
            kill_group(worker.process.pid)
        else:
            worker.kill_at = time.monotonic() + 0.01  # its process ID is still on its way

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers.values()):
            if worker.kill_at is not None and now >= worker.kill_at:
                worker.kill_at = None
                if worker.ending_as is not None:
                    self._kill(worker, worker.ending_as)
                else:
                    self._time_out(worker)
            elif worker.deadline is not None and now >= worker.deadline:
                worker.deadline = None
                # First ask it where it stands (a traceback in its log), then end it.
                if worker.process.pid is not None:
                    try:
                        os.kill(worker.process.pid, signal.SIGUSR1)
                    except ProcessLookupError:
                        pass  # its end is noticed in a moment
                worker.kill_at = now + _TO_SAY_WHERE

    def _time_out(self, worker: _Worker) -> None:
        assert worker.running is not None
        task = worker.running.task
        seconds = task.step.timeout or 0.0
        error = StepError(
            "Timeout",
            f"It ran for more than its timeout of {seconds:g} seconds and was ended. "
            "Its log shows where it stood.",
        )
        self._kill(worker, _lost(task.step_run_id, error))

    def _on_death(self, worker: _Worker) -> None:
        """Report what the dead worker was doing, and forget it."""
        self._read_output(worker, drain=True)
        self._forget(worker)
        if worker.running is not None:
            task = worker.running.task
            if worker.process.pid is not None:
                kill_group(worker.process.pid)  # what its step started and left behind
            result = worker.ending_as or _lost(task.step_run_id, self._why_it_died(worker))
            self._settle(worker, result)
        worker.process.close()
        self._start_what_fits()

    def _why_it_died(self, worker: _Worker) -> StepError:
        status = worker.process.exit_status
        if status is None:
            return StepError("Crash", "Its process closed its connection and was ended.")
        if status >= 0:
            return StepError(
                "Crash",
                f"Its process ended with exit code {status} in the middle of the step "
                "(`os._exit`, or native code that gave up).",
            )
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        if -status == signal.SIGKILL:
            kills = _oom_kills()
            if kills > self._oom_kills:
                self._oom_kills = kills
                return StepError(
                    "OutOfMemory",
                    "The kernel ended its process because memory ran out. Let the step use less, or declare "
                    "`memory` in the resources of the steps, so that fewer run at once.",
                )
            return StepError(
                "Crash",
                "Its process was killed (SIGKILL). Where nobody did that by hand, memory ran out.",
            )
        if -status in _CRASHES:
            return StepError("Crash", f"Its process died of {name}; native code that it called crashed.")
        return StepError("Crash", f"Its process was ended by {name}, which it or another process sent.")


def _lost(step_run_id: str, error: StepError) -> StepResult:
    return StepResult(step_run_id, StepStatus.FAILED, error=error, lost=True, ended_at=_now())


def _now() -> datetime:
    return datetime.now(UTC)


def _oom_kills() -> int:
    """Return how many processes the kernel has ended in this container for want of memory."""
    try:
        for line in Path("/sys/fs/cgroup/memory.events").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass  # no control groups of version 2 here
    return 0
