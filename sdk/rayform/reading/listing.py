"""Turns the arguments of the client's lists into queries; ZenML's names of orders and fields are accepted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from rayform.reading.views.base import Page, View
from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from rayform.reading.views.reader import Reader
    from rayform_runtime.catalog import entities
    from rayform_runtime.catalog.entities import Query

__all__ = ["as_uuid", "page_of", "query_of", "to_order"]

R = TypeVar("R")
V = TypeVar("V", bound=View[object])
_FIELDS = {
    "created": "created_at",
    "start_time": "started_at",
    "end_time": "ended_at",
    "pipeline_name": "pipeline",
    "stack": "stack_name",
    "tags": "tag",
}


def as_uuid(text: str | UUID, what: str) -> UUID:
    """Return a UUID.

    Raises:
        UsageError: the text isn't one.
    """
    if isinstance(text, UUID):
        return text
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"'{text}' is not a UUID of a {what}.") from None


def to_order(sort_by: str | None) -> str:
    """Return the order of a `Query`; accepts `"-created_at"` and ZenML's `"desc:created"`."""
    if not sort_by:
        return "-created_at"
    direction, _, field = sort_by.rpartition(":")
    if direction not in ("", "asc", "desc"):
        raise UsageError(
            f"'{sort_by}' is not a valid order.",
            hint="Write the name of a field, with '-' before it for descending order.",
        )
    descending = direction == "desc" or field.startswith("-")
    field = field.removeprefix("-")
    return ("-" if descending else "") + _FIELDS.get(field, field)


def query_of(
    sort_by: str | None, page: int, size: int, filters: Mapping[str, object], *, hydrate: bool = False
) -> Query:
    """Return the catalog's query for the arguments of a list."""
    from rayform_runtime.catalog.entities import Query

    plain = {_FIELDS.get(key, key): _plain(value) for key, value in filters.items() if value is not None}
    return Query(filters=plain, order=to_order(sort_by), page=page, size=size, hydrate=hydrate)


def _plain(value: object) -> object:
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    value = getattr(value, "value", value)
    return str(value) if isinstance(value, UUID) else value


def page_of(
    source: Callable[[Query], entities.Page[R]],
    view: Callable[[R, Reader], V],
    client: Reader,
    query: Query,
) -> Page[V]:
    """Return one page of the catalog, each record as a view."""
    page = source(query)
    views = [view(record, client) for record in page.items]
    return Page(views, page=page.page, size=page.size, total=page.total)
