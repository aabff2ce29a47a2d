"""Interfaces of execution: what a worker is told and answers, the executor, the orchestrator, run events.

Who does what: an *orchestrator* is the stack's component; it launches a run somewhere and follows it. The
*scheduler* walks the DAG, asks the cache, writes the catalog, and hands ready steps to an *executor*, which
runs each `StepTask` in a worker (a local process, or a Ray task in a step's image) and hands back a
`StepResult`. The worker's code, `worker.run_step`, is the same everywhere.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from uuid import UUID

from rayform_runtime.catalog.entities import NewArtifactVersion, RunStatus, StepError, StepStatus

if TYPE_CHECKING:
    from rayform_runtime.spec import PipelineSpec

__all__ = [
    "CacheDecision",
    "Executor",
    "Listener",
    "Orchestrator",
    "RunEvent",
    "RunOutcome",
    "RunRequest",
    "StepResult",
    "StepTask",
    "TaskInput",
]


@dataclass(frozen=True, slots=True)
class TaskInput:
    """One input as the worker gets it: a JSON value, or stored versions to load.

    Args:
        value: the JSON value; used where `versions` is `None`.
        versions: `(version ID, URI, digest, type, materializer)` of stored versions; several are joined
            into a list where `joined` is set.
        index: take this element of the loaded list (a mapped input).
    """

    value: Any = None
    versions: Sequence[tuple[str, str, str, str, str]] | None = None
    joined: bool = False
    index: int | None = None


@dataclass(frozen=True, slots=True)
class StepTask:
    """All that a worker needs to run one step; plain data, so that it crosses process and machine borders.

    Args:
        step: `StepSpec` as JSON.
        inputs: by argument name.
        output_ids: the artifact version's UUID for each output name, chosen by the scheduler, so that a
            retried commit is the same commit.
        stack: `StackSpec` as JSON.
        pipeline: `PipelineSpec` facts that the worker needs: `name`, `parameters`, `environment`,
            `import_paths`; for a hook of the run `run_hook` and `run_error`; `debug` opens pdb on an error.
        is_final_attempt: whether a failure is final, so that the failure hook is called.
        code_root: folder to import the person's code from.
        log_path: local file that the worker's output is written to, where the executor wants one.
        awaits_record: whether the step's beginning, and what came before it, may not be in the catalog yet when
            it begins; the catalog that the step sees waits for it.
    """

    run_id: str
    run_name: str
    step_run_id: str
    step: Mapping[str, Any]
    inputs: Mapping[str, TaskInput]
    output_ids: Mapping[str, str]
    stack: Mapping[str, Any]
    pipeline: Mapping[str, Any]
    attempt: int = 1
    is_final_attempt: bool = True
    map_index: int | None = None
    model_version_id: str | None = None
    code_root: str | None = None
    log_path: str | None = None
    awaits_record: bool = False


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a worker answers. Outputs are committed in the store and not yet in the catalog.

    `retryable` is false for errors that a second try can't mend (a type that no materializer takes);
    `lost` is true where the worker died rather than answered (node lost, out of memory, timeout).
    """

    step_run_id: str
    status: StepStatus
    outputs: Sequence[NewArtifactVersion] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    run_metadata: Mapping[str, Any] = field(default_factory=dict)
    model_metadata: Mapping[str, Any] = field(default_factory=dict)
    error: StepError | None = None
    retryable: bool = True
    lost: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    map_lengths: Mapping[str, int] = field(default_factory=dict)
    """Length of each output that is a list or tuple, so that a dependent `map` knows its width."""
    summaries: Mapping[str, str] = field(default_factory=dict)
    """One short line a value, for the end of `rayform run`."""


@dataclass(frozen=True, slots=True)
class CacheDecision:
    """Why a step was, or wasn't, taken from the cache; what `--explain-cache` prints."""

    hit: bool
    reason: str
    cache_key: str | None = None
    from_run: str | None = None
    changed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something that happened in a run, as it is shown live and kept.

    `kind` is one of `run` (status changed), `step` (status changed), `log` (lines of a step's output),
    `phase` (building an image, waiting for a node; `text` says what, `seconds` how long once it ended),
    `restart` (a step or worker is tried again; `text` says why).
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
    summaries: Mapping[str, str] = field(default_factory=dict)


Listener = Callable[[RunEvent], None]
"""Gets each event in order, from one thread; must not block for long."""


class KnownSoon(Protocol):
    """Facts that something in the background is asked for."""

    def known(self) -> Mapping[str, Any] | None:
        """Return them, or `None` while they aren't there."""
        ...

    def wait(self) -> Mapping[str, Any]:
        """Return them once they are there."""
        ...


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to run.

    Args:
        run_id, run_name: chosen by the caller.
        spec: the traced pipeline.
        resume: take over the existing run `run_id`: finished steps are kept, the rest is run.
        no_cache: ignore the cache (results are still written for later runs).
        only: run just these step keys (what `spin` does); their inputs come from `inputs_from`.
        only_index: of the one mapped step in `only`, run just this instance.
        inputs_from: the run whose artifact versions stand in for the outputs of steps that are not run.
        detach: return once the run is accepted, where the orchestrator can go on without this process.
        code: facts of the code that is run, for the catalog (`git_commit`, `git_dirty`, `git_branch`, …).
        code_soon: the same where they aren't known yet: `KnownSoon` or `None`; whoever sends the request to another
            process waits for them first (pydantic reads this class there, and knows no protocols).
        environment: facts of where it was started, for the catalog (`python`, `rayform`, `platform`, …).
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
    code: Mapping[str, Any] = field(default_factory=dict)
    code_soon: Any = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    user: str | None = None
    explain_cache: bool = False
    debug: bool = False


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How the run ended; `running` where it was detached."""

    run_id: UUID
    status: RunStatus
    errors: Mapping[str, StepError] = field(default_factory=dict)
    cache: Mapping[str, CacheDecision] = field(default_factory=dict)


class Executor(abc.ABC):
    """Runs step tasks in workers. Used by one scheduler, from one thread."""

    runs_beside_scheduler: ClassVar[bool] = True
    """Whether the scheduler goes on while a step runs."""

    @abc.abstractmethod
    def check(self, spec: PipelineSpec) -> None:
        """Refuse a pipeline with steps that can never be placed, before anything runs.

        Raises:
            UsageError: names the step, what it asked for, and the most that there is.
        """

    @abc.abstractmethod
    def submit(self, task: StepTask) -> None:
        """Queue a task; starts it when its resources are free. Doesn't block."""

    @abc.abstractmethod
    def wait(self, timeout: float) -> list[StepTask | StepResult | RunEvent]:
        """Block until something happens, at most `timeout` seconds, and return it all, in order.

        A `StepTask` means that it has just started in a worker; a `StepResult` that it ended; a `RunEvent`
        is a log line, phase or restart to pass on.
        """

    @abc.abstractmethod
    def cancel(self, step_run_id: str) -> None:
        """Stop one task; its result comes as `stopped`. Unknown IDs are ignored."""

    def log_uri(self, run_id: str, step_run_id: str) -> str | None:
        """Return where a step run's log will be, for `run_logs.read_log`; `None` where none is kept."""
        return None

    @abc.abstractmethod
    def close(self, *, kill: bool = False) -> None:
        """End all workers; with `kill` at once. Leaves no process behind. Idempotent."""


class Orchestrator(abc.ABC):
    """The stack component that launches runs. Built with its config and the stack's name."""

    @abc.abstractmethod
    def run(self, request: RunRequest, stack: Any, listener: Listener) -> RunOutcome:
        """Run a pipeline on `stack` (a `rayform_runtime.components.Stack`) and follow it to its end.

        Blocks until the run ended, or until it was accepted with `request.detach`. Ctrl-C stops the run
        within two seconds and leaves no process.
        """

    @abc.abstractmethod
    def stop(self, run_id: UUID, stack: Any) -> None:
        """End everything of this run, and nothing else. Idempotent."""

    @abc.abstractmethod
    def check(self) -> None:
        """Prove that the orchestrator can be reached, or raise an error that says what to do."""

    def warm_up(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Start in the background what the next `run` needs. Returns at once; may be called often."""

    def close(self) -> None:  # noqa: B027 - most have nothing to release
        """Release connections."""
