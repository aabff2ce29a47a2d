"""What the catalog needs of a database: short transactions that are retried, and errors in our own words.

SQL is written once, with `?` for values, in the part of the language that SQLite and PostgreSQL share; where they
differ, `Database` has a method. One file per implementation: `sqlite.py`, `postgres.py`.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar
from uuid import UUID

from rayform_core.errors import UsageError

__all__ = ["CHUNK", "Database", "Row", "Session", "UniqueViolation", "chunks", "marks", "not_text"]

T = TypeVar("T")
Row = tuple[Any, ...]
CHUNK = 500
"""Most values in one `IN (…)`; SQLite takes 999 in old builds."""


class UniqueViolation(Exception):  # noqa: N818 - it never leaves this room
    """A row with this key exists already; `columns` is what the database said of it."""

    def __init__(self, columns: str) -> None:
        self.columns = columns
        super().__init__(columns)


class ForeignKeyViolation(Exception):  # noqa: N818 - it never leaves this room
    """A row refers to one that doesn't exist."""


class Session(Protocol):
    """A connection, inside a transaction or outside of one."""

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Execute one statement and return its rows."""
        ...

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Execute one statement and return how many rows it changed."""
        ...

    def many(self, sql: str, values: Iterable[Sequence[Any]]) -> int:
        """Execute one statement for each set of values; returns how many rows were changed in all."""
        ...


class Database(abc.ABC):
    """Connections to one database; made on first use, shared by threads, dropped in a forked child."""

    name: str
    """`"sqlite"` or `"postgresql"`."""
    where: str
    """The database in words, for errors."""

    def __init__(self) -> None:
        self._ready = False
        self._opening = threading.RLock()

    @abc.abstractmethod
    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction that excludes lost updates, and commit; it may be called again where the
        database was busy or went away, so it must not have other effects."""

    @abc.abstractmethod
    def read(self, work: Callable[[Session], T]) -> T:
        """Run `work` without a transaction; each statement sees what was committed before it."""

    @abc.abstractmethod
    def ensure_schema(self) -> None:
        """Create or migrate the schema where needed."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close all connections."""

    def lock_clause(self) -> str:
        """What to append to a `SELECT` whose rows are going to be changed."""
        return ""

    def within(self, column: str, values: Sequence[Any]) -> Iterable[tuple[str, Sequence[Any]]]:
        """Yield tests, with their values, that together say that a column is one of these."""
        for some in chunks(values):
            yield f"{column} IN ({marks(len(some))})", some

    @abc.abstractmethod
    def put_id(self, id: UUID) -> Any:
        """Return the ID as a statement's value."""

    @abc.abstractmethod
    def get_id(self, value: Any) -> UUID:
        """Return the ID in a row."""

    def get_optional_id(self, value: Any) -> UUID | None:
        """Return the ID in a row, or `None`."""
        return None if value is None else self.get_id(value)


def not_text(error: UnicodeEncodeError) -> UsageError:
    """Explain text that no database takes."""
    return UsageError(
        "A text can't be kept.",
        why=f"It holds {error.object[error.start : error.end]!r:.40}, which is no character (a lone surrogate).",
        hint="Nothing was changed.",
    )


def marks(count: int) -> str:
    """Return `?, ?, …` for that many values."""
    return "?, " * (count - 1) + "?"


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterable[Sequence[T]]:
    """Cut `values` into pieces that fit one statement."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
