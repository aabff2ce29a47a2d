"""A scheduler without processes: a fake executor, a clock that moves by waiting, and a catalog that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from support.engine import Engine

from rayform_core.ids import new_id
from rayform_runtime.artifacts.values import save_value
from rayform_runtime.catalog.entities import NewArtifactVersion, StepError, StepStatus
from rayform_runtime.execution.interface import (
    Executor,
    HookTask,
    RunEvent,
    RunOutcome,
    RunRequest,
    StepResult,
    StepTask,
    Task,
)
from rayform_runtime.execution.scheduling.scheduler import Scheduler
from rayform_runtime.spec import PipelineSpec


class Clock:
    """Seconds that only `sleep` moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)


Act = Callable[[StepTask], object]
"""Stands in for a step: its value is the step's output, and what it raises is the step's failure."""


class FakeExecutor(Executor):
    """Runs a step when the scheduler waits: each call of `wait` starts all that is queued and ends one of them.

    Args:
        engine: its store receives the outputs.
        clock: moves when no task is running.
        acts: what each step does, by step key; a step without an act returns 1.
        choose: returns the index of the running task that ends next, for their number; by default the oldest's.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        acts: Mapping[str, Act] | None = None,
        choose: Callable[[int], int] = lambda count: 0,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.acts = acts or {}
        self.choose = choose
        # Submitted tasks, until the next `wait` starts them.
        self.queued: list[Task] = []
        # Started tasks, until a `wait` ends them.
        self.running: list[Task] = []
        # `submit` and `end`, with the task's name, in order.
        self.log: list[tuple[str, str]] = []
        # The hooks that were called.
        self.hooks: list[HookTask] = []
        # The clock at each `submit`.
        self.submitted_at: list[float] = []
        # The argument `kill` of each `close`.
        self.closed: list[bool] = []
        # Called at the beginning of each `wait`; tests replace it.
        self.before_wait: Callable[[], None] = lambda: None

    def check(self, spec: PipelineSpec) -> None:
        """Do nothing: everything fits."""

    def submit(self, task: Task) -> None:
        assert not self.closed
        self.log.append(("submit", name_of(task)))
        self.submitted_at.append(self.clock.now)
        self.queued.append(task)

    def wait(self, timeout: float) -> list[Task | StepResult | RunEvent]:
        self.before_wait()
        assert not self.closed
        started = list(self.queued)
        self.running += started
        self.queued.clear()
        if not self.running:
            self.clock.sleep(timeout)
            return []
        task = self.running.pop(self.choose(len(self.running)))
        self.clock.now += 0.001
        self.log.append(("end", name_of(task)))
        return [*started, self._result(task)]

    def cancel(self, step_run_id: str) -> None:
        """Do nothing: no task is cancelled."""

    def close(self, *, kill: bool = False) -> None:
        self.closed.append(kill)

    def _result(self, task: Task) -> StepResult:
        if isinstance(task, HookTask):
            self.hooks.append(task)
            return StepResult(task.step_run_id, StepStatus.COMPLETED)
        assert isinstance(task, StepTask)
        try:
            value = self.acts.get(task.step.key, lambda task: 1)(task)
        except Lost:
            crash = StepError("Crash", "It died.")
            return StepResult(task.step_run_id, StepStatus.FAILED, error=crash, lost=True)
        except Exception as error:
            return StepResult(
                task.step_run_id, StepStatus.FAILED, error=StepError(type(error).__name__, str(error))
            )
        if isinstance(value, StepResult):
            return value._replace(outputs=[self._save(task, i, 1) for i in range(len(task.step.outputs))])
        lengths = {o.name: len(value) for o in task.step.outputs if isinstance(value, list)}
        outputs = [self._save(task, i, value) for i in range(len(task.step.outputs))]
        return StepResult(task.step_run_id, StepStatus.COMPLETED, outputs, map_lengths=lengths)

    def _save(self, task: StepTask, index: int, value: object) -> NewArtifactVersion:
        output = task.step.outputs[index]
        id = UUID(task.output_ids[output.name])
        saved = save_value(self.engine.stack.artifact_store, id, value)
        return NewArtifactVersion(
            id=id,
            artifact_name=output.artifact_name,
            uri=saved.uri,
            type=saved.manifest.type,
            materializer=saved.manifest.materializer,
            digest=saved.manifest.digest,
            size=saved.manifest.size,
            version=output.version,
            metadata={"length": len(value)} if isinstance(value, list) else {},
            output_name=output.name,
        )


class Lost(Exception):
    """An act raises it if its worker shall die."""


class FailingCatalog:
    """A real catalog that counts its calls and fails at one of them, or at that one and all after it.

    Args:
        catalog: the real one.
        error: raised instead of the call.
        fail_at: the number of the call that fails, from 1; by default none fails.
        lasting: whether all later calls fail too.
    """

    def __init__(
        self,
        catalog: Any,
        error: Exception | None = None,
        fail_at: int | None = None,
        *,
        lasting: bool = False,
    ) -> None:
        self.catalog = catalog
        self.error = error
        self.fail_at = fail_at
        self.lasting = lasting
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.catalog, name)

        def call(*args: object, **options: object) -> Any:
            self.calls.append(name)
            number = len(self.calls)
            if self.fail_at is not None and (
                number == self.fail_at or (self.lasting and number > self.fail_at)
            ):
                assert self.error is not None
                raise self.error
            return method(*args, **options)

        return call


@dataclass
class Bench:
    """Runs pipelines with a fake executor against a real catalog and store in `folder`."""

    engine: Engine
    clock: Clock = field(default_factory=Clock)
    events: list[RunEvent] = field(default_factory=list)

    @classmethod
    def at(cls, folder: Path) -> Bench:
        return cls(Engine.at(folder))

    def executor(self, acts: Mapping[str, Act] | None = None, **options: Any) -> FakeExecutor:
        return FakeExecutor(self.engine, self.clock, acts, **options)

    def run(
        self,
        spec: PipelineSpec,
        executor: FakeExecutor,
        *,
        catalog: FailingCatalog | None = None,
        **request: Any,
    ) -> RunOutcome:
        run_id = request.pop("run_id", None) or new_id()
        stack = self.engine.stack
        seen: Any = SimpleNamespace(
            name=stack.name,
            spec=stack.spec,
            artifact_store=stack.artifact_store,
            catalog=catalog or stack.catalog,
        )
        self.events.clear()
        run_request = RunRequest(run_id, request.pop("run_name", f"run-{run_id}"), spec, **request)
        return Scheduler(run_request, seen, executor, self.events.append, clock=self.clock).run()


def name_of(task: Task) -> str:
    return task.step.key if task.map_index is None else f"{task.step.key}[{task.map_index}]"
