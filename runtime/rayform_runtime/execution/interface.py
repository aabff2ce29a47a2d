"""Interfaces of execution: tasks and results of workers, the executor, the orchestrator, run events.

An *orchestrator* is the stack's component: it launches a run somewhere and follows it. The *scheduler* walks the
DAG, asks the cache, writes the catalog, and hands ready steps to an *executor*. The executor runs each `Task` in a
worker (a local process, or a Ray task in a step's image) and returns a `StepResult`. The worker's code,
`worker.step_runner.run_step`, is the same everywhere.

Workers import this module before a step's first line: it imports no pydantic.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, runtime_checkable
from uuid import UUID

from rayform_runtime.catalog.entities import NewArtifactVersion, RunStatus, StepError, StepStatus
from rayform_runtime.execution.facts import KeptParts, OutputFacts, StepFacts, StepHooks, StepResources
from rayform_runtime.usercode.program import NO_PROGRAM, Program

if TYPE_CHECKING:
    from rayform_runtime.components import Stack
    from rayform_runtime.spec import PipelineSpec

__all__ = [
    "CacheDecision",
    "CodeFacts",
    "DeadStep",
    "Executor",
    "HookTask",
    "KeptParts",
    "LateCodeFacts",
    "Listener",
    "Orchestrator",
    "OutputFacts",
    "PipelineFacts",
    "RunEvent",
    "RunOutcome",
    "RunRequest",
    "StepFacts",
    "StepHooks",
    "StepResources",
    "StepResult",
    "StepTask",
    "StoredVersion",
    "Task",
    "TaskInput",
]


# -- what a worker gets: plain data that crosses process and machine borders by pickle -------------------------
#
# Dataclasses of this part have no slots: pickle reads and writes their `__dict__` in C, which takes a third less
# time than the state methods that `slots=True` brings.


class StoredVersion(NamedTuple):
    """An artifact version as a worker loads it."""

    id: str
    uri: str
    digest: str
    type: str
    materializer: str


class TaskInput(NamedTuple):
    """One input of a step: a value, or stored versions to load.

    Args:
        value: plain JSON; used if neither `exact` nor `versions` is set.
        exact: the text of the value; see `artifacts.exact_values`.
        is_json: whether the value is JSON of an earlier version, which the annotation turns into the value.
        versions: the stored versions to load: one, or several if `joined` is set.
        joined: pass the loaded versions as one list.
        is_tuple: pass them as a tuple.
        element: pass this element of the loaded list (the input of a mapped step).
    """

    value: object = None
    exact: str | None = None
    is_json: bool = False
    versions: Sequence[StoredVersion] | None = None
    joined: bool = False
    element: int | None = None
    is_tuple: bool = False


class PipelineFacts(NamedTuple):
    """The parts of a run's pipeline that executors and workers need.

    Args:
        name: the pipeline.
        parameters: values of the pipeline's arguments, as JSON.
        environment: variables for all steps.
        import_paths: see `spec.PipelineSpec`.
        debug: open pdb where a step raises.
        program: what `__main__` and `sys.argv` are.
        materializers: import paths of the materializers that the pipeline's annotations name. By naming one that runs
            code, the user consents to loading what it stored.
    """

    name: str = ""
    parameters: Mapping[str, object] = {}
    environment: Mapping[str, str] = {}
    import_paths: Sequence[str] = ()
    debug: bool = False
    program: Program = NO_PROGRAM
    materializers: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every task of a worker has.

    Args:
        step_run_id: ID of the step run; a hook has one of its own.
        step: the function to call, and what it needs to run.
        stack: `StackSpec` as JSON text.
        pipeline: what the worker needs of the pipeline.
        code_root: folder to import the user's code from.
        map_index: which element of a mapped step this is.
    """

    run_id: str
    run_name: str
    step_run_id: str
    step: StepFacts
    stack: str
    pipeline: PipelineFacts
    code_root: str | None = None
    map_index: int | None = None


@dataclass(frozen=True, kw_only=True)
class StepTask(Task):
    """Run one step.

    Args:
        inputs: by argument name.
        output_ids: the artifact version's UUID for each output name. The scheduler chooses them, so that a
            repeated commit is the same commit.
        attempt: counts from 1.
        is_final_attempt: whether a failure is final, so that the failure hook is called.
        model_version_id: the model version that outputs and metadata belong to.
        awaits_record: whether the catalog may not have the step's beginning, and what came before it, when the
            step begins. Then the step's first look into the catalog waits for it.
    """

    inputs: Mapping[str, TaskInput]
    output_ids: Mapping[str, str]
    attempt: int = 1
    is_final_attempt: bool = True
    model_version_id: str | None = None
    awaits_record: bool = False


@dataclass(frozen=True, kw_only=True)
class HookTask(Task):
    """Call a hook that no step's worker can call: one of the run, or of a step whose worker died.

    Args:
        error: message of the `PipelineFailedError` that the hook gets; `None` for a success.
        of_step_run: the dead step's run, with its key and try; `None` for a hook of the run.
        model_version_id: the model version of the dead step.
    """

    error: str | None
    of_step_run: DeadStep | None = None
    model_version_id: str | None = None


class DeadStep(NamedTuple):
    """The step run whose worker died, for the context of its hook."""

    id: str
    key: str
    name: str
    attempt: int


class StepResult(NamedTuple):
    """The answer of a worker. Outputs are committed in the store and not yet in the catalog.

    Args:
        step_run_id: ID of the task.
        status: completed, failed or stopped.
        outputs: the committed versions, in the step's order.
        metadata, run_metadata, model_metadata: what the step added to its step run, its run and its model version.
        error: why it failed.
        retryable: false for errors that a second try can't fix (a type that no materializer takes).
        lost: whether the worker died and gave no answer (node lost, out of memory, timeout).
        worker_is_spent: whether the step left something in its process that no other step must find.
        started_at, ended_at: by the worker's clock.
        map_lengths: length of each output that is a list or tuple, so that a dependent `map` knows its width.
        summaries: one short line per value, for the end of `rayform run`.
        loaded: the project's code that the step asked for by computed names; see `usercode.loaded_modules`.
    """

    step_run_id: str
    status: StepStatus
    outputs: Sequence[NewArtifactVersion] = ()
    metadata: Mapping[str, object] = {}
    run_metadata: Mapping[str, object] = {}
    model_metadata: Mapping[str, object] = {}
    error: StepError | None = None
    retryable: bool = True
    lost: bool = False
    worker_is_spent: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    map_lengths: Mapping[str, int] = {}
    summaries: Mapping[str, str] = {}
    loaded: Sequence[str] = ()


# -- what a listener gets ---------------------------------------------------------------------------------------


class CacheDecision(NamedTuple):
    """Why a step was, or was not, taken from the cache; what `--explain-cache` prints."""

    hit: bool
    reason: str
    cache_key: str | None = None
    from_run: str | None = None
    changed: Sequence[str] = ()


class RunEvent(NamedTuple):
    """Something that happened in a run, shown live and kept.

    Args:
        kind: `run` (status changed), `step` (status changed), `log` (lines of a step's output), `phase` (building an
            image, waiting for a node), or `restart` (a step or worker is tried again).
        at: when.
        run_id: the run.
        step_key, map_index: the step and its instance, if it is about one.
        run_status, step_status: the new status.
        text: the lines of a log; the name of a phase; why a step failed, was skipped or starts again.
        seconds: how long a phase or step took; how long a retry waits.
        cache: the cache's decision about the step.
        summaries: one short line per output of a step that completed.
    """

    kind: str
    at: datetime
    run_id: str
    step_key: str | None = None
    map_index: int | None = None
    run_status: RunStatus | None = None
    step_status: StepStatus | None = None
    text: str = ""
    seconds: float | None = None
    cache: CacheDecision | None = None
    summaries: Mapping[str, str] = {}


Listener = Callable[[RunEvent], None]
"""Gets each event in order, from one thread; must not block for long."""


# -- what is asked for, and how it ended ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What git says about the code of a run; `None` if it says nothing."""

    git_dirty: bool | None = None
    git_commit: str | None = None
    git_branch: str | None = None

    def as_record(self) -> dict[str, object]:
        """Return what the catalog keeps: each fact that is there, by name."""
        facts = {"git_dirty": self.git_dirty, "git_commit": self.git_commit, "git_branch": self.git_branch}
        return {name: fact for name, fact in facts.items() if fact is not None}


@runtime_checkable
class LateCodeFacts(Protocol):
    """Facts about the code that a background thread asks git for."""

    def poll(self) -> CodeFacts | None:
        """Return the facts, or `None` as long as git has not answered."""
        ...

    def wait(self) -> CodeFacts:
        """Return the facts as soon as git has answered."""
        ...


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to run. It travels to a cluster's head as JSON, by pydantic.

    Args:
        run_id, run_name: chosen by the caller.
        spec: the traced pipeline.
        resume: take over the existing run `run_id`: finished steps are kept, the rest is run.
        no_cache: ignore the cache (results are still written for later runs).
        only: run just these step keys (what `spin` does); their inputs come from `inputs_from`.
        only_index: run just this instance of the one mapped step in `only`.
        inputs_from: the run whose artifact versions stand in for the outputs of steps that are not run.
        detach: return as soon as the run is accepted, if the orchestrator can go on without this process.
        code: facts about the code that is run, for the catalog.
        code_soon: the same facts while git is still being asked. The sender of a request to another process waits
            for them first.
        environment: facts about the machine that started the run, for the catalog (`python`, `rayform`,
            `platform`).
        user: who started it.
        explain_cache: find out for each step that isn't taken from the cache what changed.
        debug: run the steps in this process, one at a time, and open pdb where one raises.
    """

    run_id: UUID
    run_name: str
    spec: PipelineSpec
    resume: bool = False
    no_cache: bool = False
    only: Sequence[str] | None = None
    only_index: int | None = None
    inputs_from: UUID | None = None
    detach: bool = False
    code: CodeFacts = CodeFacts()
    code_soon: LateCodeFacts | None = None
    environment: Mapping[str, object] = field(default_factory=dict)
    user: str | None = None
    explain_cache: bool = False
    debug: bool = False


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How the run ended; `running` if it was detached. `body_error` is what the body of a dynamic pipeline raised."""

    run_id: UUID
    status: RunStatus
    errors: Mapping[str, StepError] = field(default_factory=dict)
    cache: Mapping[str, CacheDecision] = field(default_factory=dict)
    body_error: StepError | None = None


# -- who runs it ------------------------------------------------------------------------------------------------


class Executor(abc.ABC):
    """Runs step tasks in workers. Used by one scheduler, from one thread."""

    runs_beside_scheduler: ClassVar[bool] = True
    """Whether the scheduler goes on while a step runs."""

    @abc.abstractmethod
    def check(self, spec: PipelineSpec) -> None:
        """Refuse a pipeline with a step that can never be placed, before anything runs.

        Raises:
            UsageError: names the step, its request, and the most that there is.
        """

    @abc.abstractmethod
    def submit(self, task: Task) -> None:
        """Queue a task; start it when its resources are free. Doesn't block."""

    @abc.abstractmethod
    def wait(self, timeout: float) -> list[Task | StepResult | RunEvent]:
        """Block until something happens, at most `timeout` seconds, and return all that happened, in order.

        A `Task` has just started in a worker; a `StepResult` says how one ended; a `RunEvent` is a log line,
        phase or restart to pass on.
        """

    @abc.abstractmethod
    def cancel(self, step_run_id: str) -> None:
        """Stop one task; its result comes as `stopped`. Unknown IDs are ignored."""

    def log_uri(self, run_id: str, step_run_id: str) -> str | None:
        """Return where a step run's log will be, for `run_logs.read_log`; `None` if none is kept."""
        return None

    @abc.abstractmethod
    def close(self, *, kill: bool = False) -> None:
        """End all workers; with `kill` at once. Leaves no process behind. Idempotent."""


class Orchestrator(abc.ABC):
    """The stack component that launches runs. Built with its config and the stack's name."""

    @abc.abstractmethod
    def run(self, request: RunRequest, stack: Stack, listener: Listener) -> RunOutcome:
        """Run a pipeline on `stack` and follow it to its end.

        Blocks until the run has ended; with `request.detach`, until it is accepted. Ctrl-C stops the run within
        two seconds and leaves no process.
        """

    @abc.abstractmethod
    def stop(self, run_id: UUID, stack: Stack) -> None:
        """End everything of this run, and nothing else. Idempotent."""

    @abc.abstractmethod
    def check(self) -> None:
        """Prove that the orchestrator can be reached, or raise an error that says what to do."""

    def warm_up(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Start in the background what the next `run` needs. Returns at once; may be called often."""

    def close(self) -> None:  # noqa: B027 - most have nothing to release
        """Release connections."""
