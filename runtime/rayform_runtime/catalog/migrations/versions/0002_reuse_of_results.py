"""What a later run needs to take a step's result from the cache, beyond the cache key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.add_column("step_runs", sa.Column("reuse", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("step_runs", "reuse")
