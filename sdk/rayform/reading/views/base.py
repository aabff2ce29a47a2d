"""What all views share: tables for notebooks, pages, and dicts that name the nearest key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from rayform.reading.notebook import html_pairs, html_table, text_pairs
from rayform_core.errors import NotFoundError

if TYPE_CHECKING:
    from rayform.reading.client import Client

__all__ = ["Names", "Page", "View"]

V = TypeVar("V", bound="View")


class View:
    """A record of the catalog and the client that it came from."""

    client: Client

    def summary(self) -> dict[str, Any]:
        """Return what a table shows of it, by heading."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return text_pairs(type(self).__name__.removesuffix("View"), self.summary())

    def _repr_html_(self) -> str:
        return html_pairs(type(self).__name__.removesuffix("View"), self.summary())

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and getattr(self, "id", None) == getattr(other, "id", self)

    def __hash__(self) -> int:
        return hash(getattr(self, "id", None))


class Page(Sequence[V], Generic[V]):
    """One page of a list; iterate over it, or over `.items`.

    Attributes:
        items: the items.
        page, size, total: which page, how many items on a full one, how many in all.
    """

    def __init__(self, items: Sequence[V], *, page: int, size: int, total: int) -> None:
        self.items = list(items)
        self.page = page
        self.size = size
        self.total = total

    @property
    def total_pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.total // self.size))

    @property
    def index(self) -> int:  # type: ignore[override]
        """Which page this is, from 1 (ZenML's name)."""
        return self.page

    @property
    def max_size(self) -> int:
        """How many items a full page has (ZenML's name)."""
        return self.size

    @overload
    def __getitem__(self, index: int) -> V: ...
    @overload
    def __getitem__(self, index: slice) -> list[V]: ...
    def __getitem__(self, index: int | slice) -> V | list[V]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[V]:
        return iter(self.items)

    def _title(self) -> str:
        return f"Page {self.page} of {self.total_pages}, {self.total} in all"

    def __repr__(self) -> str:
        rows = [" | ".join(str(v) for v in item.summary().values()) for item in self.items]
        return "\n".join([self._title(), *rows])

    def _repr_html_(self) -> str:
        return html_table(self._title(), [item.summary() for item in self.items])


class Names(dict[str, V]):
    """A dict whose missing keys raise an error that names the nearest ones (and is a `KeyError` too)."""

    def __init__(self, kind: str, where: str, items: Mapping[str, V]) -> None:
        super().__init__(items)
        self._kind, self._where = kind, where

    def __missing__(self, key: str) -> V:
        raise _MissingNameError(f"{self._kind} in {self._where} called", str(key), known=list(self))


class _MissingNameError(NotFoundError, KeyError):
    """Both of our tree and what a dict raises."""
