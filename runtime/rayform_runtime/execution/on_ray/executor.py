"""Runs steps as Ray tasks: on a local Ray that Rayform starts, or from a cluster's head, in step images.

Ray decides where a task runs and when it is lost; nothing else ever restarts one. The executor asks the cluster
for nodes and free resources only to word its messages, so a status call that times out, or twenty-five of them,
changes nothing.

The executor submits a task again when its node or worker process died, and reports that as a `restart` event
with the cause; the attempt number and the user's `retry` policy stay the scheduler's. Output IDs are the same in
every try, so a worker on a node that was only cut off can't commit a second result.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from rayform_runtime.catalog.entities import StepError, StepStatus
from rayform_runtime.cluster.machine.node_groups import NodeGroup
from rayform_runtime.execution.interface import Executor, RunEvent, StepResult, Task
from rayform_runtime.execution.on_ray.channel import ChannelServer
from rayform_runtime.execution.on_ray.failures import Failure
from rayform_runtime.execution.on_ray.launcher import TaskLauncher, cancel
from rayform_runtime.execution.on_ray.local_ray import connect_to_cluster, start_local_ray, stop_local_ray
from rayform_runtime.execution.on_ray.logs import StepLogs
from rayform_runtime.execution.on_ray.losses import LossReports
from rayform_runtime.execution.on_ray.messages import (
    Exiting,
    NoMoreOutput,
    Printed,
    Started,
    StepTry,
    WorkerMessage,
)
from rayform_runtime.execution.on_ray.nodes import ClusterView
from rayform_runtime.execution.on_ray.placement import check_placeable, ray_resources
from rayform_runtime.execution.on_ray.tasks import Outcome, RunningTask
from rayform_runtime.execution.on_ray.waits import QueueReports
from rayform_runtime.execution.on_ray.worker import CodeBundleRef
from rayform_runtime.spec import PipelineSpec

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore

__all__ = ["WORKER_ENTRY", "RayExecutor"]

WORKER_ENTRY = "rayform_runtime.execution.worker.step_runner:run_step"
NODE_LOSSES = 4
"""How many lost nodes one step outlives; if a spot group loses more in a row, a user has to look at it."""
PROCESS_DEATHS = 1
"""How many dead worker processes one step outlives; code that crashes natively crashes again, and is reported."""
_LOOK_EVERY = 0.1
"""Seconds between looks at timeouts and queued steps; a look walks all tasks."""


class _Received(NamedTuple):
    """A worker's message."""

    connection: int
    message: WorkerMessage


class _Disconnected(NamedTuple):
    """The end of a worker's connection."""

    connection: int


class _Ended(NamedTuple):
    """The end of a try."""

    about: StepTry
    outcome: Outcome


class RayExecutor(Executor):
    """Runs step tasks as Ray tasks.

    Args:
        address: `None` starts a local Ray; else what `ray.init` joins (`"auto"` on a head).
        images: image reference by step key, for the steps that run in images.
        code: the project's code bundle, for workers that don't share this machine's disk.
        groups: worker groups that the cluster's autoscaler may grow.
        host: address that workers reach this process at; loopback for a local Ray.
        entry: import path of the worker function, or the function.
        cpus, gpus: of a local Ray; the machine's by default.
        environment: variables that every worker gets (region, endpoints of an emulated cloud); no secrets.
        view: the cluster's nodes, for messages; tests pass their own.
        log_store: bucket that logs are copied to while steps run; `None` keeps them on this machine.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        images: Mapping[str, str] | None = None,
        code: CodeBundleRef | None = None,
        groups: Sequence[NodeGroup] = (),
        host: str = "127.0.0.1",
        entry: str | Callable[[Task], StepResult] = WORKER_ENTRY,
        cpus: float | None = None,
        gpus: float | None = None,
        environment: Mapping[str, str] | None = None,
        view: ClusterView | None = None,
        log_store: ArtifactStore | None = None,
    ) -> None:
        self._owns_ray = _join_ray(address, cpus, gpus)
        """Whether this executor started or joined Ray, and so leaves it in `close`; never changes."""
        self._groups = tuple(groups)
        """Worker groups that the cluster may grow; never changes."""
        self._view = view or ClusterView()
        """The cluster's nodes; refreshes itself in the background."""
        self._inbox: queue.SimpleQueue[_Received | _Disconnected | _Ended] = queue.SimpleQueue()
        """What other threads report. `wait` empties it: only its thread changes anything below."""
        self._line = ChannelServer(
            host,
            lambda connection, message: self._inbox.put(_Received(connection, message)),
            lambda connection: self._inbox.put(_Disconnected(connection)),
        )
        """Where workers report to; open until `close`."""
        self._launcher = TaskLauncher(
            entry,
            images=images or {},
            code=code,
            environment=environment or {},
            on_end=lambda about, outcome: self._inbox.put(_Ended(about, outcome)),
        )
        """Submits tasks; remembers Ray's function for each step."""
        self._losses = LossReports(self._view)
        """Explains lost tasks; collects the raylets' messages."""
        self._queue_reports = QueueReports(self._view, self._groups)
        """What queued steps wait for; changes when a step has waited for a while, starts or ends."""
        self._logs = StepLogs(log_store)
        """The steps' logs; grows with every message that has output."""
        self._tasks: dict[str, RunningTask] = {}
        """The tasks without a result, by step run ID: from `submit` until their result is handed out."""
        self._ended: list[str] = []
        """Those of `_tasks` that have an outcome, whose output may still be on its way."""
        self._happened: list[Task | StepResult | RunEvent] = []
        """What the next `wait` returns; handed out and replaced by an empty list each time."""
        self._looked_at = 0.0
        """When timeouts and queued steps were looked at last, on the monotonic clock."""
        self._closed = False
        """Whether `close` was called."""

    # -- Executor -----------------------------------------------------------------------------------------
    def check(self, spec: PipelineSpec) -> None:
        check_placeable(spec, self._view.nodes(fresh=True), self._groups)

    def submit(self, task: Task) -> None:
        resources = ray_resources(task.step.resources)
        attempt = self._launcher.launch(task, resources, 1, self._line.address)
        self._tasks[task.step_run_id] = RunningTask(task, resources, attempt)

    def wait(self, timeout: float) -> list[Task | StepResult | RunEvent]:
        deadline = time.monotonic() + timeout
        while not self._happened:
            now = time.monotonic()
            pause = max(0.0, min(deadline, self._next_check(now)) - now)
            try:
                self._take(self._inbox.get(timeout=pause) if pause else self._inbox.get_nowait())
                while True:
                    self._take(self._inbox.get_nowait())
            except queue.Empty:
                pass
            self._settle()
            self._look_around()
            if time.monotonic() >= deadline:
                break
        happened, self._happened = self._happened, []
        return happened

    def cancel(self, step_run_id: str) -> None:
        running = self._tasks.get(step_run_id)
        if running is not None and not running.cancelled:
            running.cancelled = True
            cancel(running.attempt)

    def log_uri(self, run_id: str, step_run_id: str) -> str | None:
        return self._logs.uri(run_id, step_run_id)

    def close(self, *, kill: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        for running in self._tasks.values():
            cancel(running.attempt)
        self._tasks.clear()
        self._line.close()
        self._view.close()
        self._logs.close()
        if self._owns_ray:
            stop_local_ray(kill=kill)

    # -- what comes in ------------------------------------------------------------------------------------
    def _take(self, item: _Received | _Disconnected | _Ended) -> None:
        match item:
            case _Received(connection, message):
                self._receive(connection, message)
            case _Disconnected(connection):
                for running in self._tasks.values():
                    if running.attempt.connection == connection:
                        running.attempt.output_ended = True
            case _Ended(about, outcome):
                ended = self._present_try(about)
                if ended is not None:
                    ended.attempt.outcome = outcome
                    ended.attempt.outcome_at = time.monotonic()
                    self._ended.append(about.step_run_id)

    def _present_try(self, about: StepTry) -> RunningTask | None:
        """Return a task, or `None` if the executor has given up that try or doesn't know the task."""
        running = self._tasks.get(about.step_run_id)
        return running if running is not None and running.attempt.number == about.number else None

    def _receive(self, connection: int, message: WorkerMessage) -> None:
        running = self._present_try(message.about)
        if running is None:
            return
        attempt = running.attempt
        match message.content:
            case Started() as worker:
                attempt.connection, attempt.worker = connection, worker
                self._announce(running)
            case Printed(text):
                attempt.messages += 1
                if running.task.step.kept.logs:
                    self._logs.write(running.task.run_id, running.step_run_id, text)
                self._happened.append(running.event("log", text))
            case Exiting(code):
                attempt.exit_code = code
            case NoMoreOutput() if attempt.connection == connection:
                attempt.output_ended = True

    def _announce(self, running: RunningTask) -> None:
        running.attempt.started = time.monotonic()
        self._happened += self._queue_reports.end(running)
        if not running.announced:
            running.announced = True
            self._happened.append(running.task)

    # -- tasks that ended ---------------------------------------------------------------------------------
    def _settle(self) -> None:
        """Finish the tasks that ended, once the lines that they printed have arrived too."""
        if not self._ended:
            return
        now = time.monotonic()
        ended, self._ended = self._ended, []
        for step_run_id in ended:
            running = self._tasks.get(step_run_id)
            if running is None or running.attempt.outcome is None:
                continue
            if running.attempt.awaits_output(now):
                self._ended.append(step_run_id)
            else:
                self._finish(running, running.attempt.outcome)

    def _finish(self, running: RunningTask, outcome: Outcome) -> None:
        if isinstance(outcome.result, StepResult):
            self._announce(running)
            self._hand_out(running, outcome.result)
        elif running.timed_out:
            text = f"The step ran longer than its timeout of {running.task.step.timeout:g} s and was stopped."
            self._give_up(running, Failure(StepError("Timeout", text)))
        elif running.cancelled:
            self._happened += self._queue_reports.end(running)
            error = StepError("Stopped", "The step was stopped.")
            self._hand_out(
                running,
                StepResult(running.step_run_id, StepStatus.STOPPED, error=error, ended_at=datetime.now(UTC)),
            )
        else:
            assert outcome.error is not None
            failure = self._losses.explain(running.attempt, outcome.error)
            if failure.elsewhere and running.node_losses < NODE_LOSSES:
                running.node_losses += 1
                self._try_again(running, failure)
            elif failure.process_died and running.process_deaths < PROCESS_DEATHS:
                running.process_deaths += 1
                self._try_again(running, failure)
            else:
                self._give_up(running, failure)

    def _try_again(self, running: RunningTask, failure: Failure) -> None:
        number = running.attempt.number + 1
        text = f"{failure.error.message} The step starts again (try {number})."
        self._happened.append(running.event("restart", text))
        running.attempt = self._launcher.launch(running.task, running.resources, number, self._line.address)

    def _give_up(self, running: RunningTask, failure: Failure) -> None:
        self._announce(running)
        self._hand_out(
            running,
            StepResult(
                running.step_run_id,
                StepStatus.FAILED,
                error=failure.error,
                retryable=failure.retryable,
                lost=True,
                ended_at=datetime.now(UTC),
            ),
        )

    def _hand_out(self, running: RunningTask, result: StepResult) -> None:
        """Return a result from `wait`, and forget the task."""
        del self._tasks[running.step_run_id]
        self._logs.end(running.task.run_id, running.step_run_id)
        self._happened.append(result)

    # -- time ---------------------------------------------------------------------------------------------
    def _next_check(self, now: float) -> float:
        """Return when something must be looked at even if nothing is reported, on the monotonic clock."""
        if self._ended:
            return now + 0.05
        return self._looked_at + _LOOK_EVERY if self._tasks else now + 3600.0

    def _look_around(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY:
            self._looked_at = now
            self._enforce_timeouts(now)
            self._happened += self._queue_reports.begin(self._tasks.values(), now)

    def _enforce_timeouts(self, now: float) -> None:
        for running in self._tasks.values():
            attempt, timeout = running.attempt, running.task.step.timeout
            if timeout is None or attempt.started is None or running.timed_out or attempt.outcome:
                continue
            if now >= attempt.started + timeout:
                running.timed_out = True
                cancel(attempt)


def _join_ray(address: str | None, cpus: float | None, gpus: float | None) -> bool:
    """Start or join Ray if this process isn't joined to one yet; return whether it was done here."""
    import ray

    if ray.is_initialized():
        return False
    if address is None:
        start_local_ray(cpus=cpus, gpus=gpus)
    else:
        connect_to_cluster(address)
    return True
