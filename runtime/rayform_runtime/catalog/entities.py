"""What the catalog takes and gives: runs, step runs, artifacts, models, and the words for where they stand.

Frozen dataclasses, never live database rows, so that they may outlive the connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar
from uuid import UUID

__all__ = [
    "Artifact",
    "ArtifactVersion",
    "CachedResult",
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

T = TypeVar("T")


class RunStatus(StrEnum):
    """Where a run stands. `interrupted`: its process died without saying so, and it can be resumed."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"

    @property
    def is_finished(self) -> bool:
        """Whether nothing works on the run any more."""
        return self not in (RunStatus.INITIALIZING, RunStatus.RUNNING)


class StepStatus(StrEnum):
    """Where a step run stands. `cached`: its outputs are an earlier step run's."""

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
    """Stage of a model version; `staging` and `production` are held by one version of a model at most."""

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
        traceback: the person's own frames, without the framework's; empty where no Python raised.
    """

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Visualization:
    """A picture of a value, stored inside its artifact; `kind` is html, image, csv, markdown or json."""

    name: str
    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class NewRun:
    """What is known of a run when it starts; `spec` is `PipelineSpec` as JSON, `stack` is `StackSpec` as JSON.

    `host`, `pid` and `pid_started` say which process schedules it, so that another process on that host can
    tell at once that it died; elsewhere the heartbeat tells.
    """

    id: UUID
    name: str
    pipeline: str
    spec: Mapping[str, object]
    stack_name: str
    stack: Mapping[str, object]
    parameters: Mapping[str, object] = field(default_factory=dict)
    tags: Sequence[str] = ()
    user: str | None = None
    host: str | None = None
    pid: int | None = None
    pid_started: float | None = None
    code: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)
    model_version_id: UUID | None = None
    orchestrator_id: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A pipeline run. `spec`, `stack`, `code` and `environment` are empty in lists unless asked for."""

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


@dataclass(frozen=True, slots=True)
class StepStart:
    """A step run that begins (or begins again: the same `id` with a higher `attempt`).

    Args:
        id: of the step run.
        run_id: its run.
        key: the step's key in the pipeline; a mapped step's instances share it and differ in `map_index`.
        name: the step function's name.
        cache_key: what caching would find it under, or `None` where it isn't cached.
        inputs: artifact version IDs by input name, in order (several for an input that joins a map).
        started_at: when; the moment of the commit unless told.
    """

    id: UUID
    run_id: UUID
    key: str
    name: str
    attempt: int = 1
    map_index: int | None = None
    cache_key: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[UUID]] = field(default_factory=dict)
    resources: Mapping[str, object] = field(default_factory=dict)
    source: str | None = None
    code_digest: str | None = None
    log_uri: str | None = None
    model_version_id: UUID | None = None
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewArtifactVersion:
    """A version whose data and manifest are committed in the store.

    `version=None` takes the artifact's next number; a name that exists raises `ConflictError`.
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
    metadata: Mapping[str, object] = field(default_factory=dict)
    visualizations: Sequence[Visualization] = ()
    output_name: str | None = None
    external: bool = False
    """Registered data that Rayform didn't write and never removes."""


@dataclass(frozen=True, slots=True)
class StepFinish:
    """How a step run ended: status, new artifact versions in output order, metadata, error.

    For `cached`, `cached_from` names the step run whose outputs these are and `outputs` is empty.
    """

    id: UUID
    run_id: UUID
    status: StepStatus
    outputs: Sequence[NewArtifactVersion] = ()
    cached_from: UUID | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    error: StepError | None = None
    ended_at: datetime | None = None
    model_version_id: UUID | None = None
    """Links the outputs to this model version."""


@dataclass(frozen=True, slots=True)
class StepRun:
    """One execution of a step. `inputs` and `outputs` map names to artifact version IDs, in order."""

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


@dataclass(frozen=True, slots=True)
class ArtifactVersion:
    """One immutable value of an artifact; `number` is set where the version was numbered automatically."""

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
class CachedResult:
    """A successful step run that a cache key found, with its output versions by output name."""

    step_run_id: UUID
    run_id: UUID
    run_name: str
    cache_key: str
    outputs: Mapping[str, ArtifactVersion]


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
    """One version of a model; `run_ids` are the runs linked to it."""

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
    """Artifact versions that nothing needs, as prune would remove them; `kept` counts those it leaves."""

    versions: tuple[ArtifactVersion, ...]
    kept: int


@dataclass(frozen=True, slots=True)
class Query:
    """Filters, order and page of a list.

    Args:
        filters: field name to wanted value; a list means "any of"; a string with a prefix `gte:`, `lte:`,
            `gt:`, `lt:`, `ne:`, `contains:`, `startswith:` compares so (`eq:` where the value itself begins like
            that), and of several comparisons in a list all must hold, so that `["gte:2", "lt:5"]` is a range;
            `tag` takes a tag, or several that must all be there; `metadata.<key>` compares a metadata value.
            Unknown fields raise `UsageError`
            with the nearest one.
        order: field to sort by, `-` before it for descending; newest first unless told.
        page: from 1.
        size: items on a page; 20 unless told, 10,000 at most.
        hydrate: also load what lists leave out (metadata, spec).
    """

    filters: Mapping[str, object] = field(default_factory=dict)
    order: str = "-created_at"
    page: int = 1
    size: int = 20
    hydrate: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list and how many items there are in all."""

    items: tuple[T, ...]
    page: int
    size: int
    total: int

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.total // self.size))
