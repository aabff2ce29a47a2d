"""Runs step tasks in warm worker processes on this machine."""

from __future__ import annotations

import signal
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rayform_core.errors import PrerequisiteError
from rayform_runtime.catalog.entities import StepStatus
from rayform_runtime.execution.interface import Executor, RunEvent, StepResources, StepResult, Task
from rayform_runtime.execution.local.failures import explain_death
from rayform_runtime.execution.local.launcher import Launcher, RunCode
from rayform_runtime.execution.local.resources import Grant, LocalResources, oom_kills
from rayform_runtime.execution.local.worker_pool import Answered, Printed, Worker, WorkerPool
from rayform_runtime.execution.worker.logs import LocalLogs, LogFile, LogUploads

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore
    from rayform_runtime.spec import PipelineSpec

__all__ = ["LocalExecutor"]

_PASSES_BEFORE_RESERVING = 64
"""How many smaller tasks may overtake one that doesn't fit yet."""


@dataclass(eq=False, slots=True)
class _Queue:
    """Waiting tasks that ask for the same resources, first come, first served."""

    resources: StepResources
    tasks: deque[Task] = field(default_factory=deque)


@dataclass(eq=False, slots=True)
class _Running:
    """A task that runs in a worker."""

    task: Task
    grant: Grant
    log: LogFile | None
    """`None` once it can't be written any more."""
    is_cancelled: bool = False


class LocalExecutor(Executor):
    """Runs step tasks in local worker processes. A worker runs one task at a time and stays warm for the next.

    Only `wait` blocks, and `close` for a bounded time.

    Args:
        run_id: the run whose tasks these are.
        launcher: starts the workers; it stays the caller's.
        resources: what steps share.
        code: the user's code.
        max_workers: workers at once.
        log_store: a remote store that finished logs are copied to; by default logs stay on this machine.
    """

    def __init__(
        self,
        run_id: str,
        launcher: Launcher,
        resources: LocalResources,
        code: RunCode,
        *,
        max_workers: int = 64,
        log_store: ArtifactStore | None = None,
    ) -> None:
        # The run and its code; constant.
        self._run_id = run_id
        self._code = code
        # Counts what running steps hold.
        self._resources = resources
        # The worker processes.
        self._pool = WorkerPool(launcher, max_workers)
        # Whether the first worker was started; set by `get_ready`.
        self._is_ready = False
        # Set by `close`.
        self._is_closed = False
        # Tasks that wait for resources, from `submit` until they start or are cancelled: by what they ask for, and by
        # the ID of their step run.
        self._queues: dict[str, _Queue] = {}
        self._waiting: dict[str, Task] = {}
        # Tasks that run, from their start until their end is reported.
        self._running: dict[Worker, _Running] = {}
        # What the next `wait` returns.
        self._out: list[Task | StepResult | RunEvent] = []
        # How many tasks in a row have overtaken one that doesn't fit.
        self._overtaken = 0
        # How many processes the kernel had killed because memory ran out, as counted last.
        self._oom_kills = oom_kills()
        # Where logs are written; constant.
        self._logs = LocalLogs(run_id)
        # Copies finished logs to a remote store; constant.
        self._uploads = LogUploads(log_store) if log_store is not None else None

    def get_ready(self) -> None:
        """Start the first worker now, rather than with the first task."""
        if not self._is_ready:
            self._is_ready = True
            self._pool.prepare(self._code)

    # -- Executor -----------------------------------------------------------------------------------------
    def check(self, spec: PipelineSpec) -> None:
        self._resources.check(spec)

    def submit(self, task: Task) -> None:
        resources = task.step.resources
        self.get_ready()
        self._queues.setdefault(repr(resources), _Queue(resources)).tasks.append(task)
        self._waiting[task.step_run_id] = task
        self._start_what_fits()

    def wait(self, timeout: float) -> list[Task | StepResult | RunEvent]:
        if not self._out:
            events = self._pool.poll(timeout)
            for event in events:
                if isinstance(event, Printed):
                    self._show(event)
                elif isinstance(event, Answered):
                    self._end(event.worker, event.result)
                    if event.result.worker_is_spent:
                        self._pool.dismiss(event.worker)
                    else:
                        self._pool.release(event.worker)
                else:
                    self._end(event.worker)
            if not all(isinstance(event, Printed) for event in events):
                self._start_what_fits()
        out, self._out = self._out, []
        return out

    def cancel(self, step_run_id: str) -> None:
        task = self._waiting.pop(step_run_id, None)
        if task is not None:
            self._queues[repr(task.step.resources)].tasks.remove(task)
            self._out.append(StepResult(step_run_id, StepStatus.STOPPED, ended_at=_now()))
            return
        for worker, running in self._running.items():
            if running.task.step_run_id == step_run_id and not worker.is_ending:
                running.is_cancelled = True
                self._pool.kill(worker)

    def close(self, *, kill: bool = False) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        for worker, running in self._running.items():
            self._pool.kill(worker)
            if running.log is not None:
                running.log.close()
        self._pool.close(kill=kill)
        if self._uploads is not None:
            self._uploads.finish()

    def log_uri(self, run_id: str, step_run_id: str) -> str | None:
        return self._uploads.uri(run_id, step_run_id) if self._uploads else self._logs.uri(step_run_id)

    # -- beginnings ---------------------------------------------------------------------------------------
    def _start_what_fits(self) -> None:
        blocked = False
        for name, queue in list(self._queues.items()):
            while queue.tasks:
                if blocked and self._overtaken >= _PASSES_BEFORE_RESERVING:
                    return  # leave resources to the task that was overtaken so often
                grant = self._resources.take(queue.resources)
                if grant is None:
                    blocked = True
                    break
                task = queue.tasks[0]
                visible = grant.environment(machine_has_gpus=bool(self._resources.gpu_ids))
                environment = task.step.environment
                # A step's own variables may be read when its code is imported, so they need a fresh import.
                worker = self._pool.take({**environment, **visible}, preloaded=not environment)
                if worker is None:
                    self._resources.give_back(grant)
                    return
                queue.tasks.popleft()
                self._overtaken = self._overtaken + 1 if blocked else 0
                self._start(worker, task, grant)
            if not queue.tasks:
                del self._queues[name]

    def _start(self, worker: Worker, task: Task, grant: Grant) -> None:
        self._waiting.pop(task.step_run_id, None)
        log = LogFile(self._logs.path(task.step_run_id)) if task.step.kept.logs else None
        self._running[worker] = _Running(task, grant, log)
        self._out.append(task)
        self._pool.give(worker, task)

    # -- output -------------------------------------------------------------------------------------------
    def _show(self, printed: Printed) -> None:
        """Keep output in the log as it is; pass on the lines that are complete."""
        running = self._running.get(printed.worker) if printed.worker is not None else None
        if running is not None and running.log is not None and printed.data:
            try:
                running.log.write(printed.data)
            except PrerequisiteError as error:
                # A full disk costs the rest of this step's log, not the run.
                running.log = None
                self._report(f"Rayform can't keep the rest of this log. {error}", running)
        if printed.lines is not None:
            self._report(printed.lines, running)

    def _report(self, text: str, running: _Running | None) -> None:
        event = RunEvent(
            "log",
            _now(),
            self._run_id,
            step_key=running.task.step.key if running is not None else None,
            map_index=running.task.map_index if running is not None else None,
            text=text,
        )
        self._out.append(event)

    # -- ends ---------------------------------------------------------------------------------------------
    def _end(self, worker: Worker, result: StepResult | None = None) -> None:
        """Free what a step held and report its result; without one, say why its worker died."""
        running = self._running.pop(worker, None)
        if running is None:
            return
        self._resources.give_back(running.grant)
        task = running.task
        if running.log is not None:
            running.log.close()
            if self._uploads is not None and running.log.is_written:
                self._uploads.add(task.run_id, task.step_run_id, running.log.path)
        if result is not None and not result.step_run_id:
            result = result._replace(step_run_id=task.step_run_id, ended_at=_now())
        self._out.append(result or self._result_of_dead(worker, running))

    def _result_of_dead(self, worker: Worker, running: _Running) -> StepResult:
        step_run_id = running.task.step_run_id
        if running.is_cancelled:
            return StepResult(step_run_id, StepStatus.STOPPED, lost=True, ended_at=_now())
        status = worker.process.exit_status
        error = explain_death(
            status,
            timeout=running.task.step.timeout if worker.timed_out else None,
            memory_ran_out=status == -signal.SIGKILL and not worker.timed_out and self._memory_ran_out(),
        )
        return StepResult(step_run_id, StepStatus.FAILED, error=error, lost=True, ended_at=_now())

    def _memory_ran_out(self) -> bool:
        """Return whether the kernel has killed a process because memory ran out since the last call."""
        before, self._oom_kills = self._oom_kills, oom_kills()
        return self._oom_kills > before


def _now() -> datetime:
    return datetime.now(UTC)
