"""The calls that the bodies of dynamic pipelines make."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.Uuid().with_variant(sa.LargeBinary(), "sqlite")
JSON = sa.JSON().with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "run_calls",
        sa.Column(
            "run_id",
            ID,
            sa.ForeignKey("runs.id", ondelete="CASCADE", name="fk_run_calls_run_id"),
            nullable=False,
        ),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("call", JSON, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_run_calls"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("run_calls")
