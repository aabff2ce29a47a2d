"""How the client's lists turn arguments into queries: ZenML's ways to name an order or a field are understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from rayform.reading.views import Page, View
from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from rayform.reading.client import Client
    from rayform_runtime.catalog import entities

__all__ = ["as_uuid", "page_of", "to_order"]

V = TypeVar("V", bound=View)
R = TypeVar("R")
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
        UsageError: the text is none.
    """
    if isinstance(text, UUID):
        return text
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"'{text}' is no UUID of a {what}.") from None


def to_order(sort_by: str | None) -> str:
    """Return the order of a `Query`; takes `"-created_at"` and ZenML's `"desc:created"`."""
    if not sort_by:
        return "-created_at"
    direction, _, field = sort_by.rpartition(":")
    if direction not in ("", "asc", "desc"):
        raise UsageError(f"'{sort_by}' is no order.", hint="Write a field's name, '-' before it to descend.")
    descending = direction == "desc" or field.startswith("-")
    field = field.removeprefix("-")
    return ("-" if descending else "") + _FIELDS.get(field, field)


def page_of(
    source: Callable[..., entities.Page[R]],
    view: Callable[[R, Client], V],
    client: Client,
    sort_by: str | None,
    page: int,
    size: int,
    filters: Mapping[str, Any],
    *,
    hydrate: bool = False,
) -> Page[V]:
    """Ask the catalog for one page and wrap its records."""
    from rayform_runtime.catalog.entities import Query

    renamed = {_FIELDS.get(key, key): _plain(value) for key, value in filters.items() if value is not None}
    found = source(Query(filters=renamed, order=to_order(sort_by), page=page, size=size, hydrate=hydrate))
    return Page(
        [view(record, client) for record in found.items], page=found.page, size=found.size, total=found.total
    )


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    value = getattr(value, "value", value)
    return str(value) if isinstance(value, UUID) else value
