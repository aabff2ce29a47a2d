"""`SQLCatalog`: the catalog in SQLite or PostgreSQL, put together from its parts."""

from __future__ import annotations

from rayform_runtime.catalog.annotations import AnnotationCatalog
from rayform_runtime.catalog.config import PostgresConfig, SQLiteConfig
from rayform_runtime.catalog.database import Database, Session
from rayform_runtime.catalog.lineage import LineageCatalog
from rayform_runtime.catalog.models import ModelCatalog
from rayform_runtime.catalog.runs import RunCatalog
from rayform_runtime.catalog.sqlite import SQLiteDatabase

__all__ = ["SQLCatalog"]


class SQLCatalog(RunCatalog, LineageCatalog, ModelCatalog, AnnotationCatalog):
    """A stack's catalog. Connects, and creates or migrates the schema, when it is first used.

    Args:
        config: which database.
        stack_name: the stack that it belongs to.

    Raises:
        ModuleNotFoundError: PostgreSQL's driver isn't installed (`rayform[postgres]`).

    Example:
        >>> catalog = SQLCatalog(SQLiteConfig(path="/tmp/catalog.db"), stack_name="default")
        >>> catalog.list_runs().total  # doctest: +SKIP
        0
    """

    def __init__(self, config: SQLiteConfig | PostgresConfig, *, stack_name: str) -> None:
        self.stack_name = stack_name
        self._owned = {}
        self._db: Database
        if isinstance(config, SQLiteConfig):
            self._db = SQLiteDatabase(config.path)
        else:
            from rayform_runtime.catalog.postgres import PostgresDatabase

            self._db = PostgresDatabase(config)

    def migrate(self) -> None:
        self._db.ensure_schema()

    def close(self) -> None:
        self._db.close()

    def check(self) -> None:
        def probe(session: Session) -> None:
            session.rows("SELECT 1")

        self._db.write(probe)
