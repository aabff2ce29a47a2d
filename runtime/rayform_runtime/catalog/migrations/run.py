"""Runs Alembic on a given connection, in one transaction: a failed migration leaves the catalog as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import StaticPool

from rayform_runtime.catalog.schema import ADVISORY_LOCK

__all__ = ["connected", "migrate"]

SCRIPTS = Path(__file__).parent
_URLS = {"sqlite": "sqlite://", "postgresql": "postgresql+psycopg://"}


def connected(dialect: str, connect: Callable[[], Any], work: Callable[[Connection], None]) -> None:
    """Call `work` with an SQLAlchemy connection over a driver's connection, in a transaction, and close it."""
    engine = create_engine(_URLS[dialect], creator=connect, poolclass=StaticPool)
    if dialect == "sqlite":

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            # The driver starts no transactions on its own. Foreign keys can only be switched off outside of one.
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as connection:
            if dialect == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
            work(connection)
    finally:
        engine.dispose()


def migrate(dialect: str, connect: Callable[[], Any], revision: str) -> None:
    """Bring the schema up or down to this revision; does nothing if it is there already.

    Args:
        dialect: `"sqlite"` or `"postgresql"`.
        connect: opens a connection of the driver (`sqlite3`, `psycopg`), which is closed afterwards.
        revision: a revision, `"head"` or `"base"`.
    """
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))

    def work(connection: Connection) -> None:
        config.attributes["connection"] = connection
        current = connection.dialect.has_table(connection, "alembic_version")
        before = (
            connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            if current
            else None
        )
        if revision == "base" or (before is not None and revision.isdigit() and before > revision):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)

    connected(dialect, connect, work)
