"""`SQLCatalog`: the catalog in SQLite or PostgreSQL. It owns a database, and each subject is a part of its own."""

# To Pyright a method's `self` is a keyword as well, which a delegated one can't offer. Mypy checks the signatures.
# pyright: reportAssignmentType=false
from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from rayform_runtime.catalog.interface import Catalog
from rayform_runtime.catalog.sql.artifacts import Artifacts, ArtifactVersions
from rayform_runtime.catalog.sql.database import Database, Session
from rayform_runtime.catalog.sql.finder import Finder, Part
from rayform_runtime.catalog.sql.runs import Runs
from rayform_runtime.catalog.sql.sqlite import SQLiteDatabase
from rayform_runtime.catalog.sql.step_records import StepRecords
from rayform_runtime.catalog.sql.step_runs import RunCalls, StepRuns
from rayform_runtime.catalog.sql.version_writer import VersionWriter

if TYPE_CHECKING:
    from rayform_runtime.catalog.config import PostgresConfig, SQLiteConfig
    from rayform_runtime.catalog.sql.annotations import Annotations
    from rayform_runtime.catalog.sql.lineage import Lineage
    from rayform_runtime.catalog.sql.model_versions import ModelStages, ModelVersions
    from rayform_runtime.catalog.sql.models import Models
    from rayform_runtime.catalog.sql.pruning import Pruning
else:
    # Most runs need none of these parts; each is imported when it is first used.
    class _Names:
        """Stands for a part that isn't imported: its attributes are the methods' names."""

        def __getattr__(self, name: str) -> SimpleNamespace:
            return SimpleNamespace(__name__=name)

    Annotations = Lineage = ModelStages = ModelVersions = Models = Pruning = _Names()

__all__ = ["SQLCatalog"]

PartT = TypeVar("PartT", bound=Part)
P = ParamSpec("P")
R = TypeVar("R")


def _by(
    part: Callable[[SQLCatalog], PartT], method: Callable[Concatenate[PartT, P], R]
) -> Callable[Concatenate[SQLCatalog, P], R]:
    """Return a method of the catalog that is answered by the method of this name of one of its parts."""
    name = method.__name__

    def answered_by_part(catalog: SQLCatalog, /, *args: P.args, **kwargs: P.kwargs) -> R:
        answer: R = getattr(part(catalog), name)(*args, **kwargs)
        return answer

    answered_by_part.__name__ = name
    answered_by_part.__doc__ = getattr(Catalog, name).__doc__
    return answered_by_part


class SQLCatalog(Catalog):
    """A stack's catalog. Connects, and creates or migrates the schema, when it is first used.

    Args:
        config: the database's settings, or the database.
        stack_name: the stack that it belongs to.

    Raises:
        ModuleNotFoundError: PostgreSQL's driver isn't installed (`rayform[postgres]`).

    Example:
        >>> catalog = SQLCatalog(SQLiteConfig(path="/tmp/catalog.db"), stack_name="default")
        >>> catalog.list_runs().total  # doctest: +SKIP
        0
    """

    def __init__(self, config: SQLiteConfig | PostgresConfig | Database, *, stack_name: str) -> None:
        # No attribute changes after this; only `database` and `runs` have state of their own.
        self.stack_name = stack_name
        self.database = config if isinstance(config, Database) else _database(config)
        self._finder = finder = Finder(self.database)
        writer = VersionWriter(self.database)
        # Runs and pipelines; also which runs this process owns.
        self.runs = Runs(self.database, finder)
        # Calls of dynamic pipelines.
        self.calls = RunCalls(self.database, finder)
        # Artifacts, without their versions.
        self.artifacts = Artifacts(self.database, finder)
        # Artifact versions: reading, deleting, and adding those that no step made.
        self.artifact_versions = ArtifactVersions(self.database, finder, writer)
        # Beginnings and ends of step runs, with the versions that steps made.
        self.step_records = StepRecords(self.database, finder, self.artifact_versions, writer)
        # Step runs as they were recorded, and the cache.
        self.step_runs = StepRuns(self.database, finder)

    @cached_property
    def models(self) -> Models:
        """Models, without their versions."""
        from rayform_runtime.catalog.sql.models import Models

        return Models(self.database, self._finder)

    @cached_property
    def model_versions(self) -> ModelVersions:
        """Model versions and what is linked to them."""
        from rayform_runtime.catalog.sql.model_versions import ModelVersions

        return ModelVersions(self.database, self._finder)

    @cached_property
    def model_stages(self) -> ModelStages:
        """Promotions of model versions and their history."""
        from rayform_runtime.catalog.sql.model_versions import ModelStages

        return ModelStages(self.database, self._finder, self.model_versions)

    @cached_property
    def annotations(self) -> Annotations:
        """Metadata and tags of everything."""
        from rayform_runtime.catalog.sql.annotations import Annotations

        return Annotations(self.database, self._finder)

    @cached_property
    def graph(self) -> Lineage:
        """What made a version, and what was made from it."""
        from rayform_runtime.catalog.sql.lineage import Lineage

        return Lineage(self.database, self._finder, self.artifact_versions, self.step_runs)

    @cached_property
    def pruning(self) -> Pruning:
        """Versions that nothing needs."""
        from rayform_runtime.catalog.sql.pruning import Pruning

        return Pruning(self.database, self._finder)

    @classmethod
    def in_file(cls, path: str, *, stack_name: str) -> SQLCatalog:
        """Return the catalog in a SQLite file.

        The same as from a `SQLiteConfig`, but without loading pydantic, which takes longer than the rest of
        `rayform runs list`.
        """
        return cls(SQLiteDatabase(path), stack_name=stack_name)

    def migrate(self) -> None:
        self.database.ensure_schema()

    def close(self) -> None:
        self.database.close()

    def check(self) -> None:
        def probe(session: Session) -> None:
            session.rows("SELECT 1")

        self.database.write(probe)

    create_run = _by(lambda c: c.runs, Runs.create_run)
    restart_run = _by(lambda c: c.runs, Runs.restart_run)
    finish_run = _by(lambda c: c.runs, Runs.finish_run)
    set_run_code = _by(lambda c: c.runs, Runs.set_run_code)
    heartbeat = _by(lambda c: c.runs, Runs.heartbeat)
    request_stop = _by(lambda c: c.runs, Runs.request_stop)
    mark_interrupted = _by(lambda c: c.runs, Runs.mark_interrupted)
    unfinished_runs = _by(lambda c: c.runs, Runs.unfinished_runs)
    get_run = _by(lambda c: c.runs, Runs.get_run)
    list_runs = _by(lambda c: c.runs, Runs.list_runs)
    list_pipelines = _by(lambda c: c.runs, Runs.list_pipelines)
    delete_run = _by(lambda c: c.runs, Runs.delete_run)

    record_calls = _by(lambda c: c.calls, RunCalls.record_calls)
    list_calls = _by(lambda c: c.calls, RunCalls.list_calls)

    start_steps = _by(lambda c: c.step_records, StepRecords.start_steps)
    finish_steps = _by(lambda c: c.step_records, StepRecords.finish_steps)
    record_steps = _by(lambda c: c.step_records, StepRecords.record_steps)
    record_cached = _by(lambda c: c.step_records, StepRecords.record_cached)

    find_cached = _by(lambda c: c.step_runs, StepRuns.find_cached)
    list_step_runs = _by(lambda c: c.step_runs, StepRuns.list_step_runs)
    summarize_steps = _by(lambda c: c.step_runs, StepRuns.summarize_steps)
    get_step_run = _by(lambda c: c.step_runs, StepRuns.get_step_run)
    find_cache_candidates = _by(lambda c: c.step_runs, StepRuns.find_cache_candidates)

    get_artifact = _by(lambda c: c.artifacts, Artifacts.get_artifact)
    list_artifacts = _by(lambda c: c.artifacts, Artifacts.list_artifacts)
    rename_artifact = _by(lambda c: c.artifacts, Artifacts.rename_artifact)
    delete_artifact = _by(lambda c: c.artifacts, Artifacts.delete_artifact)

    create_artifact_version = _by(
        lambda catalog: catalog.artifact_versions, ArtifactVersions.create_artifact_version
    )
    get_artifact_version = _by(
        lambda catalog: catalog.artifact_versions, ArtifactVersions.get_artifact_version
    )
    get_artifact_versions = _by(
        lambda catalog: catalog.artifact_versions, ArtifactVersions.get_artifact_versions
    )
    list_artifact_versions = _by(
        lambda catalog: catalog.artifact_versions, ArtifactVersions.list_artifact_versions
    )
    delete_artifact_versions = _by(
        lambda catalog: catalog.artifact_versions, ArtifactVersions.delete_artifact_versions
    )

    log_metadata = _by(lambda c: c.annotations, Annotations.log_metadata)
    update_tags = _by(lambda c: c.annotations, Annotations.update_tags)

    create_model = _by(lambda c: c.models, Models.create_model)
    get_model = _by(lambda c: c.models, Models.get_model)
    list_models = _by(lambda c: c.models, Models.list_models)
    update_model = _by(lambda c: c.models, Models.update_model)
    delete_model = _by(lambda c: c.models, Models.delete_model)

    create_model_version = _by(lambda c: c.model_versions, ModelVersions.create_model_version)
    get_model_version = _by(lambda c: c.model_versions, ModelVersions.get_model_version)
    list_model_versions = _by(lambda c: c.model_versions, ModelVersions.list_model_versions)
    update_model_version = _by(lambda c: c.model_versions, ModelVersions.update_model_version)
    link_model_version = _by(lambda c: c.model_versions, ModelVersions.link_model_version)
    list_model_version_artifacts = _by(
        lambda catalog: catalog.model_versions, ModelVersions.list_model_version_artifacts
    )
    delete_model_version = _by(lambda c: c.model_versions, ModelVersions.delete_model_version)

    set_model_stage = _by(lambda c: c.model_stages, ModelStages.set_model_stage)
    list_stage_changes = _by(lambda c: c.model_stages, ModelStages.list_stage_changes)

    lineage = _by(lambda c: c.graph, Lineage.lineage)

    plan_prune = _by(lambda c: c.pruning, Pruning.plan_prune)
    known_uris = _by(lambda c: c.pruning, Pruning.known_uris)


def _database(config: SQLiteConfig | PostgresConfig) -> Database:
    from rayform_runtime.catalog.config import SQLiteConfig

    if isinstance(config, SQLiteConfig):
        return SQLiteDatabase(config.path)
    from rayform_runtime.catalog.sql.postgres import PostgresDatabase

    return PostgresDatabase(config)
