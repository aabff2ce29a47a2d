"""What the catalog needs from a database: short transactions that are retried, and errors in our own words.

SQL is written once, with `?` for values, in the part of the language that SQLite and PostgreSQL share. If they
differ, `Database` has a method. Each implementation has a module: `sqlite.py`, `postgres.py`.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar
from uuid import UUID

from rayform_core.errors import UsageError
from rayform_runtime.record_gate import await_record

__all__ = [
    "CHUNK",
    "Database",
    "ForeignKeyViolation",
    "Row",
    "Session",
    "StoredId",
    "UniqueViolation",
    "chunks",
    "marks",
    "not_text",
]

T = TypeVar("T")
Row = tuple[Any, ...]
StoredId = bytes | UUID
"""An ID as the database keeps it: 16 bytes in SQLite, a UUID in PostgreSQL."""
CHUNK = 500
"""The most values in one `IN (…)`; old builds of SQLite take 999."""


class UniqueViolation(Exception):  # noqa: N818 - it never leaves this room
    """A row with this key exists already; `columns` is the database's description of the key."""

    def __init__(self, columns: str) -> None:
        self.columns = columns
        super().__init__(columns)


class ForeignKeyViolation(Exception):  # noqa: N818 - it never leaves this room
    """A row refers to one that doesn't exist."""


class Session(Protocol):
    """A connection, inside or outside a transaction."""

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Execute one statement and return its rows."""
        ...

    def run(self, sql: str, values: Sequence[object] = ()) -> int:
        """Execute one statement and return how many rows it changed."""
        ...

    def many(self, sql: str, values: Iterable[Sequence[object]]) -> int:
        """Execute one statement for each set of values; return how many rows changed in all."""
        ...


class Database(abc.ABC):
    """Connections to one database: opened on first use, shared by threads, dropped in a forked child.

    A transaction of a running step waits until what came before the step is recorded (`record_gate.py`).
    """

    name: str
    """`"sqlite"` or `"postgresql"`."""
    where: str
    """The database in words, for errors."""

    def __init__(self) -> None:
        self._ready = False
        self._opening = threading.RLock()

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction that excludes lost updates, and commit.

        `work` is called again if the database was busy or went away, so it must not have other effects.
        """
        await_record()
        return self._write(work)

    def read(self, work: Callable[[Session], T]) -> T:
        """Run `work` without a transaction; each statement sees what was committed before it."""
        await_record()
        return self._read(work)

    @abc.abstractmethod
    def _write(self, work: Callable[[Session], T]) -> T:
        """Do what `write` promises."""

    @abc.abstractmethod
    def _read(self, work: Callable[[Session], T]) -> T:
        """Do what `read` promises."""

    @abc.abstractmethod
    def ensure_schema(self) -> None:
        """Create or migrate the schema if it isn't current."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close all connections."""

    def lock_clause(self) -> str:
        """Return what a `SELECT` ends with if its rows are going to be changed."""
        return ""

    def within(self, column: str, values: Sequence[object]) -> Iterable[tuple[str, Sequence[object]]]:
        """Yield conditions and their values: together they hold for rows whose column is one of these."""
        for some in chunks(values):
            yield f"{column} IN ({marks(len(some))})", some

    @abc.abstractmethod
    def put_id(self, id: UUID) -> StoredId:
        """Return the ID as a statement's value."""

    def put_optional_id(self, id: UUID | None) -> StoredId | None:
        """Return the ID, or `None`, as a statement's value."""
        return None if id is None else self.put_id(id)

    @abc.abstractmethod
    def get_id(self, value: Any) -> UUID:
        """Return the ID in a row; each database knows its own kind of `StoredId`."""

    def get_optional_id(self, value: StoredId | None) -> UUID | None:
        """Return the ID in a row, or `None`."""
        return None if value is None else self.get_id(value)


def not_text(error: UnicodeEncodeError) -> UsageError:
    """Explain text that no database takes."""
    return UsageError(
        "A text can't be kept.",
        why=f"It holds {error.object[error.start : error.end]!r:.40}, which is not a character (a lone surrogate).",
        hint="Nothing was changed.",
    )


def marks(count: int) -> str:
    """Return `?, ?, …` for that many values."""
    return "?, " * (count - 1) + "?"


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterable[Sequence[T]]:
    """Cut `values` into pieces that fit one statement."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
