"""The catalog's interface: one abstract class, its records, its errors.

The catalog is the database of a stack: runs, step runs, artifacts and their versions, models, metadata. Records
are frozen dataclasses, never live database rows, so that they may outlive the connection. One implementation,
`sql.py`, serves SQLite and PostgreSQL; `tests/contract` runs one suite over both.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

__all__ = [
    "Artifact",
    "ArtifactVersion",
    "CachedResult",
    "Catalog",
    "LineageEdge",
    "LineageGraph",
    "Model",
    "ModelStage",
    "ModelVersion",
    "NewArtifactVersion",
    "NewRun",
    "Page",
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
    spec: Mapping[str, Any]
    stack_name: str
    stack: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    user: str | None = None
    host: str | None = None
    pid: int | None = None
    pid_started: float | None = None
    code: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
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
    parameters: Mapping[str, Any]
    tags: tuple[str, ...]
    user: str | None
    host: str | None
    pid: int | None
    pid_started: float | None
    error: StepError | None
    model_version_id: UUID | None
    orchestrator_id: str | None
    spec: Mapping[str, Any] = field(default_factory=dict)
    stack: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


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
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[UUID]] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
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
    metadata: Mapping[str, Any] = field(default_factory=dict)
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
    metadata: Mapping[str, Any] = field(default_factory=dict)
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
    parameters: Mapping[str, Any]
    resources: Mapping[str, Any]
    source: str | None
    code_digest: str | None
    log_uri: str | None
    error: StepError | None
    started_at: datetime | None
    ended_at: datetime | None
    inputs: Mapping[str, Sequence[UUID]] = field(default_factory=dict)
    outputs: Mapping[str, Sequence[UUID]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A named series of versions."""

    id: UUID
    name: str
    created_at: datetime
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
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
    metadata: Mapping[str, Any] = field(default_factory=dict)
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
    metadata: Mapping[str, Any] = field(default_factory=dict)
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
    metadata: Mapping[str, Any] = field(default_factory=dict)
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

    filters: Mapping[str, Any] = field(default_factory=dict)
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


class Catalog(abc.ABC):
    """Reads and writes one stack's catalog.

    Every method is one transaction unless it says otherwise: it takes effect whole or not at all. All may be
    called from several threads and processes at once; a database that is busy or restarts is waited for
    (bounded), never shown to the caller as "locked". Names are given as a name, a UUID, or a unique prefix
    of a UUID where a parameter is called `ref`; an ambiguous prefix raises `ConflictError` that lists what
    it matched, an unknown one `NotFoundError` with its neighbours.
    """

    @abc.abstractmethod
    def migrate(self) -> None:
        """Bring the schema to this version. Idempotent; safe from several processes at once.

        Raises:
            IntegrityError: the catalog was written by a newer version of Rayform.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Release all connections."""

    @abc.abstractmethod
    def check(self) -> None:
        """Prove that the database can be reached, or raise an error that says what to do."""

    # -- runs ---------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def create_run(self, run: NewRun) -> Run:
        """Record a run that starts, with status `running`; a name that exists raises `ConflictError`."""

    @abc.abstractmethod
    def restart_run(
        self, run_id: UUID, *, host: str, pid: int, pid_started: float, orchestrator_id: str | None = None
    ) -> Run:
        """Take over a run that ended without success, to resume it under the same ID.

        Raises:
            ConflictError: it is running, or it completed.
        """

    @abc.abstractmethod
    def finish_run(
        self,
        run_id: UUID,
        status: RunStatus,
        error: StepError | None = None,
        *,
        code: Mapping[str, Any] | None = None,
    ) -> Run:
        """Record how the run ended; steps left `pending`, `running` or `retrying` become `interrupted`,
        `stopped` or `skipped`, whichever follows from `status`. `code` is recorded where it is given."""

    @abc.abstractmethod
    def set_run_code(self, run_id: UUID, code: Mapping[str, Any]) -> None:
        """Record facts of the code that a run runs, where they weren't known when it began."""

    @abc.abstractmethod
    def heartbeat(self, run_id: UUID) -> RunStatus:
        """Say that the run's process lives; returns the status, so that the process sees a stop request."""

    @abc.abstractmethod
    def request_stop(self, run_id: UUID) -> None:
        """Ask the run's process to stop; `heartbeat` then returns `stopped`."""

    @abc.abstractmethod
    def mark_interrupted(self, *, stale_seconds: float = 60.0, dead: Sequence[UUID] = ()) -> list[UUID]:
        """Turn unfinished runs without a heartbeat for `stale_seconds`, and those in `dead`, to
        `interrupted`, with their unfinished steps; return their IDs. Cheap when there is nothing to do."""

    @abc.abstractmethod
    def unfinished_runs(self) -> list[Run]:
        """Return the runs that claim to be at work."""

    @abc.abstractmethod
    def get_run(self, ref: str | UUID, *, hydrate: bool = True) -> Run:
        """Return a run by ID, name or unique ID prefix."""

    @abc.abstractmethod
    def list_runs(self, query: Query = Query()) -> Page[Run]:
        """List runs."""

    @abc.abstractmethod
    def list_pipelines(self, query: Query = Query()) -> Page[Mapping[str, Any]]:
        """List pipelines: `name`, `runs`, `last_run`, `last_status`, `created_at`."""

    @abc.abstractmethod
    def delete_run(self, run_id: UUID) -> None:
        """Delete a finished run and its step runs; artifact versions stay, without a producer.

        Raises:
            ConflictError: the run is at work.
        """

    # -- steps --------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def start_steps(self, starts: Sequence[StepStart]) -> None:
        """Record that these step runs begin, in one commit."""

    @abc.abstractmethod
    def finish_steps(self, finishes: Sequence[StepFinish]) -> list[list[ArtifactVersion]]:
        """Record how these step runs ended, in one commit, and return each one's new versions, numbered.

        Version numbers are allotted inside this transaction and never collide. Repeating a finish with the
        same IDs changes nothing and returns the same.
        """

    @abc.abstractmethod
    def record_steps(self, changes: Sequence[StepStart | StepFinish]) -> None:
        """Record beginnings and ends of step runs in this order, in one commit; all of them or none.

        What one step made is there for the next one in the list: a step that begins may take what one before it
        in the list returned.
        """

    @abc.abstractmethod
    def record_cached(self, pairs: Sequence[tuple[StepStart, StepFinish]]) -> None:
        """Record step runs that were taken from the cache (or skipped) whole, in one commit."""

    @abc.abstractmethod
    def find_cached(self, cache_keys: Iterable[str]) -> dict[str, CachedResult]:
        """Return, for each key that has one, the newest successful step run with all outputs present."""

    @abc.abstractmethod
    def list_step_runs(self, run_id: UUID) -> list[StepRun]:
        """Return all step runs of a run, in order of start and map index."""

    @abc.abstractmethod
    def get_step_run(self, step_run_id: UUID) -> StepRun:
        """Return one step run."""

    @abc.abstractmethod
    def find_cache_candidates(self, pipeline: str, key: str, limit: int = 5) -> list[StepRun]:
        """Return the newest successful runs of a pipeline's step, for `--explain-cache`."""

    # -- artifacts ----------------------------------------------------------------------------------------
    @abc.abstractmethod
    def create_artifact_version(
        self, version: NewArtifactVersion, *, model_version_id: UUID | None = None
    ) -> ArtifactVersion:
        """Record a version that no step made (`save_artifact`, `register_artifact`)."""

    @abc.abstractmethod
    def get_artifact(self, ref: str | UUID) -> Artifact:
        """Return an artifact by name, ID or unique ID prefix."""

    @abc.abstractmethod
    def get_artifact_version(self, ref: str | UUID, version: str | int | None = None) -> ArtifactVersion:
        """Return a version by its ID or a unique prefix of it, or by artifact name and version (latest
        unless told)."""

    @abc.abstractmethod
    def get_artifact_versions(self, ids: Sequence[UUID]) -> dict[UUID, ArtifactVersion]:
        """Return the versions with these IDs; unknown ones are left out."""

    @abc.abstractmethod
    def list_artifacts(self, query: Query = Query()) -> Page[Artifact]:
        """List artifacts."""

    @abc.abstractmethod
    def list_artifact_versions(self, query: Query = Query()) -> Page[ArtifactVersion]:
        """List artifact versions, with their tags; with their metadata where `hydrate` is set."""

    @abc.abstractmethod
    def rename_artifact(self, artifact_id: UUID, name: str) -> Artifact:
        """Give an artifact another name; its versions follow."""

    @abc.abstractmethod
    def delete_artifact_versions(self, ids: Sequence[UUID], *, force: bool = False) -> None:
        """Delete versions' rows.

        Raises:
            ConflictError: a model version, or a step run as its input, refers to one, and `force` isn't set.
        """

    @abc.abstractmethod
    def delete_artifact(self, artifact_id: UUID) -> None:
        """Delete an artifact without versions; `ConflictError` where it has some."""

    # -- metadata and tags --------------------------------------------------------------------------------
    @abc.abstractmethod
    def log_metadata(self, subject: Subject, id: UUID, metadata: Mapping[str, Any]) -> None:
        """Merge typed JSON metadata into what the subject has; see `metadata.py` for types."""

    @abc.abstractmethod
    def update_tags(
        self, subject: Subject, id: UUID, *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Add and remove tags; returns what is left, sorted."""

    # -- models -------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def create_model(
        self,
        name: str,
        *,
        description: str | None = None,
        license: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        exist_ok: bool = False,
    ) -> Model:
        """Create a model; one that exists raises `ConflictError` unless `exist_ok`."""

    @abc.abstractmethod
    def create_model_version(
        self,
        model: str,
        *,
        version: str | None = None,
        description: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        run_id: UUID | None = None,
    ) -> ModelVersion:
        """Create a version of a model (making the model where it is missing); `None` takes the next number."""

    @abc.abstractmethod
    def get_model(self, ref: str | UUID) -> Model:
        """Return a model by name, ID or unique ID prefix."""

    @abc.abstractmethod
    def get_model_version(self, model: str | UUID, version: str | int | None = None) -> ModelVersion:
        """Return a model's version by name, number, stage, ID or `latest`; the latest unless told."""

    @abc.abstractmethod
    def list_models(self, query: Query = Query()) -> Page[Model]:
        """List models."""

    @abc.abstractmethod
    def list_model_versions(self, query: Query = Query()) -> Page[ModelVersion]:
        """List model versions; `model` filters by name."""

    @abc.abstractmethod
    def update_model(
        self,
        model_id: UUID,
        *,
        name: str | None = None,
        description: str | None = None,
        license: str | None = None,
    ) -> Model:
        """Change what is given."""

    @abc.abstractmethod
    def update_model_version(
        self, model_version_id: UUID, *, name: str | None = None, description: str | None = None
    ) -> ModelVersion:
        """Change what is given."""

    @abc.abstractmethod
    def set_model_stage(
        self, model_version_id: UUID, stage: ModelStage, *, force: bool = False, user: str | None = None
    ) -> ModelVersion:
        """Move a version to a stage and record it in the history.

        Raises:
            ConflictError: another version holds `staging` or `production` and `force` isn't set; with
                `force` that one is archived in the same transaction.
        """

    @abc.abstractmethod
    def list_stage_changes(self, model: str | UUID) -> list[StageChange]:
        """Return a model's history of promotions, oldest first."""

    @abc.abstractmethod
    def link_model_version(
        self,
        model_version_id: UUID,
        *,
        artifact_version_ids: Sequence[UUID] = (),
        run_ids: Sequence[UUID] = (),
    ) -> None:
        """Link artifact versions and runs to a model version. Idempotent."""

    @abc.abstractmethod
    def list_model_version_artifacts(self, model_version_id: UUID) -> list[ArtifactVersion]:
        """Return the artifact versions linked to a model version, newest first."""

    @abc.abstractmethod
    def delete_model(self, model_id: UUID) -> None:
        """Delete a model with its versions and links; artifacts and runs stay."""

    @abc.abstractmethod
    def delete_model_version(self, model_version_id: UUID, *, force: bool = False) -> None:
        """Delete a version; one in `staging` or `production` raises `ConflictError` unless `force`."""

    # -- lineage ------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def lineage(
        self,
        artifact_version_id: UUID,
        *,
        upstream: bool = True,
        downstream: bool = True,
        depth: int | None = None,
    ) -> LineageGraph:
        """Return what made a version and what was made of it; `depth` counts step runs, all unless told."""

    @abc.abstractmethod
    def plan_prune(self, *, older_than: datetime | None = None, keep_runs: bool = True) -> PrunePlan:
        """Find versions that nothing needs: no run that is kept, no model version, no tag `keep`."""

    @abc.abstractmethod
    def known_uris(self, uris: Sequence[str]) -> set[str]:
        """Return those of the URIs that a version refers to; prune's guard against removing data in use."""
