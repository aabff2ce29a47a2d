"""Plain Python values, and containers of values that materializers take, as JSON."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import import_path
from rayform_runtime.artifacts.materializers.base import Materializer, NotProvedError, content_of, short
from rayform_runtime.artifacts.materializers.items import ItemReader, ItemWriter, SameItems
from rayform_runtime.artifacts.materializers.json_codec import JSON, Decoder, Encoder
from rayform_runtime.artifacts.stores.interface import CorruptArtifactError

__all__ = ["JsonMaterializer"]

_VALUE = "value.json"
_COMPARED = 1 << 16
"""Bytes; a longer document is decoded before it is committed, and not compared."""


class _HasItemsError(Exception):
    """A value holds an item that only another materializer can store."""


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
    except RecursionError as error:
        raise CorruptArtifactError(
            f"The JSON of a value of type '{import_path(data_type)}' can't be read.",
            why="It is nested too deeply.",
            hint="Restore the artifact from a backup, or run the step again.",
        ) from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CorruptArtifactError(
            f"The JSON of a value of type '{import_path(data_type)}' can't be read.",
            why=f"{type(error).__name__}: {error}.",
            hint="A newer version of Rayform may have written it: upgrade Rayform, or run the step again.",
        ) from error


def _prove(value: object, data: bytes, same: SameItems) -> None:
    """Raise if the JSON of a value doesn't give that value.

    Raises:
        NotProvedError: names the first place where the value would be another one.
    """
    try:
        decoded = json.loads(data, object_hook=Decoder(same.load).hook)
    except Exception as error:
        raise NotProvedError.of(value, f"{type(error).__name__}: {error}", _HINT) from error
    if type(decoded) is not type(value):
        raise NotProvedError.of(value, f"It would be loaded as a '{import_path(type(decoded))}'.", _HINT)
    if len(data) > _COMPARED:
        return
    if b"$" not in data:
        # Without a tag, Python's own types alone are in there, which compare exactly.
        where = "" if decoded == value else _HERE
    else:
        again = _encoded(decoded, same.store)
        where = "" if again == data else _place(json.loads(data), json.loads(again)) or _HERE
    if where:
        raise NotProvedError.of(value, f"At {where}, it would be another value.", _HINT)


_HERE = "its top level"
_HINT = "Return the parts of it that you need as plain values, or write a materializer for its type."


def _place(one: JSON, other: JSON, where: str = "") -> str:
    """Return the first place where two documents differ, or an empty text."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [("" if key[:1] == "$" else f"[{key!r}]", one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"[{n}]", *pair) for n, pair in enumerate(zip(one, other, strict=True))]
    else:
        return "" if one == other and type(one) is type(other) else where or _HERE
    return next((place for name, a, b in pairs if (place := _place(a, b, where + name))), "")


class JsonMaterializer(Materializer):
    """Stores numbers, strings, lists, dicts, tuples, sets, dates, enumerations, dataclasses and pydantic models.

    All values come back with their exact types, nested as they were. Arrays, data frames, models and the like inside
    of them are stored by their own materializers, each in a folder below `items`.
    """

    def __init__(self) -> None:
        self._originals: list[object] = []

    def save(self, value: Any, folder: Path) -> None:
        """Write `value.json`, and the items that need other materializers."""
        items = ItemWriter(folder, JsonMaterializer)
        self._originals = items.originals
        (folder / _VALUE).write_bytes(_encoded(value, items.store))
        items.close()

    def prove(self, value: Any, folder: Path) -> None:
        """Decode the document again and compare.

        Raises:
            NotProvedError: it doesn't give the value.
        """
        _prove(value, (folder / _VALUE).read_bytes(), SameItems(self._originals))

    def prove_files(self, value: Any, files: Mapping[str, bytes]) -> None:
        """Decode the document again and compare.

        Raises:
            NotProvedError: it doesn't give the value.
        """
        _prove(value, files[_VALUE], SameItems(()))

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
            raise KeyError("items.json")

        return _decoded(content_of(files, _VALUE), data_type, no_item)

    def load(self, folder: Path, data_type: type) -> Any:
        """Read the value."""
        with (folder / _VALUE).open("rb", buffering=0) as file:
            data = file.read()
        return _decoded(data, data_type, ItemReader(folder).load)

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
