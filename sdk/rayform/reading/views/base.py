"""What all views share: fields of records, tables for notebooks, pages, and dicts that name the nearest key."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Never, TypeVar, overload

from rayform.reading.notebook import html_pairs, html_table, text_pairs
from rayform_core.errors import NotFoundError

if TYPE_CHECKING:
    from rayform.reading.views.reader import Reader

__all__ = ["Config", "Field", "Names", "Page", "TagName", "View", "tag_names"]

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
V = TypeVar("V", bound="View[object]")


class View(Generic[R_co]):
    """A record of the catalog, and the client that returned it."""

    def __init__(self, record: R_co, client: Reader) -> None:
        self.record = record
        self.client = client

    def summary(self) -> dict[str, object]:
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


class Field(Generic[T]):
    """A read-only property of a view that reads one field of its record.

    The docstring below a field describes it. Editors show that docstring; `help()` reads it from the source.

    Args:
        name: the record's name of the field; the property's own name by default.
        copy: makes a copy of the value, so that a user can't change the record.
    """

    def __init__(self, name: str = "", copy: Callable[..., T] | None = None) -> None:
        self._name = name
        self._copy = copy

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner, self._property = owner, name
        self._name = self._name or name

    @overload
    def __get__(self, view: None, owner: type) -> Field[T]: ...
    @overload
    def __get__(self, view: View[object], owner: type) -> T: ...
    def __get__(self, view: View[object] | None, owner: type) -> T | Field[T]:
        if view is None:
            return self
        value: T = getattr(view.record, self._name)
        return value if self._copy is None else self._copy(value)

    def __set__(self, view: View[object], value: Never) -> Never:
        raise AttributeError(f"'{self._property}' of '{type(view).__name__}' can't be set.")

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]  # read on demand: it needs the source
        return _field_docstrings(self._owner).get(self._property)


def _field_docstrings(view: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class, by property; empty if its source isn't there."""
    import ast
    import inspect
    import textwrap

    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(view))).body[0]
    except OSError:
        return {}
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in itertools.pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(text.value.value, str)
    }


class Config(dict[str, Any]):
    """JSON of a run or a step, whose keys are attributes too: `run.config.extra["team"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(f"There is no '{name}' here; there are: {', '.join(self)}.") from None
        return Config(value) if isinstance(value, dict) else value


class TagName(str):
    """A tag, as text; its `name` is the same text (ZenML's form)."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The tag."""
        return str(self)


def tag_names(tags: Iterable[str]) -> list[TagName]:
    """Return tags as a list that a user may change."""
    return list(map(TagName, tags))


class Page(Sequence[V], Generic[V]):
    """One page of a list; iterate over it, or over `.items`.

    Attributes:
        items: the items.
        page: which page this is, from 1.
        size: how many items a full page has.
        total: how many items all pages have.
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
    """A missing key: an error of Rayform, and the `KeyError` that a dict raises."""
