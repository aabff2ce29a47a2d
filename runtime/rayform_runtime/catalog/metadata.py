"""Typed metadata: values that JSON can't express are stored with their type and come back as they were.

JSON's own values are stored as they are; any other is an object `{"$type": NAME, "value": …}`. A user's dictionary with
a key `$type` is stored as `{"$type": "dict", "value": [[key, value], …]}`, so that it is never taken for one.

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
from typing import Any, TypeAlias
from uuid import UUID

from rayform_core.errors import IntegrityError, UsageError
from rayform_core.secret_rules import masked

__all__ = [
    "JSON",
    "MAX_KEY_CHARACTERS",
    "MAX_VALUE_BYTES",
    "DType",
    "Path",
    "StorageSize",
    "Uri",
    "as_stored",
    "decode",
    "decode_json",
    "decode_object",
    "encode",
    "encode_json",
    "plain",
    "sortable",
]

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
"""What JSON can express."""
MAX_VALUE_BYTES = 65_536
"""The most bytes that one value may take as JSON; a larger one belongs into an artifact."""
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


# Both do without what `json.dumps` and `json.loads` do at each call; for some dozen bytes that is half of the time.
_encoded = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_decoder = json.JSONDecoder()


def encode(values: Mapping[str, object]) -> str | None:
    """Return metadata as JSON text, or `None` if there is none; secrets are stored as `********`.

    Raises:
        UsageError: a key isn't text, or a value has a type that can't be kept or is too large; names both.
    """
    if not values:
        return None
    typed = {
        _checked_key(key): masked(key, _converted(value, f"Metadata '{key}'"))
        for key, value in values.items()
    }
    text = _encoded(typed)
    if len(text) > MAX_VALUE_BYTES:
        for key, value in typed.items():
            _refuse_large(key, len(_encoded(value)))
    return text


def _checked_key(key: object) -> str:
    if not isinstance(key, str) or not key or len(key) > MAX_KEY_CHARACTERS:
        raise UsageError(
            f"Metadata key {key!r:.80} can't be used.",
            why=f"Keys are text of 1 to {MAX_KEY_CHARACTERS} characters.",
        )
    return key


def _refuse_large(key: str, size: int) -> None:
    if size > MAX_VALUE_BYTES:
        raise UsageError(
            f"Metadata '{key}' is too large.",
            why=f"It takes {size:,} bytes as JSON; {MAX_VALUE_BYTES:,} is the most.",
            hint="Save it as an artifact and keep a summary as metadata.",
        )


def decode(text: str | None) -> dict[str, object]:
    """Return the metadata in JSON text made by `encode`."""
    if not text:
        return {}
    values: dict[str, object] = _decoder.raw_decode(text)[0]
    return {key: _restore(value) for key, value in values.items()} if '"$type"' in text else values


def as_stored(values: Mapping[str, object]) -> dict[str, object]:
    """Return metadata as they come back from the catalog: made of Python's own types and those of this module.

    No class of a user's code is left in them (a member of an `Enum` becomes its value), so that any process reads them.

    Raises:
        UsageError: as `encode`.
    """
    if all(
        type(value) in (int, bool) and type(key) is str and len(key) < 100 for key, value in values.items()
    ):
        return dict(values)  # what most outputs have, at most
    return decode(encode(values))


def encode_json(value: object, what: str = "The value") -> str | None:
    """Return a JSON document (parameters, specs) as text, or `None` if it is empty.

    Takes plain JSON at the speed of `json.dumps`, and also whatever `encode` takes; tuples come back as lists.
    """
    if not value:
        return None
    try:
        text = _encoded(value)
    except (TypeError, ValueError):
        return _encoded(_converted(value, what))
    return _encoded(_converted(value, what)) if '"$type"' in text else text


def decode_json(text: str | None) -> Any:
    """Return the document in JSON text made by `encode_json`; `None` for `None`."""
    if text is None:
        return None
    try:
        document = json.loads(text)
        return _restore(document) if '"$type"' in text else document
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise IntegrityError(
            "A JSON text in the catalog can't be read.",
            why=f"{type(error).__name__}: {str(error)[:200]}.",
            hint="Another program wrote it: restore the catalog from a backup, or delete the run or artifact.",
        ) from error


def decode_object(text: str | None) -> dict[str, object]:
    """Return the object in JSON text made by `encode_json`; an empty one for `None`."""
    return decode_json(text) or {}


def plain(value: object) -> object:
    """Return a typed value in plain JSON, as `--json` and tables show it."""
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


def _converted(value: object, what: str) -> JSON:
    """Return a value as JSON, with the types that JSON doesn't have.

    Raises:
        UsageError: it can't be kept.
    """
    try:
        return _typed(value, what)
    except RecursionError:
        raise UsageError(
            f"{what} can't be kept.", why="It contains itself or is nested too deeply."
        ) from None


_LARGEST_INT_BITS = 4096


def _tagged(kind: str, value: JSON) -> JSON:
    return {"$type": kind, "value": value}


def _typed(value: object, what: str) -> JSON:
    kind = type(value)
    converter = _EXACT.get(kind)
    if converter is not None:
        return converter(value, what)
    for kinds, converter in _CONVERTERS:
        if isinstance(value, kinds):
            return converter(value, what)
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return _typed(value.item(), what)  # type: ignore[attr-defined]  # a scalar of NumPy, which isn't imported here
    raise UsageError(
        f"{what} has a value of type '{kind.__module__}.{kind.__qualname__}', which can't be kept.",
        why="Metadata are text, numbers, booleans, None, lists, dictionaries, dates, sizes, paths and URIs.",
        hint="Turn it into one of these, or save it as an artifact.",
    )


def _typed_str(value: str, what: str) -> JSON:
    # PostgreSQL refuses to look into JSON that holds this one character.
    return _tagged("text", [*map(ord, value)]) if "\0" in value else value


def _typed_int(value: int, what: str) -> JSON:
    # Python writes no decimal of so many digits.
    return _tagged("int", hex(value)) if value.bit_length() > _LARGEST_INT_BITS else value


def _typed_float(value: float, what: str) -> JSON:
    return value if math.isfinite(value) else _tagged("float", str(value))


def _typed_mapping(value: Mapping[object, object], what: str) -> JSON:
    if all(isinstance(key, str) and "\0" not in key for key in value) and "$type" not in value:
        return {str(key): _typed(item, what) for key, item in value.items()}
    return _tagged("dict", [[_typed(key, what), _typed(item, what)] for key, item in value.items()])


def _typed_items(value: list[object] | tuple[object, ...], what: str) -> JSON:
    return [_typed(item, what) for item in value]


def _typed_set(value: set[object] | frozenset[object], what: str) -> JSON:
    return _tagged("set", sorted((_typed(item, what) for item in value), key=repr))


def _tagged_text(kind: str) -> _Converter:
    return lambda value, what: _tagged(kind, str.__str__(value).replace("\0", "\ufffd"))


_Converter = Callable[[Any, str], JSON]
"""Returns a value as JSON; the text names the value in an error."""
_EXACT: dict[type, _Converter] = {
    str: _typed_str,
    int: _typed_int,
    bool: lambda value, what: value,
    type(None): lambda value, what: value,
    float: _typed_float,
    list: _typed_items,
    dict: _typed_mapping,
}
"""How values of exactly these types are converted; most values are of one of them."""
_CONVERTERS: tuple[tuple[type | tuple[type, ...], _Converter], ...] = (
    (Mapping, _typed_mapping),
    (Enum, lambda value, what: _typed(value.value, what)),
    (Uri, _tagged_text("uri")),
    (Path, _tagged_text("path")),
    (DType, _tagged_text("dtype")),
    (str, lambda value, what: _typed_str(str.__str__(value), what)),
    (StorageSize, lambda value, what: _tagged("size", int(value))),
    (int, lambda value, what: _typed_int(int(value), what)),
    (float, lambda value, what: _typed_float(float(value), what)),
    (datetime, lambda value, what: _tagged("datetime", sortable(value))),
    (date, lambda value, what: _tagged("date", value.isoformat())),
    (timedelta, lambda value, what: _tagged("duration", value / timedelta(microseconds=1))),
    (PurePath, lambda value, what: _tagged("path", str(value))),
    (UUID, lambda value, what: _tagged("uuid", str(value))),
    (list, _typed_items),
    (tuple, lambda value, what: _tagged("tuple", _typed_items(value, what))),
    ((set, frozenset), _typed_set),
)
"""How values of other types are converted; the first one whose types a value has. `datetime` is also a `date`."""


def sortable(moment: date) -> str:
    """Return ISO 8601, always with microseconds, and in UTC if the zone is known: text order is time order."""
    if not isinstance(moment, datetime):
        return moment.isoformat()
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")


def _restore(value: object) -> object:
    if isinstance(value, list):
        return [_restore(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("$type")
    if kind is None:
        return {key: _restore(item) for key, item in value.items()}
    restore = _RESTORERS.get(kind) if isinstance(kind, str) else None
    # A type that a newer Rayform wrote is shown as it is rather than refused.
    return value if restore is None else restore(value.get("value"))


_RESTORERS: dict[str, Callable[[Any], object]] = {
    "uri": Uri,
    "path": Path,
    "dtype": DType,
    "text": lambda stored: "".join(map(chr, stored)),
    "float": float,
    "int": lambda stored: int(stored, 16),
    "size": StorageSize,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "duration": lambda stored: timedelta(microseconds=stored),
    "uuid": UUID,
    "tuple": lambda stored: tuple(_restore(item) for item in stored),
    "set": lambda stored: {_restore(item) for item in stored},
    "dict": lambda stored: {_restore(key): _restore(item) for key, item in stored},
}
"""How a stored value becomes one of its type, by the type's name."""
