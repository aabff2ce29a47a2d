"""The query of a list and the page that answers it; both can be imported from `entities.py` too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Page", "Query"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Query:
    """Filters, order and page of a list.

    Args:
        filters: the value that a field must have, by the field's name. A list means "any of these". A string with
            a prefix `gte:`, `lte:`, `gt:`, `lt:`, `ne:`, `contains:` or `startswith:` is compared that way (`eq:`
            is for values that begin like a prefix). All comparisons in a list must hold, so `["gte:2", "lt:5"]`
            is a range. `tag` is a tag, or several that an item must all have; `metadata.<key>` is a metadata
            value. An unknown field raises `UsageError`, which names the nearest one.
        order: the field to sort by, with `-` before it for descending; newest first by default.
        page: which page, from 1.
        size: items on a page, at most 10,000.
        hydrate: whether to load also what lists leave out (metadata, spec).
    """

    filters: Mapping[str, object] = field(default_factory=dict)
    order: str = "-created_at"
    page: int = 1
    size: int = 20
    hydrate: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `total` counts the items on all pages."""

    items: tuple[T, ...]
    page: int
    size: int
    total: int

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.total // self.size))
