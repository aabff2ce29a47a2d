"""Values that lie inside another value and have materializers of their own: each in a folder below `items`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, cast

from rayform_core.files import make_private
from rayform_runtime.artifacts.import_paths import import_path
from rayform_runtime.artifacts.materializers.base import Materializer, prove_saved
from rayform_runtime.artifacts.materializers.registry import (
    check_loadable,
    find,
    resolve_stored_materializer,
    resolve_stored_type,
    unsupported,
)

__all__ = ["ItemReader", "ItemWriter", "RecordedItems", "SameItems"]

_FOLDER, _LIST = "items", "items.json"


class _Item(TypedDict):
    """Import paths of an item's type, and of the materializer that stored it."""

    type: str
    materializer: str


class ItemWriter:
    """Stores items below a folder.

    Args:
        folder: the folder of the whole value.
        owner: the materializer of the whole value, which can't also be that of an item.
        name: how errors call the whole value.

    Attributes:
        originals: the items that are stored, in the order of their numbers.
    """

    def __init__(self, folder: Path, owner: type[Materializer] | None = None, name: str = "value") -> None:
        self._folder = folder
        self._owner = owner
        self._name = name
        self._items: list[_Item] = []
        self.originals: list[object] = []

    def store(self, item: object, where: str) -> int:
        """Store one item, which stands at `where` in the whole value, and return its number.

        Raises:
            UnsupportedTypeError: no materializer takes it.
        """
        kind = type(item)
        chosen = find(kind)
        if chosen is None or chosen is self._owner:
            raise unsupported(kind, inside=f"{self._name}{where}")
        check_loadable(kind, chosen, f"{self._name}{where}")
        number = len(self._items)
        place = self._folder / _FOLDER / str(number)
        make_private(place)
        worker = chosen()
        worker.save(item, place)
        prove_saved(worker, item, place)
        self._items.append({"type": import_path(kind), "materializer": import_path(chosen)})
        self.originals.append(item)
        return number

    def close(self) -> None:
        """Write the list of the items, if there are any."""
        if self._items:
            (self._folder / _LIST).write_bytes(json.dumps(self._items).encode())


class ItemReader:
    """Loads the items that an `ItemWriter` stored below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._items: list[_Item] = []

    def load(self, number: int) -> object:
        """Load one item by its number."""
        if not self._items:
            self._items.extend(json.loads((self._folder / _LIST).read_bytes()))
        item = self._items[number]
        chosen = resolve_stored_materializer(item["materializer"])
        place = self._folder / _FOLDER / str(int(number))
        return chosen().load(place, cast("type", resolve_stored_type(item["type"], chosen)))


class SameItems:
    """Stands in for a writer and a reader when a value is proved: items are the objects that were stored.

    Each item was proved when it was stored, so the proof of the whole value only checks that it stands in its place.
    """

    def __init__(self, originals: Sequence[object]) -> None:
        self.originals = originals
        self._next = 0

    def load(self, number: int) -> object:
        """Return the item with this number."""
        return self.originals[number]

    def store(self, item: object, where: str) -> int:
        """Return the number of the next item, or -1 if that isn't this object."""
        number, self._next = self._next, self._next + 1
        return number if number < len(self.originals) and self.originals[number] is item else -1


class RecordedItems:
    """Keeps items in memory, for the proof of a part of a value."""

    def __init__(self) -> None:
        self.originals: list[object] = []

    def store(self, item: object, where: str) -> int:
        """Keep an item and return its number."""
        self.originals.append(item)
        return len(self.originals) - 1

    def load(self, number: int) -> object:
        """Return the item with this number."""
        return self.originals[number]
