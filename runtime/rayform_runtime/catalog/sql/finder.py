"""What all parts of `SQLCatalog` share: the database, pages of lists, and look-ups by name or ID."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar
from uuid import UUID

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_runtime.catalog.entities import Page, Query
from rayform_runtime.catalog.sql.database import Database, Row, Session, StoredId
from rayform_runtime.catalog.sql.filters import Listing, compile_order, compile_where, id_range

__all__ = ["Finder", "Part"]

T = TypeVar("T")
NEIGHBOURS = 2_000
"""How many names an error searches for the nearest ones."""
_FEW = 2_000
"""Rows that are looked up one by one, rather than in the order of a list."""
_SHOWN = 10
"""How many matches an error lists."""
_AFTER_ALL_NAMES = "\U0010ffff"
"""The last code point; it can't be printed, so no name holds it."""


class Finder:
    """Finds rows by name or ID, and reads pages of lists."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        query: Query,
        listing: Listing,
        *,
        columns: str,
        tables: str,
        counted: str,
        entities: Callable[[Session, list[Row]], Sequence[T]],
    ) -> Page[T]:
        """Return a page of a list.

        Args:
            query: filters, order and page.
            listing: what the list can be filtered and sorted by.
            columns, tables: what is selected, and from where.
            counted: the tables that suffice to count the rows.
            entities: turns rows into entities.
        """
        where = compile_where(query, listing, self._database)
        order = compile_order(query, listing)

        def read(session: Session) -> Page[T]:
            with _collector_paused():
                return page(session)

        def page(session: Session) -> Page[T]:
            if where.scans and self._database.name == "sqlite" and not counted.startswith("("):
                return scanned_page(session)
            rows = session.rows(f"SELECT {columns} FROM {tables}{where.sql}{order}", where.values)
            if rows and len(rows) < query.size:
                # The last page shows the total; counting many rows is what costs.
                total = (query.page - 1) * query.size + len(rows)
            else:
                total = session.rows(f"SELECT count(*) FROM {counted}{where.sql}", where.values)[0][0]
            return Page(tuple(entities(session, rows)), query.page, query.size, total)

        def scanned_page(session: Session) -> Page[T]:
            # Counting walks an index that holds the text. If few rows match, it finds them too, faster than a walk in
            # the list's order would; if many do, that walk soon has a page.
            total = session.rows(f"SELECT count(*) FROM {counted}{where.sql}", where.values)[0][0]
            some = where.sql
            if total <= _FEW:
                row = f"{listing.id.partition('.')[0]}.rowid"
                some = f" WHERE {row} IN (SELECT {row} FROM {counted}{where.sql})"
            rows = session.rows(f"SELECT {columns} FROM {tables}{some}{order}", where.values)
            return Page(tuple(entities(session, rows)), query.page, query.size, total)

        return self._database.read(read)

    def find(
        self,
        session: Session,
        table: str,
        what: str,
        ref: str | UUID,
        *,
        has_name: bool = True,
        start_of_name: bool = False,
    ) -> StoredId:
        """Return the stored ID of the row with this name, ID, or unique start of an ID, in this order.

        Args:
            session: where to look.
            table: the table.
            what: a row of it in words, such as `"artifact version"`.
            ref: the name or ID.
            has_name: whether the table has a column `name`.
            start_of_name: whether a unique start of a name also refers to a row; it is tried last.

        Raises:
            ConflictError: several IDs, or several names, start with `ref`; lists them.
            NotFoundError: there is none; names its neighbours.
        """
        if isinstance(ref, UUID):
            stored = self._database.put_id(ref)
            if session.rows(f"SELECT 1 FROM {table} WHERE id = ?", (stored,)):
                return stored
            raise NotFoundError(what, str(ref))
        if not isinstance(ref, str) or not ref:
            raise UsageError(
                f"{ref!r:.80} doesn't name {'an' if what[0] in 'aeiou' else 'a'} {what}.",
                hint=f"Give a name, an ID, or the start of {'either' if start_of_name else 'an ID'}.",
            )
        may_be_name = has_name and "\0" not in ref
        id = self._by_name(session, table, ref) if may_be_name else None
        if id is None:
            id = self._by_start_of_id(session, table, what, ref, has_name)
        if id is None and may_be_name and start_of_name:
            id = self._by_start_of_name(session, table, what, ref)
        if id is None:
            raise NotFoundError(what, ref, known=self.names(session, table) if has_name else [])
        return id

    def _by_name(self, session: Session, table: str, name: str) -> StoredId | None:
        rows = session.rows(f"SELECT id FROM {table} WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def _by_start_of_id(
        self, session: Session, table: str, what: str, start: str, has_name: bool
    ) -> StoredId | None:
        ids = id_range(start, self._database)
        if ids is None:
            return None
        rows = session.rows(
            f"SELECT id, {'name' if has_name else 'id'} FROM {table} WHERE id >= ? AND id <= ? "
            f"ORDER BY id LIMIT {_SHOWN + 1}",
            ids,
        )
        shown = [f"{self._database.get_id(id)}" + (f" ('{name}')" if has_name else "") for id, name in rows]
        return _only(
            rows, shown, f"More than one {what} has an ID that starts with '{start}'.", "more of the ID"
        )

    def _by_start_of_name(self, session: Session, table: str, what: str, start: str) -> StoredId | None:
        # The index on names answers a range, since both databases order names by code point.
        rows = session.rows(
            f"SELECT id, name FROM {table} WHERE name >= ? AND name < ? ORDER BY name LIMIT {_SHOWN + 1}",
            (start, start + _AFTER_ALL_NAMES),
        )
        shown = [f"'{name}' ({self._database.get_id(id)})" for id, name in rows]
        return _only(
            rows,
            shown,
            f"More than one {what} has a name that starts with '{start}'.",
            "more of the name, or the ID",
        )

    def names(self, session: Session, table: str) -> list[str]:
        """Return the newest names in a table, for an error that looks for the nearest one."""
        rows = session.rows(f"SELECT name FROM {table} ORDER BY id DESC LIMIT {NEIGHBOURS}")
        return [name for (name,) in rows]


class Part:
    """A part of `SQLCatalog`: what the catalog knows about one subject."""

    def __init__(self, database: Database, finder: Finder) -> None:
        self._database = database
        self._finder = finder


def _only(rows: Sequence[Row], shown: Sequence[str], message: str, more: str) -> StoredId | None:
    """Return the ID of the only row, or `None` if there is none.

    Raises:
        ConflictError: there are several.
    """
    if len(rows) > 1:
        listed = ", ".join(shown[:_SHOWN])
        raise ConflictError(
            message,
            why=f"These do: {listed}{', …' if len(rows) > _SHOWN else ''}.",
            hint=f"Give {more}.",
        )
    return rows[0][0] if rows else None


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep Python from looking for garbage among thousands of new entities: that takes a third of a page's time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
