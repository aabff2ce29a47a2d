"""The catalog's interface: one abstract class, and the error of a catalog that other processes keep busy.

The catalog is the database of a stack: runs, step runs, artifacts and their versions, models, metadata. Its arguments
and return values are in `entities.py`. One implementation, `sql/catalog.py`, serves SQLite and PostgreSQL;
`tests/contract` runs one suite over both.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from rayform_core.errors import ConflictError
from rayform_runtime.catalog.calls import CallRecords
from rayform_runtime.catalog.entities import (
    Artifact,
    ArtifactVersion,
    LineageGraph,
    Model,
    ModelStage,
    ModelVersion,
    NewArtifactVersion,
    NewRun,
    Page,
    PipelineSummary,
    PrunePlan,
    Query,
    Run,
    RunStatus,
    StageChange,
    StepError,
    StepFinish,
    StepRun,
    StepStart,
    Subject,
)
from rayform_runtime.catalog.reuse import CachedResult
from rayform_runtime.catalog.saving import SavedIn
from rayform_runtime.catalog.summaries import StepChoice, StepSummary

__all__ = ["Catalog", "CatalogBusyError"]


class CatalogBusyError(ConflictError):
    """Other processes kept the catalog busy for longer than a writer waits. Nothing was changed."""


class Catalog(CallRecords):
    """Reads and writes one stack's catalog.

    Each method is one transaction: it takes effect as a whole or not at all. Several threads and processes may
    call methods at once. A method waits for a database that is busy or restarts, and raises `CatalogBusyError` if
    that takes too long.

    A parameter `ref` is a name, a UUID, or a unique prefix of a UUID; a run's is also a unique prefix of its name.
    An ambiguous prefix raises `ConflictError`, which lists what it matches; an unknown name raises
    `NotFoundError`, which lists its neighbours.
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
        """Reach the database, or raise an error that says what to do."""

    # -- runs ---------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def create_run(self, run: NewRun) -> Run:
        """Record a run that starts, with status `running`; raises `ConflictError` if its name exists."""

    @abc.abstractmethod
    def restart_run(
        self,
        run_id: UUID,
        *,
        host: str,
        pid: int,
        pid_started: float | None,
        orchestrator_id: str | None = None,
    ) -> Run:
        """Take over a run that ended without success, to resume it under the same ID.

        Raises:
            ConflictError: the run is running, or it completed.
        """

    @abc.abstractmethod
    def finish_run(
        self,
        run_id: UUID,
        status: RunStatus,
        error: StepError | None = None,
        *,
        code: Mapping[str, object] | None = None,
    ) -> Run:
        """Record how the run ended, and `code` unless it is `None`.

        Steps that are still `pending`, `running` or `retrying` become `interrupted`, `stopped` or `skipped`,
        whichever follows from `status`.
        """

    @abc.abstractmethod
    def set_run_code(self, run_id: UUID, code: Mapping[str, object]) -> None:
        """Record facts about a run's code that were determined only after it began."""

    @abc.abstractmethod
    def heartbeat(self, run_id: UUID) -> RunStatus:
        """Record that the run's process is alive; return the run's status, which shows a stop request."""

    @abc.abstractmethod
    def request_stop(self, run_id: UUID) -> None:
        """Ask the run's process to stop; `heartbeat` then returns `stopped`."""

    @abc.abstractmethod
    def mark_interrupted(
        self, *, dead: Sequence[UUID] = (), silent: Mapping[UUID, datetime | None] | None = None
    ) -> list[UUID]:
        """Mark unfinished runs, with their unfinished steps, as `interrupted`, and return the runs' IDs.

        Args:
            dead: runs whose process is gone.
            silent: runs to mark if their last heartbeat is still this one.
        """

    @abc.abstractmethod
    def unfinished_runs(self) -> list[Run]:
        """Return the runs that are recorded as running."""

    @abc.abstractmethod
    def get_run(self, ref: str | UUID, *, hydrate: bool = True) -> Run:
        """Return a run by, in this order: its name, its ID, a unique prefix of its ID, one of its name.

        Raises:
            ConflictError: several IDs start with `ref`, or no ID and several names do; lists them.
            NotFoundError: there is none; lists its neighbours.
        """

    @abc.abstractmethod
    def list_runs(self, query: Query = Query()) -> Page[Run]:
        """List runs."""

    @abc.abstractmethod
    def list_pipelines(self, query: Query = Query()) -> Page[PipelineSummary]:
        """List the pipelines that have runs."""

    @abc.abstractmethod
    def delete_run(self, run_id: UUID) -> None:
        """Delete a finished run and its step runs; artifact versions stay, without a producer.

        Raises:
            ConflictError: the run is running.
        """

    # -- steps --------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def start_steps(self, starts: Sequence[StepStart]) -> None:
        """Record that these step runs begin, in one commit."""

    @abc.abstractmethod
    def finish_steps(self, finishes: Sequence[StepFinish]) -> list[list[ArtifactVersion]]:
        """Record how these step runs ended, in one commit, and return each one's new versions with their numbers.

        Numbers are allotted in this transaction and never collide. Repeating a call with the same IDs changes
        nothing and returns the same.
        """

    @abc.abstractmethod
    def record_steps(self, changes: Sequence[StepStart | StepFinish]) -> None:
        """Record beginnings and ends of step runs in this order, in one commit.

        A step that begins may have inputs that a step before it in the list returned.
        """

    @abc.abstractmethod
    def record_cached(self, pairs: Sequence[tuple[StepStart, StepFinish]]) -> None:
        """Record step runs that were taken from the cache or skipped, in one commit."""

    @abc.abstractmethod
    def find_cached(self, cache_keys: Iterable[str]) -> dict[str, CachedResult]:
        """Return the newest successful step run of each key that has one; all its outputs still exist."""

    @abc.abstractmethod
    def list_step_runs(self, run_id: UUID, choice: StepChoice = StepChoice()) -> list[StepRun]:
        """Return step runs of a run, all by default, in order of start and map index."""

    @abc.abstractmethod
    def summarize_steps(self, run_id: UUID) -> list[StepSummary]:
        """Return how many step runs of each step have each status; fast for maps with many instances."""

    @abc.abstractmethod
    def get_step_run(self, step_run_id: UUID) -> StepRun:
        """Return one step run."""

    @abc.abstractmethod
    def find_cache_candidates(self, pipeline: str, key: str, limit: int = 5) -> list[StepRun]:
        """Return the newest successful runs of a pipeline's step, for `--explain-cache`."""

    # -- artifacts ----------------------------------------------------------------------------------------
    @abc.abstractmethod
    def create_artifact_version(
        self,
        version: NewArtifactVersion,
        *,
        model_version_id: UUID | None = None,
        saved_in: SavedIn | None = None,
    ) -> ArtifactVersion:
        """Record a version that no step returned; with `saved_in`, it is an output of a running step."""

    @abc.abstractmethod
    def get_artifact(self, ref: str | UUID) -> Artifact:
        """Return an artifact by name, ID or unique ID prefix."""

    @abc.abstractmethod
    def get_artifact_version(self, ref: str | UUID, version: str | int | None = None) -> ArtifactVersion:
        """Return a version by its ID or a unique prefix of it, or by artifact and version.

        Without `version` it is the artifact's latest one.
        """

    @abc.abstractmethod
    def get_artifact_versions(self, ids: Sequence[UUID]) -> dict[UUID, ArtifactVersion]:
        """Return the versions with these IDs; unknown ones are left out."""

    @abc.abstractmethod
    def list_artifacts(self, query: Query = Query()) -> Page[Artifact]:
        """List artifacts."""

    @abc.abstractmethod
    def list_artifact_versions(self, query: Query = Query()) -> Page[ArtifactVersion]:
        """List artifact versions with their tags; with `hydrate` also with their metadata."""

    @abc.abstractmethod
    def rename_artifact(self, artifact_id: UUID, name: str) -> Artifact:
        """Give an artifact another name; its versions follow."""

    @abc.abstractmethod
    def delete_artifact_versions(
        self,
        ids: Sequence[UUID],
        *,
        force: bool = False,
        delete_data: Callable[[], None] | None = None,
    ) -> None:
        """Delete versions' rows.

        Args:
            ids: the versions.
            force: delete versions that are in use too.
            delete_data: deletes their data. It is called when nothing forbids the deletion, before the rows are gone
                for others; if it raises, the rows stay. It may be called again if the database was busy.

        Raises:
            ConflictError: without `force`: a model version refers to one, a step run used one as its input, or
                the run that made one is still running.
        """

    @abc.abstractmethod
    def delete_artifact(self, artifact_id: UUID) -> None:
        """Delete an artifact without versions; raises `ConflictError` if it has some."""

    # -- metadata and tags --------------------------------------------------------------------------------
    @abc.abstractmethod
    def log_metadata(self, subject: Subject, id: UUID, metadata: Mapping[str, object]) -> None:
        """Add metadata to what the subject has; `metadata.py` says which values it may hold."""

    @abc.abstractmethod
    def update_tags(
        self, subject: Subject, id: UUID, *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Add and remove tags; return the resulting ones, sorted."""

    # -- models -------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def create_model(
        self,
        name: str,
        *,
        description: str | None = None,
        license: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, object] | None = None,
        exist_ok: bool = False,
    ) -> Model:
        """Create a model; raises `ConflictError` if it exists, or returns it with `exist_ok`."""

    @abc.abstractmethod
    def create_model_version(
        self,
        model: str,
        *,
        version: str | None = None,
        description: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, object] | None = None,
        run_id: UUID | None = None,
    ) -> ModelVersion:
        """Create a version of a model, and the model if it doesn't exist; version `None` takes the next number."""

    @abc.abstractmethod
    def get_model(self, ref: str | UUID) -> Model:
        """Return a model by name, ID or unique ID prefix."""

    @abc.abstractmethod
    def get_model_version(self, model: str | UUID, version: str | int | None = None) -> ModelVersion:
        """Return a model's version by name, number, stage, ID or `latest`; by default the latest."""

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
        """Change the attributes that aren't `None`."""

    @abc.abstractmethod
    def update_model_version(
        self, model_version_id: UUID, *, name: str | None = None, description: str | None = None
    ) -> ModelVersion:
        """Change the attributes that aren't `None`."""

    @abc.abstractmethod
    def set_model_stage(
        self, model_version_id: UUID, stage: ModelStage, *, force: bool = False, user: str | None = None
    ) -> ModelVersion:
        """Move a version to a stage and record it in the history.

        Raises:
            ConflictError: without `force`: another version holds `staging` or `production`. With `force` that
                one is archived in the same transaction.
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
        """Delete a version; raises `ConflictError` if it is in `staging` or `production`, without `force`."""

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
        """Return what made a version and what was made from it; `depth` counts step runs, by default all."""

    @abc.abstractmethod
    def plan_prune(self, *, older_than: datetime | None = None, keep_runs: bool = True) -> PrunePlan:
        """Find versions that no run that is kept, no model version and no tag `keep` needs."""

    @abc.abstractmethod
    def known_uris(self, uris: Sequence[str]) -> set[str]:
        """Return the URIs that a version refers to; prune must not remove their data."""
