"""Alembic's entry point: runs the revisions on the connection that `migrations/run.py` hands over."""

from __future__ import annotations

from alembic import context

from rayform_runtime.catalog.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can't alter most of a table; batch mode copies it.
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
