"""What the catalog is given and returns: runs, step runs, artifacts, models, and their statuses.

They are frozen dataclasses, not live database rows, so they outlive the connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from rayform_runtime.catalog.queries import Page, Query
from rayform_runtime.catalog.reuse import Reuse

__all__ = [
    "Artifact",
    "ArtifactVersion",
    "LineageEdge",
    "LineageGraph",
    "Model",
    "ModelStage",
    "ModelVersion",
    "NewArtifactVersion",
    "NewRun",
    "Page",
    "PipelineSummary",
    "PrunePlan",
    "Query",
    "Run",
    "RunStatus",
    "StageChange",
    "StepError",
    "StepFinish",
    "StepRun",
    "StepStart",
    "StepStatus",
    "Subject",
    "Visualization",
]


class RunStatus(StrEnum):
    """Status of a run. `interrupted`: its process died without recording an end; it can be resumed."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"

    @property
    def is_finished(self) -> bool:
        """Whether no process works on the run any more."""
        return self not in (RunStatus.INITIALIZING, RunStatus.RUNNING)


class StepStatus(StrEnum):
    """Status of a step run. `cached`: its outputs are those of an earlier step run."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"

    @property
    def is_successful(self) -> bool:
        """Whether its outputs can be used."""
        return self in (StepStatus.COMPLETED, StepStatus.CACHED)


class ModelStage(StrEnum):
    """Stage of a model version; at most one version of a model holds `staging`, and one `production`."""

    NONE = "none"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


class Subject(StrEnum):
    """What metadata and tags can be attached to."""

    RUN = "run"
    STEP_RUN = "step_run"
    ARTIFACT = "artifact"
    ARTIFACT_VERSION = "artifact_version"
    MODEL = "model"
    MODEL_VERSION = "model_version"


@dataclass(frozen=True, slots=True)
class StepError:
    """Why a step failed.

    Args:
        type: the exception's class name, or `"Timeout"`, `"Crash"`, `"OutOfMemory"`, …
        message: its text.
        traceback: the frames of user code, without the framework's; empty if no Python code raised.
    """

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Visualization:
    """A picture of a value, stored inside its artifact.

    Args:
        name: its name.
        kind: html, image, csv, markdown or json.
        path: its file, relative to the artifact's folder.
        digest: digest of the file; empty if an earlier version of Rayform recorded it.
    """

    name: str
    kind: str
    path: str
    digest: str = ""


# One attribute for each fact that users filter, sort and see by its name: more than 15.
class NewRun(NamedTuple):
    """A run that starts. Processes on its host see at once if its process died, others that its heartbeat stopped.

    Args:
        id: its ID.
        name: its unique name.
        pipeline: the pipeline's name.
        spec: the `PipelineSpec` as JSON.
        stack_name: the stack that it runs on.
        stack: the `StackSpec` as JSON.
        parameters: the pipeline's parameters.
        tags: its tags.
        user: who started it.
        host: the host of the process that schedules it.
        pid: the ID of that process.
        pid_started: when that process started, by `processes.identity`: it tells the process from a later one with
            the same ID.
        code: facts of the code, such as `git_commit`.
        environment: facts of the environment, such as versions of packages.
        model_version_id: the model version that it works on.
        orchestrator_id: the job that runs it on a cluster.
    """

    id: UUID
    name: str
    pipeline: str
    spec: Mapping[str, object]
    stack_name: str
    stack: Mapping[str, object]
    parameters: Mapping[str, object] = {}
    tags: Sequence[str] = ()
    user: str | None = None
    host: str | None = None
    pid: int | None = None
    pid_started: float | None = None
    code: Mapping[str, object] = {}
    environment: Mapping[str, object] = {}
    model_version_id: UUID | None = None
    orchestrator_id: str | None = None


# One attribute for each fact that users filter, sort and see by its name: more than 15.
@dataclass(frozen=True, slots=True)
class Run:
    """A pipeline run. `NewRun` describes the other attributes, which are those that it started with.

    Lists leave `spec`, `stack`, `code`, `environment` and `metadata` empty by default.

    Args:
        status: its status; changes from its start to its end.
        created_at: when it was recorded; never changes.
        started_at: when it first started.
        ended_at: when it ended; `None` while it runs, also after it was resumed.
        heartbeat_at: when its process last recorded that it is alive.
        error: why it failed.
        metadata: what users logged.
    """

    id: UUID
    name: str
    pipeline: str
    status: RunStatus
    stack_name: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    heartbeat_at: datetime | None
    parameters: Mapping[str, object]
    tags: tuple[str, ...]
    user: str | None
    host: str | None
    pid: int | None
    pid_started: float | None
    error: StepError | None
    model_version_id: UUID | None
    orchestrator_id: str | None
    spec: Mapping[str, object] = field(default_factory=dict)
    stack: Mapping[str, object] = field(default_factory=dict)
    code: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PipelineSummary:
    """A pipeline that has runs: how many, its first and its newest one."""

    name: str
    runs: int
    last_run: str
    last_status: RunStatus
    last_run_at: datetime
    created_at: datetime
    """When its first run was created."""


class StepStart(NamedTuple):
    """A step run that begins (or begins again: the same `id` with a higher `attempt`).

    Args:
        id: its ID.
        run_id: its run.
        key: the step's key in the pipeline; a mapped step's instances share it and differ in `map_index`.
        name: the step function's name.
        attempt: which try this is, from 1.
        map_index: which element of the list this is, for a mapped step.
        cache_key: the key under which caching finds it, or `None` if it isn't cached.
        parameters: values of the step's arguments that aren't inputs.
        inputs: artifact version IDs by input name, in order (several for an input that joins a map).
        resources: what it asks of a machine.
        source: where the step function is, as `module:name`.
        code_digest: digest of the step's code.
        log_uri: where its log is stored.
        model_version_id: the model version that it works on.
        started_at: when; the time of the call by default.
    """

    id: UUID
    run_id: UUID
    key: str
    name: str
    attempt: int = 1
    map_index: int | None = None
    cache_key: str | None = None
    parameters: Mapping[str, object] = {}
    inputs: Mapping[str, Sequence[UUID]] = {}
    resources: Mapping[str, object] = {}
    source: str | None = None
    code_digest: str | None = None
    log_uri: str | None = None
    model_version_id: UUID | None = None
    started_at: datetime | None = None


class NewArtifactVersion(NamedTuple):
    """A version whose data and manifest are committed in the store.

    Args:
        id: its ID, which its folder in the store has too.
        artifact_name: the artifact, which is created if it doesn't exist.
        uri: where its data is.
        type: the value's type, as `module:name`.
        materializer: what reads its data, as `module:name`.
        digest: digest of its data.
        size: bytes of its data.
        artifact_type: its kind, such as `"data"` or `"model"`.
        version: its name; `None` takes the artifact's next number, and one that exists raises `ConflictError`.
        tags: its tags.
        metadata: its metadata.
        visualizations: pictures of it.
        output_name: the step's output that it is.
        external: whether it is registered data, which Rayform didn't write and never removes.
    """

    id: UUID
    artifact_name: str
    uri: str
    type: str
    materializer: str
    digest: str
    size: int
    artifact_type: str = "data"
    version: str | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, object] = {}
    visualizations: Sequence[Visualization] = ()
    output_name: str | None = None
    external: bool = False


class StepFinish(NamedTuple):
    """How a step run ended.

    Args:
        id: the step run.
        run_id: its run.
        status: how it ended.
        outputs: new artifact versions in the order of outputs; empty if it is `cached`.
        cached_from: the step run whose outputs these are, if it is `cached`.
        metadata: what the step logged.
        error: why it failed.
        ended_at: when; the time of the commit by default.
        model_version_id: the model version that its outputs are linked to.
        reuse: what a later run needs to take its result; `None` if the cache key is enough.
    """

    id: UUID
    run_id: UUID
    status: StepStatus
    outputs: Sequence[NewArtifactVersion] = ()
    cached_from: UUID | None = None
    metadata: Mapping[str, object] = {}
    error: StepError | None = None
    ended_at: datetime | None = None
    model_version_id: UUID | None = None
    reuse: Reuse | None = None


# One attribute for each fact that users filter, sort and see by its name: more than 15.
@dataclass(frozen=True, slots=True)
class StepRun:
    """One execution of a step. `StepStart` and `StepFinish` describe the other attributes.

    Args:
        status: its status; changes from its start to its end.
        started_at: when its last attempt began.
        ended_at: when it ended; `None` until then.
        inputs: artifact version IDs by input name, in order.
        outputs: artifact version IDs by output name, in order.
        metadata: what the step logged, and what users added later.
    """

    id: UUID
    run_id: UUID
    key: str
    name: str
    status: StepStatus
    attempt: int
    map_index: int | None
    cache_key: str | None
    cached_from: UUID | None
    parameters: Mapping[str, object]
    resources: Mapping[str, object]
    source: str | None
    code_digest: str | None
    log_uri: str | None
    error: StepError | None
    started_at: datetime | None
    ended_at: datetime | None
    inputs: Mapping[str, Sequence[UUID]] = field(default_factory=dict)
    outputs: Mapping[str, Sequence[UUID]] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A named series of versions."""

    id: UUID
    name: str
    created_at: datetime
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    latest_version: str | None = None


# One attribute for each fact that users filter, sort and see by its name: more than 15.
@dataclass(frozen=True, slots=True)
class ArtifactVersion:
    """One immutable value of an artifact; only its tags and metadata change.

    `NewArtifactVersion` describes the other attributes.

    Args:
        artifact_id: its artifact.
        name: its artifact's name.
        version: its name within the artifact.
        number: its number, if the version was numbered automatically.
        created_at: when it was recorded.
        producer_step_run_id: the step run that made it, or `None` if that was deleted or no step made it.
        producer_run_id: the run that made it, or `None` if that was deleted or no run made it.
    """

    id: UUID
    artifact_id: UUID
    name: str
    version: str
    number: int | None
    type: str
    artifact_type: str
    materializer: str
    uri: str
    digest: str
    size: int
    created_at: datetime
    producer_step_run_id: UUID | None
    producer_run_id: UUID | None
    output_name: str | None
    external: bool = False
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    visualizations: tuple[Visualization, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A named series of model versions."""

    id: UUID
    name: str
    description: str | None
    license: str | None
    created_at: datetime
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    latest_version: str | None = None


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a model.

    Args:
        id: its ID.
        model_id: its model.
        name: its model's name.
        version: its name within the model.
        number: its number, if the version was numbered automatically.
        stage: its stage; changes by promotion.
        description: a text, which may be changed.
        created_at: when it was recorded.
        tags: its tags.
        metadata: its metadata.
        run_ids: the runs linked to it.
    """

    id: UUID
    model_id: UUID
    name: str
    version: str
    number: int | None
    stage: ModelStage
    description: str | None
    created_at: datetime
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    run_ids: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class StageChange:
    """One entry in a model version's history of promotions."""

    model_version_id: UUID
    version: str
    old: ModelStage
    new: ModelStage
    at: datetime
    user: str | None


@dataclass(frozen=True, slots=True)
class LineageEdge:
    """`source` went into, or came out of, `target`; `name` is the input's or output's name."""

    source: UUID
    target: UUID
    name: str


@dataclass(frozen=True, slots=True)
class LineageGraph:
    """Versions and the step runs between them, upstream and downstream of one version."""

    root: UUID
    versions: Mapping[UUID, ArtifactVersion]
    step_runs: Mapping[UUID, StepRun]
    runs: Mapping[UUID, Run]
    edges: tuple[LineageEdge, ...]


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """Artifact versions that nothing needs and prune would remove; `kept` counts the others."""

    versions: tuple[ArtifactVersion, ...]
    kept: int
