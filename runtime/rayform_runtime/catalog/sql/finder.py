"""What all parts of `SQLCatalog` share: pages of a list, finding things by name or ID, tags beside their rows."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_runtime.catalog.entities import Page, Query, Subject
from rayform_runtime.catalog.interface import Catalog
from rayform_runtime.catalog.sql.database import Database, Row, Session
from rayform_runtime.catalog.sql.filters import Listing, compile_order, compile_where, id_range

__all__ = ["SQLBase"]

T = TypeVar("T")
NEIGHBOURS = 2_000
"""How many names an error looks through for the nearest ones."""
_AFTER_ALL_NAMES = "\U0010ffff"
"""The last code point there is; it can't be printed, so that no name holds it."""


class SQLBase(Catalog):
    """Holds the database; `SQLCatalog` puts the parts together."""

    _db: Database

    def _page(
        self,
        query: Query,
        listing: Listing,
        *,
        columns: str,
        tables: str,
        counted: str,
        records: Callable[[Session, list[Row]], Sequence[T]],
    ) -> Page[T]:
        where = compile_where(query, listing, self._db)
        order = compile_order(query, listing)

        def read(session: Session) -> Page[T]:
            with _collector_paused():
                return page(session)

        def page(session: Session) -> Page[T]:
            rows = session.rows(f"SELECT {columns} FROM {tables}{where.sql}{order}", where.values)
            if rows and len(rows) < query.size:
                # The last page tells the total by itself; counting many rows is what costs.
                total = (query.page - 1) * query.size + len(rows)
            else:
                total = session.rows(f"SELECT count(*) FROM {counted}{where.sql}", where.values)[0][0]
            return Page(tuple(records(session, rows)), query.page, query.size, total)

        return self._db.read(read)

    def _find(
        self,
        session: Session,
        table: str,
        what: str,
        ref: str | UUID,
        name: str | None = "name",
        *,
        start_of_name: bool = False,
    ) -> Any:
        """Return the stored ID that a name, an ID or a unique start of an ID stands for.

        With `start_of_name`, a unique start of a name stands for it too; it comes last.
        """
        if isinstance(ref, UUID):
            id = self._db.put_id(ref)
            if session.rows(f"SELECT 1 FROM {table} WHERE id = ?", (id,)):
                return id
            raise NotFoundError(what, str(ref))
        if not isinstance(ref, str) or not ref:
            raise UsageError(
                f"{ref!r:.80} doesn't name {'an' if what[0] in 'aeiou' else 'a'} {what}.",
                hint=f"Give a name, an ID, or the start of {'either' if start_of_name else 'an ID'}.",
            )
        if name is not None and "\0" not in ref:
            rows = session.rows(f"SELECT id FROM {table} WHERE {name} = ?", (ref,))
            if rows:
                return rows[0][0]
        found = id_range(ref, self._db)
        if found is not None:
            label = name or "id"
            rows = session.rows(
                f"SELECT id, {label} FROM {table} WHERE id >= ? AND id <= ? ORDER BY id LIMIT 11", found
            )
            if len(rows) > 1:
                shown = ", ".join(
                    str(self._db.get_id(id)) + (f" ('{text}')" if name else "") for id, text in rows[:10]
                )
                raise ConflictError(
                    f"More than one {what} has an ID that starts with '{ref}'.",
                    why=f"These do: {shown}{', …' if len(rows) > 10 else ''}.",
                    hint="Give more of the ID.",
                )
            if rows:
                return rows[0][0]
        if start_of_name and name is not None and "\0" not in ref:
            # A range, which the index on names answers, since names are ordered by code point in both databases.
            rows = session.rows(
                f"SELECT id, {name} FROM {table} WHERE {name} >= ? AND {name} < ? ORDER BY {name} LIMIT 11",
                (ref, ref + _AFTER_ALL_NAMES),
            )
            if len(rows) > 1:
                shown = ", ".join(f"'{text}' ({self._db.get_id(id)})" for id, text in rows[:10])
                raise ConflictError(
                    f"More than one {what} has a name that starts with '{ref}'.",
                    why=f"These do: {shown}{', …' if len(rows) > 10 else ''}.",
                    hint="Give more of the name, or the ID.",
                )
            if rows:
                return rows[0][0]
        raise NotFoundError(what, ref, known=self._names(session, table, name))

    def _names(self, session: Session, table: str, name: str | None) -> list[str]:
        if name is None:
            return []
        order = "id DESC" if table in ("runs", "models", "artifacts") else "created_at DESC"
        return [
            row[0] for row in session.rows(f"SELECT {name} FROM {table} ORDER BY {order} LIMIT {NEIGHBOURS}")
        ]

    def _add_tags(
        self, session: Session, subject: Subject, tagged: Sequence[tuple[Any, Sequence[str]]]
    ) -> None:
        rows = [(subject.value, tag, id) for id, tags in tagged for tag in tags]
        if rows:
            session.many(
                "INSERT INTO tags (subject, tag, subject_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows
            )


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep Python from looking for garbage among thousands of records that are being made: a third of a page's time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
