"""Typed metadata: values that JSON has no word for are kept with their type and come back as they were.

What JSON knows is stored as it is. All else is an object `{"$type": NAME, "value": …}`; a person's own dictionary
with a key `$type` is stored as `{"$type": "dict", "value": [[key, value], …]}` so that it is never mistaken for one.

`Uri`, `Path`, `DType` and `StorageSize` are ZenML's names for text and numbers with a meaning.

Example:
    >>> decode(encode({"size": StorageSize(2048), "at": datetime(2026, 1, 2)}))
    {'size': StorageSize(2048), 'at': datetime.datetime(2026, 1, 2, 0, 0)}
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from rayform_core.errors import UsageError

__all__ = [
    "MAX_KEY_CHARACTERS",
    "MAX_VALUE_BYTES",
    "DType",
    "Path",
    "StorageSize",
    "Uri",
    "decode",
    "decode_json",
    "encode",
    "encode_json",
    "plain",
    "sortable",
]

MAX_VALUE_BYTES = 65_536
"""Most bytes that one value may take as JSON; more belongs into an artifact."""
MAX_KEY_CHARACTERS = 255


class Uri(str):
    """A URI, such as a link to an experiment tracker."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Uri({str.__repr__(self)})"


class Path(str):
    """A path in a file system."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Path({str.__repr__(self)})"


class DType(str):
    """A data type's name, such as `"float64"`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"DType({str.__repr__(self)})"


class StorageSize(int):
    """A size in bytes."""

    def __repr__(self) -> str:
        return f"StorageSize({int(self)})"


_TEXT_TYPES: dict[type[str], str] = {Uri: "uri", Path: "path", DType: "dtype"}


def encode(values: Mapping[str, Any]) -> str | None:
    """Return metadata as JSON text, or `None` where there is none.

    Raises:
        UsageError: a key isn't text, or a value has a type that can't be kept or is too large; names both.
    """
    if not values:
        return None
    return "{" + ",".join(f"{json.dumps(key)}:{text}" for key, text in encode_each(values).items()) + "}"


def encode_each(values: Mapping[str, Any]) -> dict[str, str]:
    """Return each value as JSON text, by key; raises what `encode` raises."""
    encoded = {}
    for key, value in values.items():
        if not isinstance(key, str) or not key or len(key) > MAX_KEY_CHARACTERS:
            raise UsageError(
                f"Metadata key {key!r:.80} can't be used.",
                why=f"Keys are text of 1 to {MAX_KEY_CHARACTERS} characters.",
            )
        text = _dump(value, f"Metadata '{key}'")
        if len(text) > MAX_VALUE_BYTES:
            raise UsageError(
                f"Metadata '{key}' is too large.",
                why=f"It takes {len(text):,} bytes as JSON; {MAX_VALUE_BYTES:,} is the most.",
                hint="Save it as an artifact and keep a summary as metadata.",
            )
        encoded[str(key)] = text
    return encoded


# What `json.loads` calls in the end: for texts of some dozen bytes, the way there takes half of the time.
_decoder = json.JSONDecoder()


def decode(text: str | None) -> dict[str, Any]:
    """Return the metadata in JSON text made by `encode`."""
    if not text:
        return {}
    found = _decoder.raw_decode(text)[0]
    if '"$type"' in text:
        found = {key: _restore(value) for key, value in found.items()}
    return found  # type: ignore[no-any-return]


def encode_json(value: Any, what: str = "The value") -> str | None:
    """Return a JSON document (parameters, specs) as text, or `None` where it is empty.

    Takes plain JSON at the speed of `json.dumps`, and what `encode` takes besides; tuples come back as lists.
    """
    if not value:
        return None
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        return _dump(value, what)
    return _dump(value, what) if '"$type"' in text else text


def decode_json(text: str | None) -> Any:
    """Return the document in JSON text made by `encode_json`; `None` for `None`."""
    if text is None:
        return None
    found = json.loads(text)
    return _restore(found) if '"$type"' in text else found


def plain(value: Any) -> Any:
    """Return a typed value as what plain JSON can show (for `--json` and tables): text, numbers, lists, objects."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=repr)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, PurePath | UUID):
        return str(value)
    if isinstance(value, Enum):
        return plain(value.value)
    return value


def _dump(value: Any, what: str) -> str:
    try:
        return json.dumps(_typed(value, what), allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise UsageError(
            f"{what} can't be kept.", why="It contains itself or is nested too deeply."
        ) from None


_LARGEST_INT_BITS = 4096


def _tagged(kind: str, value: Any) -> dict[str, Any]:
    return {"$type": kind, "value": value}


def _typed(value: Any, what: str) -> Any:
    kind = type(value)
    if kind is str:
        # PostgreSQL refuses to look into JSON that holds this one character.
        return _tagged("text", [*map(ord, value)]) if "\0" in value else value
    if kind is int and value.bit_length() > _LARGEST_INT_BITS:
        return _tagged("int", hex(value))  # Python writes no decimal of so many digits
    if kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if math.isfinite(value) else _tagged("float", str(value))
    if kind is list:
        return [_typed(item, what) for item in value]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and "\0" not in key for key in value) and "$type" not in value:
            return {str(key): _typed(item, what) for key, item in value.items()}
        return _tagged("dict", [[_typed(key, what), _typed(item, what)] for key, item in value.items()])
    if isinstance(value, Enum):
        return _typed(value.value, what)
    return _typed_by_class(value, what)


def _typed_by_class(value: Any, what: str) -> Any:
    if isinstance(value, str):
        name = next((n for cls, n in _TEXT_TYPES.items() if isinstance(value, cls)), None)
        text = str.__str__(value)
        return _typed(text, what) if name is None else _tagged(name, text.replace("\0", "\ufffd"))
    if isinstance(value, StorageSize):
        return _tagged("size", int(value))
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _typed(float(value), what)
    if isinstance(value, datetime):
        return _tagged("datetime", sortable(value))
    if isinstance(value, date):
        return _tagged("date", value.isoformat())
    if isinstance(value, timedelta):
        return _tagged("duration", value / timedelta(microseconds=1))
    if isinstance(value, PurePath):
        return _tagged("path", str(value))
    if isinstance(value, UUID):
        return _tagged("uuid", str(value))
    if isinstance(value, list):
        return [_typed(item, what) for item in value]
    if isinstance(value, tuple):
        return _tagged("tuple", [_typed(item, what) for item in value])
    if isinstance(value, set | frozenset):
        return _tagged("set", sorted((_typed(item, what) for item in value), key=repr))
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return _typed(value.item(), what)
    raise UsageError(
        f"{what} has a value of type '{type(value).__module__}.{type(value).__qualname__}', which can't be kept.",
        why="Metadata are text, numbers, booleans, None, lists, dictionaries, dates, sizes, paths and URIs.",
        hint="Turn it into one of these, or save it as an artifact.",
    )


def sortable(moment: date) -> str:
    """Return ISO 8601 with microseconds always, and UTC where a zone is known: text order is time order."""
    if not isinstance(moment, datetime):
        return moment.isoformat()
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")


def _restore(value: Any) -> Any:
    if isinstance(value, list):
        return [_restore(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("$type")
    if kind is None:
        return {key: _restore(item) for key, item in value.items()}
    restore = _RESTORERS.get(kind)
    # A type that a newer Rayform wrote is shown as it is rather than refused.
    return value if restore is None else restore(value.get("value"))


_RESTORERS: dict[str, Callable[[Any], Any]] = {
    "uri": Uri,
    "path": Path,
    "dtype": DType,
    "text": lambda held: "".join(map(chr, held)),
    "float": float,
    "int": lambda held: int(held, 16),
    "size": StorageSize,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "duration": lambda held: timedelta(microseconds=held),
    "uuid": UUID,
    "tuple": lambda held: tuple(_restore(item) for item in held),
    "set": lambda held: {_restore(item) for item in held},
    "dict": lambda held: {_restore(key): _restore(item) for key, item in held},
}
