"""Plain Python values, and containers of values that materializers take, as JSON."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import import_path, resolve
from rayform_runtime.artifacts.materializers.base import Materializer, content_of, short
from rayform_runtime.artifacts.materializers.json_codec import Decoder, Encoder
from rayform_runtime.artifacts.materializers.registry import find, resolve_materializer, unsupported
from rayform_runtime.artifacts.stores.interface import CorruptArtifactError

__all__ = ["JsonMaterializer"]

_VALUE, _ITEMS = "value.json", "items.json"


class _HasItemsError(Exception):
    """A value holds an item that only another materializer can store."""


class _Item(TypedDict):
    """Import paths of an item's type, and of the materializer that stored it."""

    type: str
    materializer: str


def _encoded(value: object, store_item: Callable[[object, str], int]) -> bytes:
    try:
        encoded = Encoder(store_item).encode(value)
        return json.dumps(encoded, separators=(",", ":"), allow_nan=False).encode()
    except RecursionError as error:
        raise UsageError(
            f"A value of type '{import_path(type(value))}' can't be stored.",
            why="It contains itself, or is nested too deeply.",
            hint="Return a flat list with references by index or key.",
        ) from error


def _decoded(data: bytes, data_type: type, load_item: Callable[[int], object]) -> object:
    try:
        return json.loads(data, object_hook=Decoder(load_item).hook)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CorruptArtifactError(
            f"The JSON of a value of type '{import_path(data_type)}' can't be read.",
            why=f"{type(error).__name__}: {error}.",
            hint="A newer version of Rayform may have written it: upgrade Rayform, or run the step again.",
        ) from error


class JsonMaterializer(Materializer):
    """Stores numbers, strings, lists, dicts, tuples, sets, dates, enumerations, dataclasses and pydantic models.

    All values come back with their exact types, nested as they were. Arrays, data frames, models and the like inside
    of them are stored by their own materializers, each in a folder below `items`.
    """

    def save(self, value: Any, folder: Path) -> None:
        """Write `value.json`, and the items that need other materializers."""
        items: list[_Item] = []

        def store_item(item: object, where: str) -> int:
            kind = type(item)
            chosen = find(kind)
            if chosen is None or chosen is JsonMaterializer:
                raise unsupported(kind, inside=f"value{where}")
            number = len(items)
            items.append({"type": import_path(kind), "materializer": import_path(chosen)})
            place = folder / "items" / str(number)
            place.mkdir(mode=0o700, parents=True)
            chosen().save(item, place)
            return number

        data = _encoded(value, store_item)
        (folder / _VALUE).write_bytes(data)
        if items:
            (folder / _ITEMS).write_bytes(json.dumps(items).encode())

    def to_files(self, value: Any) -> dict[str, bytes] | None:
        """Return `value.json`, or `None` if items need other materializers."""

        def refuse_item(item: object, where: str) -> int:
            raise _HasItemsError

        try:
            return {_VALUE: _encoded(value, refuse_item)}
        except _HasItemsError:
            return None

    def from_files(self, files: Mapping[str, bytes], data_type: type) -> Any:
        """Read the value."""

        def no_item(number: int) -> object:
            raise KeyError(_ITEMS)

        return _decoded(content_of(files, _VALUE), data_type, no_item)

    def load(self, folder: Path, data_type: type) -> Any:
        """Read the value."""
        items: list[_Item] = []

        def load_item(number: int) -> object:
            if not items:
                items.extend(json.loads((folder / _ITEMS).read_bytes()))
            item = items[number]
            chosen = resolve_materializer(item["materializer"])()
            return chosen.load(folder / "items" / str(int(number)), cast("type", resolve(item["type"])))

        with (folder / _VALUE).open("rb", buffering=0) as file:
            data = file.read()
        return _decoded(data, data_type, load_item)

    def extract_metadata(self, value: Any) -> dict[str, Any]:
        """Return the number itself, the length of a container, or the names of fields."""
        kind = type(value)
        if kind is bool or (kind is int and abs(value) < 1 << 53) or (kind is float and value - value == 0):
            return {"value": value}
        fields = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", None)
        if fields:
            return {"fields": list(fields)}
        try:
            return {"length": len(value)}
        except (TypeError, OverflowError):
            return {}

    def summary(self, value: Any) -> str:
        """Return its short form."""
        return short(_Short().repr(value))


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 4
        self.maxlevel = 3
        self.maxstring = self.maxother = 40

    def repr_int(self, x: int, level: int) -> str:
        return (
            super().repr_int(x, level) if x.bit_length() < 4096 else f"an integer of {x.bit_length():,} bits"
        )

    def repr_instance(self, x: object, level: int) -> str:
        # Making the text of an array or a data frame takes longer than storing it.
        if type(x).__module__.partition(".")[0] in (
            "numpy",
            "pandas",
            "polars",
            "pyarrow",
            "torch",
            "sklearn",
        ):
            shape = getattr(x, "shape", None)
            return type(x).__name__ + ("" if shape is None else f"{tuple(shape)}")
        return super().repr_instance(x, level)
