"""The schema in SQLAlchemy: the result of all migrations, and the source of the rendered DDL.

Only migrations, tests and `schema/render.py` import this module. Importing SQLAlchemy takes longer than a frequent
command may take (docs/adr/0010-catalog-sql.md), so queries are SQL text for the database's driver; their columns are
in `columns.py`.

Conventions, the same on both databases:

- IDs are UUIDs: `uuid` on PostgreSQL, 16-byte blobs on SQLite.
- Times are integers: microseconds since 1970, UTC.
- JSON is text on SQLite and `json` on PostgreSQL (not `jsonb`, which loses the order of keys); `NULL` stands for
  the empty object or list.
- Text compares byte by byte.
"""

from __future__ import annotations

import sqlalchemy as sa

__all__ = ["metadata"]

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = sa.Uuid().with_variant(sa.LargeBinary(), "sqlite")
Text = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
Json = sa.JSON().with_variant(sa.Text(), "sqlite")
Moment = sa.BigInteger()
LIVE = "status IN ('initializing', 'running')"
EXCLUSIVE = "stage IN ('staging', 'production')"


def _id(*extra: sa.schema.SchemaItem) -> sa.Column[object]:
    return sa.Column("id", Id, *extra, primary_key=True, autoincrement=False)


def _ref(name: str, target: str, ondelete: str, **options: object) -> sa.Column[object]:
    return sa.Column(name, Id, sa.ForeignKey(f"{target}.id", ondelete=ondelete), **options)  # type: ignore[arg-type]


models = sa.Table(
    "models",
    metadata,
    _id(),
    sa.Column("name", Text, nullable=False, unique=True),
    sa.Column("description", Text),
    sa.Column("license", Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("last_number", sa.BigInteger, nullable=False),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
    sa.Column("tags", Json),
    sa.Column("metadata", Json),
)

model_versions = sa.Table(
    "model_versions",
    metadata,
    _id(),
    _ref("model_id", "models", "CASCADE", nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("version", Text, nullable=False),
    sa.Column("number", sa.BigInteger),
    sa.Column("stage", Text, nullable=False),
    sa.Column("description", Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("tags", Json),
    sa.Column("metadata", Json),
    sa.UniqueConstraint("model_id", "version"),
    sa.UniqueConstraint("model_id", "sequence"),
)
sa.Index("ix_model_versions_created_at_id", model_versions.c.created_at, model_versions.c.id)
sa.Index(
    "uq_model_versions_exclusive_stage",
    model_versions.c.model_id,
    model_versions.c.stage,
    unique=True,
    sqlite_where=sa.text(EXCLUSIVE),
    postgresql_where=sa.text(EXCLUSIVE),
)

stage_changes = sa.Table(
    "stage_changes",
    metadata,
    _id(),
    _ref("model_id", "models", "CASCADE", nullable=False),
    sa.Column("model_version_id", Id, nullable=False),
    sa.Column("version", Text, nullable=False),
    sa.Column("old_stage", Text, nullable=False),
    sa.Column("new_stage", Text, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("user_name", Text),
)
sa.Index("ix_stage_changes_model_id_at", stage_changes.c.model_id, stage_changes.c.at)

runs = sa.Table(
    "runs",
    metadata,
    _id(),
    sa.Column("name", Text, nullable=False, unique=True),
    sa.Column("pipeline", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("stack_name", Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("started_at", Moment),
    sa.Column("ended_at", Moment),
    sa.Column("heartbeat_at", Moment),
    sa.Column("stop_requested", sa.Boolean, nullable=False),
    sa.Column("user_name", Text),
    sa.Column("host", Text),
    sa.Column("pid", sa.BigInteger),
    sa.Column("pid_started", sa.Double),
    sa.Column("orchestrator_id", Text),
    _ref("model_version_id", "model_versions", "SET NULL"),
    sa.Column("parameters", Json),
    sa.Column("tags", Json),
    sa.Column("error", Json),
    sa.Column("metadata", Json),
)
sa.Index("ix_runs_created_at_id", runs.c.created_at, runs.c.id)
sa.Index("ix_runs_pipeline_created_at", runs.c.pipeline, runs.c.created_at)
sa.Index("ix_runs_status_created_at", runs.c.status, runs.c.created_at)
sa.Index("ix_runs_model_version_id", runs.c.model_version_id)
sa.Index("ix_runs_live", runs.c.heartbeat_at, sqlite_where=sa.text(LIVE), postgresql_where=sa.text(LIVE))

# Separate from `runs`, because a heartbeat rewrites a whole row of that.
run_details = sa.Table(
    "run_details",
    metadata,
    sa.Column(
        "run_id", Id, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    sa.Column("spec", Json),
    sa.Column("stack", Json),
    sa.Column("code", Json),
    sa.Column("environment", Json),
)

# The calls of a dynamic pipeline's body, in their order: what a resumed run replays.
run_calls = sa.Table(
    "run_calls",
    metadata,
    _ref("run_id", "runs", "CASCADE", primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("call", Json, nullable=False),
    sqlite_with_rowid=False,
)

step_runs = sa.Table(
    "step_runs",
    metadata,
    _id(),
    _ref("run_id", "runs", "CASCADE", nullable=False),
    sa.Column("key", Text, nullable=False),
    sa.Column("map_index", sa.BigInteger),
    sa.Column("name", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("cache_key", Text),
    # Not a foreign key: it stays when the run that made the results is deleted.
    sa.Column("cached_from", Id),
    sa.Column("output_count", sa.BigInteger, nullable=False),
    sa.Column("source", Text),
    sa.Column("code_digest", Text),
    sa.Column("log_uri", Text),
    sa.Column("started_at", Moment),
    sa.Column("ended_at", Moment),
    sa.Column("parameters", Json),
    sa.Column("resources", Json),
    sa.Column("error", Json),
    sa.Column("metadata", Json),
    sa.Column("reuse", Json),
)
sa.Index("ix_step_runs_run_id_started_at", step_runs.c.run_id, step_runs.c.started_at)
CACHEABLE = "status = 'completed' AND cache_key IS NOT NULL"
sa.Index(
    "ix_step_runs_cache",
    step_runs.c.cache_key,
    step_runs.c.ended_at,
    sqlite_where=sa.text(CACHEABLE),
    postgresql_where=sa.text(CACHEABLE),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    _id(),
    sa.Column("name", Text, nullable=False, unique=True),
    sa.Column("created_at", Moment, nullable=False),
    # The highest number, and how many versions there ever were. Neither falls when a version is deleted, so a
    # number never refers to two values.
    sa.Column("last_number", sa.BigInteger, nullable=False),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
    sa.Column("tags", Json),
    sa.Column("metadata", Json),
)

artifact_versions = sa.Table(
    "artifact_versions",
    metadata,
    _id(),
    _ref("artifact_id", "artifacts", "RESTRICT", nullable=False),
    # Order of versions within the artifact, independent of their writers' clocks.
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("version", Text, nullable=False),
    sa.Column("number", sa.BigInteger),
    sa.Column("type", Text, nullable=False),
    sa.Column("artifact_type", Text, nullable=False),
    sa.Column("materializer", Text, nullable=False),
    sa.Column("uri", Text, nullable=False),
    sa.Column("digest", Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    _ref("producer_step_run_id", "step_runs", "SET NULL"),
    _ref("producer_run_id", "runs", "SET NULL"),
    sa.Column("output_name", Text),
    sa.Column("output_position", sa.Integer, nullable=False),
    sa.Column("external", sa.Boolean, nullable=False),
    sa.Column("tags", Json),
    sa.Column("metadata", Json),
    sa.Column("visualizations", Json),
    sa.UniqueConstraint("artifact_id", "version"),
    sa.UniqueConstraint("artifact_id", "sequence"),
)
sa.Index("ix_artifact_versions_created_at_id", artifact_versions.c.created_at, artifact_versions.c.id)
sa.Index("ix_artifact_versions_producer_step_run_id", artifact_versions.c.producer_step_run_id)
sa.Index("ix_artifact_versions_producer_run_id", artifact_versions.c.producer_run_id)
sa.Index("ix_artifact_versions_uri", artifact_versions.c.uri)

step_inputs = sa.Table(
    "step_inputs",
    metadata,
    _ref("step_run_id", "step_runs", "CASCADE", primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", Text, nullable=False),
    _ref("artifact_version_id", "artifact_versions", "CASCADE", nullable=False),
    sqlite_with_rowid=False,
)
sa.Index("ix_step_inputs_artifact_version_id", step_inputs.c.artifact_version_id)

# Outputs that a cached step run took over. A step run that ran is the `producer_step_run_id` of its outputs.
cached_outputs = sa.Table(
    "cached_outputs",
    metadata,
    _ref("step_run_id", "step_runs", "CASCADE", primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", Text),
    _ref("artifact_version_id", "artifact_versions", "CASCADE", nullable=False),
    sqlite_with_rowid=False,
)
sa.Index("ix_cached_outputs_artifact_version_id", cached_outputs.c.artifact_version_id)

model_version_artifacts = sa.Table(
    "model_version_artifacts",
    metadata,
    _ref("model_version_id", "model_versions", "CASCADE", primary_key=True),
    _ref("artifact_version_id", "artifact_versions", "CASCADE", primary_key=True),
    sqlite_with_rowid=False,
)
sa.Index("ix_model_version_artifacts_artifact_version_id", model_version_artifacts.c.artifact_version_id)

model_version_runs = sa.Table(
    "model_version_runs",
    metadata,
    _ref("model_version_id", "model_versions", "CASCADE", primary_key=True),
    _ref("run_id", "runs", "CASCADE", primary_key=True),
    sqlite_with_rowid=False,
)
sa.Index("ix_model_version_runs_run_id", model_version_runs.c.run_id)

# For filtering by tag; rows of the subject also hold their tags as JSON, for reading.
tags = sa.Table(
    "tags",
    metadata,
    sa.Column("subject", Text, primary_key=True),
    sa.Column("tag", Text, primary_key=True),
    sa.Column("subject_id", Id, primary_key=True),
    sqlite_with_rowid=False,
)
sa.Index("ix_tags_subject_id", tags.c.subject_id)
