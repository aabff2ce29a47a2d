"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.Uuid().with_variant(sa.LargeBinary(), "sqlite")
TEXT = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
JSON = sa.JSON().with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "artifacts",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("tags", JSON, nullable=True),
        sa.Column("metadata", JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_artifacts"),
        sa.UniqueConstraint("name", name="uq_artifacts_name"),
    )
    op.create_table(
        "models",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=True),
        sa.Column("license", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("tags", JSON, nullable=True),
        sa.Column("metadata", JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("name", name="uq_models_name"),
    )
    op.create_table(
        "tags",
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("tag", TEXT, nullable=False),
        sa.Column("subject_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("subject", "tag", "subject_id", name="pk_tags"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tags_subject_id", "tags", ["subject_id"], unique=False)
    op.create_table(
        "model_versions",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("model_id", ID, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("stage", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("tags", JSON, nullable=True),
        sa.Column("metadata", JSON, nullable=True),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name="fk_model_versions_model_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_model_versions"),
        sa.UniqueConstraint("model_id", "sequence", name="uq_model_versions_model_id_sequence"),
        sa.UniqueConstraint("model_id", "version", name="uq_model_versions_model_id_version"),
    )
    op.create_index("ix_model_versions_created_at_id", "model_versions", ["created_at", "id"], unique=False)
    op.create_index(
        "uq_model_versions_exclusive_stage",
        "model_versions",
        ["model_id", "stage"],
        unique=True,
        sqlite_where=sa.text("stage IN ('staging', 'production')"),
        postgresql_where=sa.text("stage IN ('staging', 'production')"),
    )
    op.create_table(
        "stage_changes",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("model_id", ID, nullable=False),
        sa.Column("model_version_id", ID, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("old_stage", TEXT, nullable=False),
        sa.Column("new_stage", TEXT, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("user_name", TEXT, nullable=True),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name="fk_stage_changes_model_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_stage_changes"),
    )
    op.create_index("ix_stage_changes_model_id_at", "stage_changes", ["model_id", "at"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("pipeline", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("stack_name", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=True),
        sa.Column("stop_requested", sa.Boolean(), nullable=False),
        sa.Column("user_name", TEXT, nullable=True),
        sa.Column("host", TEXT, nullable=True),
        sa.Column("pid", sa.BigInteger(), nullable=True),
        sa.Column("pid_started", sa.Double(), nullable=True),
        sa.Column("orchestrator_id", TEXT, nullable=True),
        sa.Column("model_version_id", ID, nullable=True),
        sa.Column("parameters", JSON, nullable=True),
        sa.Column("tags", JSON, nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("metadata", JSON, nullable=True),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_runs_model_version_id", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("name", name="uq_runs_name"),
    )
    op.create_index("ix_runs_created_at_id", "runs", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_runs_live",
        "runs",
        ["heartbeat_at"],
        unique=False,
        sqlite_where=sa.text("status IN ('initializing', 'running')"),
        postgresql_where=sa.text("status IN ('initializing', 'running')"),
    )
    op.create_index("ix_runs_model_version_id", "runs", ["model_version_id"], unique=False)
    op.create_index("ix_runs_pipeline_created_at", "runs", ["pipeline", "created_at"], unique=False)
    op.create_index("ix_runs_status_created_at", "runs", ["status", "created_at"], unique=False)
    op.create_table(
        "model_version_runs",
        sa.Column("model_version_id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.id"],
            name="fk_model_version_runs_model_version_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_model_version_runs_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_version_id", "run_id", name="pk_model_version_runs"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_model_version_runs_run_id", "model_version_runs", ["run_id"], unique=False)
    op.create_table(
        "run_details",
        sa.Column("run_id", ID, autoincrement=False, nullable=False),
        sa.Column("spec", JSON, nullable=True),
        sa.Column("stack", JSON, nullable=True),
        sa.Column("code", JSON, nullable=True),
        sa.Column("environment", JSON, nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_details_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", name="pk_run_details"),
    )
    op.create_table(
        "step_runs",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("map_index", sa.BigInteger(), nullable=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("cache_key", TEXT, nullable=True),
        sa.Column("cached_from", ID, nullable=True),
        sa.Column("output_count", sa.BigInteger(), nullable=False),
        sa.Column("source", TEXT, nullable=True),
        sa.Column("code_digest", TEXT, nullable=True),
        sa.Column("log_uri", TEXT, nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("parameters", JSON, nullable=True),
        sa.Column("resources", JSON, nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("metadata", JSON, nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_step_runs_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_step_runs"),
    )
    op.create_index(
        "ix_step_runs_cache",
        "step_runs",
        ["cache_key", "ended_at"],
        unique=False,
        sqlite_where=sa.text("status = 'completed' AND cache_key IS NOT NULL"),
        postgresql_where=sa.text("status = 'completed' AND cache_key IS NOT NULL"),
    )
    op.create_index("ix_step_runs_run_id_started_at", "step_runs", ["run_id", "started_at"], unique=False)
    op.create_table(
        "artifact_versions",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("artifact_id", ID, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("artifact_type", TEXT, nullable=False),
        sa.Column("materializer", TEXT, nullable=False),
        sa.Column("uri", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("producer_step_run_id", ID, nullable=True),
        sa.Column("producer_run_id", ID, nullable=True),
        sa.Column("output_name", TEXT, nullable=True),
        sa.Column("output_position", sa.Integer(), nullable=False),
        sa.Column("external", sa.Boolean(), nullable=False),
        sa.Column("tags", JSON, nullable=True),
        sa.Column("metadata", JSON, nullable=True),
        sa.Column("visualizations", JSON, nullable=True),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name="fk_artifact_versions_artifact_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["producer_run_id"], ["runs.id"], name="fk_artifact_versions_producer_run_id", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["producer_step_run_id"],
            ["step_runs.id"],
            name="fk_artifact_versions_producer_step_run_id",
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_artifact_versions"),
        sa.UniqueConstraint("artifact_id", "sequence", name="uq_artifact_versions_artifact_id_sequence"),
        sa.UniqueConstraint("artifact_id", "version", name="uq_artifact_versions_artifact_id_version"),
    )
    op.create_index(
        "ix_artifact_versions_created_at_id", "artifact_versions", ["created_at", "id"], unique=False
    )
    op.create_index(
        "ix_artifact_versions_producer_run_id", "artifact_versions", ["producer_run_id"], unique=False
    )
    op.create_index(
        "ix_artifact_versions_producer_step_run_id",
        "artifact_versions",
        ["producer_step_run_id"],
        unique=False,
    )
    op.create_index("ix_artifact_versions_uri", "artifact_versions", ["uri"], unique=False)
    op.create_table(
        "cached_outputs",
        sa.Column("step_run_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=True),
        sa.Column("artifact_version_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_version_id"],
            ["artifact_versions.id"],
            name="fk_cached_outputs_artifact_version_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["step_run_id"], ["step_runs.id"], name="fk_cached_outputs_step_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("step_run_id", "position", name="pk_cached_outputs"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_cached_outputs_artifact_version_id", "cached_outputs", ["artifact_version_id"], unique=False
    )
    op.create_table(
        "model_version_artifacts",
        sa.Column("model_version_id", ID, nullable=False),
        sa.Column("artifact_version_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_version_id"],
            ["artifact_versions.id"],
            name="fk_model_version_artifacts_artifact_version_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.id"],
            name="fk_model_version_artifacts_model_version_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_version_id", "artifact_version_id", name="pk_model_version_artifacts"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_model_version_artifacts_artifact_version_id",
        "model_version_artifacts",
        ["artifact_version_id"],
        unique=False,
    )
    op.create_table(
        "step_inputs",
        sa.Column("step_run_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("artifact_version_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_version_id"],
            ["artifact_versions.id"],
            name="fk_step_inputs_artifact_version_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["step_run_id"], ["step_runs.id"], name="fk_step_inputs_step_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("step_run_id", "position", name="pk_step_inputs"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_step_inputs_artifact_version_id", "step_inputs", ["artifact_version_id"], unique=False
    )


def downgrade() -> None:

    op.drop_index("ix_step_inputs_artifact_version_id", table_name="step_inputs")
    op.drop_table("step_inputs")
    op.drop_index("ix_model_version_artifacts_artifact_version_id", table_name="model_version_artifacts")
    op.drop_table("model_version_artifacts")
    op.drop_index("ix_cached_outputs_artifact_version_id", table_name="cached_outputs")
    op.drop_table("cached_outputs")
    op.drop_index("ix_artifact_versions_uri", table_name="artifact_versions")
    op.drop_index("ix_artifact_versions_producer_step_run_id", table_name="artifact_versions")
    op.drop_index("ix_artifact_versions_producer_run_id", table_name="artifact_versions")
    op.drop_index("ix_artifact_versions_created_at_id", table_name="artifact_versions")
    op.drop_table("artifact_versions")
    op.drop_index("ix_step_runs_run_id_started_at", table_name="step_runs")
    op.drop_index(
        "ix_step_runs_cache",
        table_name="step_runs",
        sqlite_where=sa.text("status = 'completed' AND cache_key IS NOT NULL"),
        postgresql_where=sa.text("status = 'completed' AND cache_key IS NOT NULL"),
    )
    op.drop_table("step_runs")
    op.drop_table("run_details")
    op.drop_index("ix_model_version_runs_run_id", table_name="model_version_runs")
    op.drop_table("model_version_runs")
    op.drop_index("ix_runs_status_created_at", table_name="runs")
    op.drop_index("ix_runs_pipeline_created_at", table_name="runs")
    op.drop_index("ix_runs_model_version_id", table_name="runs")
    op.drop_index(
        "ix_runs_live",
        table_name="runs",
        sqlite_where=sa.text("status IN ('initializing', 'running')"),
        postgresql_where=sa.text("status IN ('initializing', 'running')"),
    )
    op.drop_index("ix_runs_created_at_id", table_name="runs")
    op.drop_table("runs")
    op.drop_index("ix_stage_changes_model_id_at", table_name="stage_changes")
    op.drop_table("stage_changes")
    op.drop_index(
        "uq_model_versions_exclusive_stage",
        table_name="model_versions",
        sqlite_where=sa.text("stage IN ('staging', 'production')"),
        postgresql_where=sa.text("stage IN ('staging', 'production')"),
    )
    op.drop_index("ix_model_versions_created_at_id", table_name="model_versions")
    op.drop_table("model_versions")
    op.drop_index("ix_tags_subject_id", table_name="tags")
    op.drop_table("tags")
    op.drop_table("models")
    op.drop_table("artifacts")
