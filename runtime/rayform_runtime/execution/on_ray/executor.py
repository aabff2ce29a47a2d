"""Runs steps as Ray tasks: on a Ray of our own on this machine, or from a cluster's head, in step images.

Who decides what: Ray places a task and says when it is lost; nothing else ever restarts one. What is asked of
the cluster beside that (nodes, free resources) only words a message, so a status call that times out, or
twenty-five of them, changes nothing.

A task whose node or worker process died is given to another node by this executor, as a `restart` event with
the cause; the attempt number and the person's `retry` policy stay the scheduler's. Output IDs are the same in
every try, so a zombie on a node that was only cut off can't commit a second result.
"""

from __future__ import annotations

import pickle
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from rayform_runtime.catalog.entities import StepError, StepStatus
from rayform_runtime.cluster.machine.node_groups import NodeGroup
from rayform_runtime.execution.interface import Executor, RunEvent, StepResult, Task
from rayform_runtime.execution.on_ray.channel import ChannelServer
from rayform_runtime.execution.on_ray.failures import Failure, explain
from rayform_runtime.execution.on_ray.local_ray import (
    RayletMessages,
    connect_to_cluster,
    start_local_ray,
    stop_local_ray,
)
from rayform_runtime.execution.on_ray.logs import StepLogs
from rayform_runtime.execution.on_ray.nodes import ClusterView
from rayform_runtime.execution.on_ray.placement import (
    check_placeable,
    ray_options,
    ray_resources,
    waiting_for,
)
from rayform_runtime.execution.on_ray.waits import StepWaits
from rayform_runtime.execution.on_ray.worker import CodeBundleRef, Order, container_end, run_task
from rayform_runtime.spec import PipelineSpec

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore

__all__ = ["WORKER_ENTRY", "RayExecutor"]

WORKER_ENTRY = "rayform_runtime.execution.worker.step_runner:run_step"
NODE_LOSSES = 4
"""How many lost nodes one step outlives; a spot group that loses more in a row needs a person."""
PROCESS_DEATHS = 1
"""A killed worker is tried once more; code that crashes natively does so again, and is told."""
_PLACEMENT_NOTICE = 2.0
_END_OF_LINES = 1.0
_LOOK_EVERY = 0.1
"""Seconds between looks at timeouts and queued steps; a look walks all tasks."""


@dataclass(slots=True)
class _Running:
    task: Task
    wanted: Mapping[str, float]
    timeout: float | None
    submitted: float
    ref: Any = None
    tries: int = 1
    node_losses: int = 0
    process_deaths: int = 0
    started: float | None = None
    announced: bool = False
    node: str | None = None
    pid: int | None = None
    container: str | None = None
    connection: int | None = None
    messages: int = 0
    messages_sent: int | None = None
    lines_ended: bool = False
    exit_code: int | None = None
    cancelled: bool = False
    timed_out: bool = False
    waiting_text: str | None = None
    outcome: tuple[Any, BaseException | None] | None = None
    outcome_at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Message:
    connection: int
    content: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    step_run_id: str
    ref: Any
    value: Any
    messages: int | None
    error: BaseException | None


@dataclass(slots=True)
class _Handles:
    """Ray's remote function with options applied; making one costs more than calling it."""

    function: Any
    by_options: dict[tuple[Any, ...], Any] = field(default_factory=dict)


@cache
def _remote_function() -> Any:
    """Return `run_task` as Ray's; one a process, since each that is made anew is sent to the cluster anew."""
    import ray

    return ray.remote(run_task)


class RayExecutor(Executor):
    """Runs step tasks as Ray tasks.

    Args:
        address: `None` starts a local Ray; else what `ray.init` joins (`"auto"` on a head).
        images: image reference by step key, where steps run in images.
        code: the project's code bundle, where workers don't share this machine's disk.
        groups: worker groups that the cluster's autoscaler may grow.
        host: address that workers reach this process at; loopback for a local Ray.
        entry: import path of the worker function, or the function.
        cpus, gpus: of a local Ray; the machine's unless told.
        environment: variables that every worker gets (region, endpoints of an emulated cloud); no secrets.
        view: what words the messages about nodes; for tests.
        log_store: bucket that logs are copied to while steps run; they stay on this machine unless given.
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
        import ray

        self._images = dict(images or {})
        self._code = code
        self._groups = tuple(groups)
        self._entry = entry
        self._environment = dict(environment or {})
        self._owns_ray = False
        if not ray.is_initialized():
            if address is None:
                start_local_ray(cpus=cpus, gpus=gpus)
            else:
                connect_to_cluster(address)
            self._owns_ray = True
        self._raylet = RayletMessages()
        self._raylet.install()
        self._view = view or ClusterView()
        self._logs = StepLogs(log_store)
        self._inbox: queue.SimpleQueue[_Message | _Outcome] = queue.SimpleQueue()
        self._line = ChannelServer(
            host,
            lambda number, content: self._inbox.put(_Message(number, content)),
            lambda number: self._inbox.put(_Message(number, None)),
        )
        self._tasks: dict[str, _Running] = {}
        self._ended: list[str] = []
        self._handles = _Handles(_remote_function())
        self._entry_handle = entry if isinstance(entry, str) else ray.put(entry)
        self._waits = StepWaits()
        self._looked_at = 0.0
        self._closed = False

    # -- Executor -----------------------------------------------------------------------------------------
    def check(self, spec: PipelineSpec) -> None:
        check_placeable(spec, self._view.nodes(fresh=True), self._groups)

    def submit(self, task: Task) -> None:
        running = _Running(task, ray_resources(task.step.resources), task.step.timeout, time.monotonic())
        self._tasks[task.step_run_id] = running
        self._launch(running)

    def wait(self, timeout: float) -> list[Task | StepResult | RunEvent]:
        happened: list[Task | StepResult | RunEvent] = []
        deadline = time.monotonic() + timeout
        while not happened:
            now = time.monotonic()
            pause = max(0.0, min(deadline, self._next_check(now)) - now)
            try:
                self._take(self._inbox.get(timeout=pause) if pause else self._inbox.get_nowait(), happened)
                while True:
                    self._take(self._inbox.get_nowait(), happened)
            except queue.Empty:
                pass
            self._settle(happened)
            self._look_around(happened)
            if time.monotonic() >= deadline:
                break
        return happened

    def cancel(self, step_run_id: str) -> None:
        running = self._tasks.get(step_run_id)
        if running is not None and not running.cancelled:
            running.cancelled = True
            self._cancel_ref(running)

    def log_uri(self, run_id: str, step_run_id: str) -> str | None:
        return self._logs.uri(run_id, step_run_id)

    def close(self, *, kill: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        for running in list(self._tasks.values()):
            self._cancel_ref(running)
        self._tasks.clear()
        self._line.close()
        self._view.close()
        self._logs.close()
        if self._owns_ray:
            stop_local_ray(kill=kill)

    # -- launching ----------------------------------------------------------------------------------------
    def _launch(self, running: _Running) -> None:
        task = running.task
        name = self._entry if isinstance(self._entry, str) else None
        order = pickle.dumps(Order(task, name, self._line.address, self._code, running.tries), 5)
        function = () if name else (self._entry_handle,)
        ref = self._handle(task, running.wanted).remote(order, *function)
        running.ref = ref
        running.submitted = time.monotonic()
        step_run_id = task.step_run_id
        inbox = self._inbox

        def ended(future: Any) -> None:
            result, messages, error = None, None, future.exception()
            if error is None:
                try:
                    result, messages = pickle.loads(future.result())  # noqa: S301 - of our own worker
                except BaseException as unreadable:  # noqa: BLE001 - raised here it would reach nobody
                    error = unreadable
            inbox.put(_Outcome(step_run_id, ref, result, messages, error))

        ref.future().add_done_callback(ended)

    def _handle(self, task: Task, wanted: Mapping[str, float]) -> Any:
        key = task.step.key
        resources = tuple(sorted(wanted.items()))
        known = self._handles.by_options.get((key, resources))
        if known is not None:
            return known
        # A try elsewhere is this executor's decision and an event; Ray's own retries are silent.
        options = {"name": key, "max_retries": 0, **ray_options(wanted)}
        if runtime_env := self._runtime_env(task, key, wanted):
            options["runtime_env"] = runtime_env
        handle = self._handles.function.options(**options)
        self._handles.by_options[key, resources] = handle
        return handle

    def _runtime_env(self, task: Task, key: str, wanted: Mapping[str, float]) -> dict[str, Any] | None:
        image = self._images.get(key)
        environment = {
            **self._environment,
            **task.pipeline.environment,
            **task.step.environment,
        }
        if image is None:
            return {"env_vars": environment} if environment else None
        asked: dict[str, Any] = {"image": image, "environment": environment}
        if memory := wanted.get("memory"):
            asked["memory"] = int(memory)
        return {"rayform_image": asked}

    def _cancel_ref(self, running: _Running) -> None:
        import ray
        from ray.exceptions import RayError

        try:
            ray.cancel(running.ref, force=True, recursive=True)
        except (ValueError, RayError):
            pass  # It ended meanwhile; its outcome is on the way.

    # -- what comes in ------------------------------------------------------------------------------------
    def _take(self, item: _Message | _Outcome, happened: list[Task | StepResult | RunEvent]) -> None:
        if isinstance(item, _Outcome):
            running = self._tasks.get(item.step_run_id)
            if running is not None and running.ref is item.ref:
                running.outcome = (item.value, item.error)
                running.messages_sent = item.messages
                running.outcome_at = time.monotonic()
                self._ended.append(item.step_run_id)
            return
        if item.content is None:
            for running in self._tasks.values():
                if running.connection == item.connection:
                    running.lines_ended = True
            return
        running = self._tasks.get(str(item.content.get("step")))
        if running is None or item.content.get("try") != running.tries:
            return  # Unknown, or the last words of a try that Ray has given up.
        match item.content.get("kind"):
            case "start":
                running.connection = item.connection
                running.node, running.pid = item.content.get("node"), item.content.get("pid")
                running.container = item.content.get("container")
                running.lines_ended = False
                running.exit_code = None
                running.messages = 0
                self._announce(running, happened)
            case "log":
                running.messages += 1
                text = str(item.content.get("text", ""))
                self._logs.write(running.task.run_id, running.task.step_run_id, text)
                happened.append(self._event(running, "log", text))
            case "exit":
                code = item.content.get("code")
                running.exit_code = code if isinstance(code, int) else None
            case "end" if running.connection == item.connection:
                running.lines_ended = True
            case _:
                pass

    def _announce(self, running: _Running, happened: list[Task | StepResult | RunEvent]) -> None:
        running.started = time.monotonic()
        self._stop_waiting(running, happened)
        if not running.announced:
            running.announced = True
            happened.append(running.task)

    def _settle(self, happened: list[Task | StepResult | RunEvent]) -> None:
        """Hand back the tasks that ended, once the lines that they printed have come too."""
        if not self._ended:
            return
        waiting: list[str] = []
        now = time.monotonic()
        for step_run_id in self._ended:
            running = self._tasks.get(step_run_id)
            if running is None or running.outcome is None:
                continue
            if running.messages_sent is not None:
                lines_due = running.messages < running.messages_sent and not running.lines_ended
            else:
                lines_due = running.connection is not None and not running.lines_ended
            if lines_due and now - running.outcome_at < _END_OF_LINES:
                waiting.append(step_run_id)
                continue
            self._finish(running, happened)
        self._ended = waiting

    def _finish(self, running: _Running, happened: list[Task | StepResult | RunEvent]) -> None:
        assert running.outcome is not None
        value, error = running.outcome
        step_run_id = running.task.step_run_id
        if isinstance(value, StepResult):
            self._announce(running, happened)
            self._forget(running)
            happened.append(value)
            return
        if running.timed_out:
            text = f"The step ran longer than its timeout of {running.timeout:g} s and was stopped."
            self._give_up(running, Failure(StepError("Timeout", text)), happened)
            return
        if running.cancelled:
            self._stop_waiting(running, happened)
            self._forget(running)
            stopped = StepError("Stopped", "The step was stopped.")
            happened.append(
                StepResult(step_run_id, StepStatus.STOPPED, error=stopped, ended_at=datetime.now(UTC))
            )
            return
        assert error is not None
        node = self._view.death_of(running.node)
        detail = "" if node else self._raylet.about(running.pid)
        end = None
        if node is None and running.container is not None:
            end, answers = self._container_end(running)
            if not answers:
                # The worker's connection breaks before the cluster takes its node for dead.
                node = self._view.death_of(running.node) or self._view.silence_of(running.node)
        failure = explain(error, exit_code=running.exit_code, detail=detail, node=node, container=end)
        if failure.elsewhere and running.node_losses < NODE_LOSSES:
            running.node_losses += 1
            self._try_again(running, failure, happened)
        elif failure.process_died and running.process_deaths < PROCESS_DEATHS:
            running.process_deaths += 1
            self._try_again(running, failure, happened)
        else:
            self._give_up(running, failure, happened)

    def _forget(self, running: _Running) -> None:
        task = running.task
        del self._tasks[task.step_run_id]
        self._logs.end(task.run_id, task.step_run_id)

    def _container_end(self, running: _Running) -> tuple[Mapping[str, Any] | None, bool]:
        """Ask the node how the step's container ended; and return whether the node answers at all."""
        if running.node is None:
            return None, True
        import ray
        from ray.exceptions import RayError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(running.node, soft=False)
        remote: Any = ray.remote(container_end)
        ask = remote.options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        try:
            found: Mapping[str, Any] | None = ray.get(ask.remote(running.container), timeout=15)
        except RayError:
            return None, False
        return found, True

    def _try_again(
        self, running: _Running, failure: Failure, happened: list[Task | StepResult | RunEvent]
    ) -> None:
        running.tries += 1
        text = f"{failure.error.message} The step starts again (try {running.tries})."
        happened.append(self._event(running, "restart", text))
        running.outcome = None
        running.started = None
        running.connection = None
        running.node = running.pid = running.exit_code = running.container = None
        running.lines_ended = False
        running.messages, running.messages_sent = 0, None
        self._launch(running)

    def _give_up(
        self, running: _Running, failure: Failure, happened: list[Task | StepResult | RunEvent]
    ) -> None:
        self._announce(running, happened)
        step_run_id = running.task.step_run_id
        self._forget(running)
        happened.append(
            StepResult(
                step_run_id,
                StepStatus.FAILED,
                error=failure.error,
                retryable=failure.retryable,
                lost=True,
                ended_at=datetime.now(UTC),
            )
        )

    # -- time ---------------------------------------------------------------------------------------------
    def _next_check(self, now: float) -> float:
        """When something must be looked at though no message came."""
        if self._ended:
            return now + 0.05
        return self._looked_at + _LOOK_EVERY if self._tasks else now + 3600.0

    def _look_around(self, happened: list[Task | StepResult | RunEvent]) -> None:
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY:
            self._looked_at = now
            self._enforce_timeouts(now)
            self._tell_waiting(now, happened)

    def _enforce_timeouts(self, now: float) -> None:
        for running in self._tasks.values():
            if running.started is None or running.timeout is None or running.timed_out or running.outcome:
                continue
            if now >= running.started + running.timeout:
                running.timed_out = True
                self._cancel_ref(running)

    def _tell_waiting(self, now: float, happened: list[Task | StepResult | RunEvent]) -> None:
        """Say, once, what a step waits for that has been queued for a while."""
        texts: dict[str, str] = {}
        for running in self._tasks.values():
            due = running.started is None and running.outcome is None and running.waiting_text is None
            if not due or now < running.submitted + _PLACEMENT_NOTICE:
                continue
            key, instance = running.task.step.key, running.task.step_run_id
            if key not in texts:
                texts[key] = waiting_for(running.wanted, self._view.nodes(), self._groups)
            running.waiting_text = texts[key]
            if self._waits.begin(key, texts[key], instance, running.submitted):
                happened.append(self._phase(running, texts[key]))

    def _stop_waiting(self, running: _Running, happened: list[Task | StepResult | RunEvent]) -> None:
        text, running.waiting_text = running.waiting_text, None
        if text is None:
            return
        since = self._waits.end(running.task.step.key, text, running.task.step_run_id)
        if since is not None:
            happened.append(self._phase(running, text, seconds=time.monotonic() - since))

    def _phase(self, running: _Running, text: str, seconds: float | None = None) -> RunEvent:
        """Return an event of the step, not of one of its instances."""
        return replace(self._event(running, "phase", text), map_index=None, seconds=seconds)

    def _event(self, running: _Running, kind: str, text: str) -> RunEvent:
        task = running.task
        return RunEvent(
            kind=kind,
            at=datetime.now(UTC),
            run_id=task.run_id,
            step_key=task.step.key,
            map_index=task.map_index,
            text=text,
        )
