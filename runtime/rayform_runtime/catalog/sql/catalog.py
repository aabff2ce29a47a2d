"""`SQLCatalog`: the catalog in SQLite or PostgreSQL, put together from its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayform_runtime.catalog.sql.annotations import AnnotationCatalog
from rayform_runtime.catalog.sql.database import Database, Session
from rayform_runtime.catalog.sql.lineage import LineageCatalog
from rayform_runtime.catalog.sql.models import ModelCatalog
from rayform_runtime.catalog.sql.runs import RunCatalog
from rayform_runtime.catalog.sql.sqlite import SQLiteDatabase

if TYPE_CHECKING:
    from rayform_runtime.catalog.config import PostgresConfig, SQLiteConfig

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
        from rayform_runtime.catalog.config import SQLiteConfig

        if isinstance(config, SQLiteConfig):
            self._begin(SQLiteDatabase(config.path), stack_name)
        else:
            from rayform_runtime.catalog.sql.postgres import PostgresDatabase

            self._begin(PostgresDatabase(config), stack_name)

    @classmethod
    def in_file(cls, path: str, *, stack_name: str) -> SQLCatalog:
        """Return the catalog in a SQLite file.

        The same as building it from a `SQLiteConfig`, without loading pydantic, which takes longer than
        `rayform runs list` takes for all the rest.
        """
        catalog = cls.__new__(cls)
        catalog._begin(SQLiteDatabase(path), stack_name)
        return catalog

    def _begin(self, database: Database, stack_name: str) -> None:
        self.stack_name = stack_name
        self._owned = {}
        self._db = database

    def migrate(self) -> None:
        self._db.ensure_schema()

    def close(self) -> None:
        self._db.close()

    def check(self) -> None:
        def probe(session: Session) -> None:
            session.rows("SELECT 1")

        self._db.write(probe)
