"""Python values as JSON and back, with their exact types.

What JSON knows stands for itself. All else is an object with one key that begins with `$`:
`{"$tuple": [1, 2]}`, `{"$float": "nan"}`, `{"$enum": ["module:Color", "RED"]}`. A dict with keys that aren't
strings, or that begin with `$`, is a `$dict` of pairs. A value that only another materializer takes (an array in
a list) is `{"$item": 0}` and lies in a folder of its own.
"""

from __future__ import annotations

import dataclasses
import math
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC
from typing import Any

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import TypeChangedError, import_path, is_importable, resolve

__all__ = ["Decoder", "Encoder"]

_SMALL = 4096  # bytes; more goes into a file of its own
_PLAIN = frozenset((str, bool, type(None)))
# Python refuses to read decimal integers of more than 4,300 digits.
_LARGEST_INT = 1 << 4096


def _numbers_are_plain(values: Any, kinds: set[type]) -> bool:
    if float in kinds and not all(math.isfinite(v) for v in values if type(v) is float):
        return False
    return int not in kinds or all(-_LARGEST_INT < v < _LARGEST_INT for v in values if type(v) is int)


class Encoder:
    """Turns one value into what `json.dumps` takes.

    Args:
        store_item: stores a value that another materializer takes and returns its number; raises where none
            does. Its second argument says where in the whole value it is, as in `['scores'][0]`.
    """

    def __init__(self, store_item: Callable[[Any, str], int]) -> None:
        self._store_item = store_item
        self._importable: dict[type, bool] = {}

    def encode(self, value: Any, where: str = "") -> Any:
        """Return the JSON form of `value`."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is int:
            return value if -_LARGEST_INT < value < _LARGEST_INT else {"$int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if kind is list:
            return self._list(value, where)
        if kind is dict:
            return self._dict(value, where)
        known = _ENCODERS.get(f"{kind.__module__}:{kind.__qualname__}")
        return known(self, value, where) if known else self._structure(value, kind, where)

    def _list(self, value: Any, where: str) -> list[Any]:
        kinds = set(map(type, value))
        if kinds <= _SCALARS and _numbers_are_plain(value, kinds):
            return value if type(value) is list else list(value)
        return [self.encode(item, f"{where}[{index}]") for index, item in enumerate(value)]

    def _dict(self, value: dict[Any, Any], where: str) -> dict[str, Any]:
        if all(type(key) is str and key[:1] != "$" for key in value):
            kinds = set(map(type, value.values()))
            if kinds <= _SCALARS and _numbers_are_plain(value.values(), kinds):
                return value
            return {key: self.encode(item, f"{where}[{key!r}]") for key, item in value.items()}
        return {"$dict": self._pairs(value, where)}

    def _pairs(self, value: dict[Any, Any], where: str) -> list[list[Any]]:
        return [
            [self.encode(key, f"{where}.keys()"), self.encode(item, f"{where}[{key!r:.80}]")]
            for key, item in value.items()
        ]

    def _set(self, value: Any, where: str) -> list[Any]:
        import json

        # In the order of their JSON, so that equal sets have equal digests.
        return sorted((self.encode(item, f"{where}{{…}}") for item in value), key=json.dumps)

    def _structure(self, value: Any, kind: type, where: str) -> Any:
        names = {f"{base.__module__}:{base.__qualname__}" for base in kind.__mro__}
        if "numpy:generic" in names or "numpy:ndarray" in names:
            small = _small_array(value)
            return small if small is not None else {"$item": self._store_item(value, where)}
        own = _taken_by_a_person(kind)
        if not own and "enum:Enum" in names and value.name is not None and "|" not in value.name:
            return {"$enum": [self._path(kind, where), value.name]}
        if not own and "enum:Flag" in names:
            return {"$flag": [self._path(kind, where), value.value]}
        if not own and issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return {"$namedtuple": [self._path(kind, where), self._list(tuple(value), where)]}
        if not own and "pydantic.main:BaseModel" in names:
            from rayform_runtime.artifacts.materializers.pydantic_codec import encode_model

            return {"$pydantic": [self._path(kind, where), encode_model(self, value, where)]}
        if not own and dataclasses.is_dataclass(kind) and kind.__new__ is object.__new__:
            return {"$dataclass": [self._path(kind, where), self._attributes(value, where)]}
        return {"$item": self._store_item(value, where)}

    def _attributes(self, value: Any, where: str) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(value)]
        # Attributes beside the fields come from __post_init__, which isn't run again.
        names += [name for name in getattr(value, "__dict__", ()) if name not in names]
        return {
            name: self.encode(getattr(value, name), f"{where}.{name}")
            for name in names
            if hasattr(value, name)
        }

    def _path(self, kind: type, where: str) -> str:
        if kind not in self._importable:
            self._importable[kind] = is_importable(kind)
        if not self._importable[kind]:
            raise UsageError(
                f"A value of type '{import_path(kind)}' can't be stored{f' (at {where})' if where else ''}.",
                why="The type can't be imported by that name, so that no other process could load the value.",
                hint="Define the class at the top level of a module.",
            )
        return import_path(kind)


_SCALARS = frozenset((str, bool, type(None), int, float))


def _taken_by_a_person(kind: type) -> bool:
    from rayform_runtime.artifacts.materializers.registry import find

    found = find(kind)
    return found is not None and not found.__module__.startswith("rayform_runtime.")


def _small_array(value: Any) -> dict[str, Any] | None:
    import numpy as np

    kind = type(value)
    if kind is not np.ndarray and not isinstance(value, np.generic):
        return None
    if value.nbytes > _SMALL or value.dtype.hasobject or value.dtype.names is not None:
        return None
    data = b64encode(np.asarray(value).tobytes()).decode()
    if isinstance(value, np.generic):
        # The readable form is for people who open the file; `data` is what is loaded.
        return {"$numpy": [value.dtype.str, data, str(value)]}
    return {"$ndarray": [value.dtype.str, list(value.shape), data]}


def _zone(value: Any, where: str) -> Any:
    zone = value.tzinfo
    if zone is None:
        return None
    key = getattr(zone, "key", None)
    if isinstance(key, str) and type(zone).__module__.startswith("zoneinfo"):
        return key
    import datetime

    if type(zone) is datetime.timezone:
        return [zone.utcoffset(None).total_seconds(), zone.tzname(None)]
    raise UsageError(
        f"A time with zone {zone!r} can't be stored{f' (at {where})' if where else ''}.",
        why=f"Its zone is of type '{import_path(type(zone))}'.",
        hint="Use `zoneinfo.ZoneInfo` or `datetime.timezone`, for instance value.astimezone(timezone.utc).",
    )


def _encode_time(encoder: Encoder, value: Any, where: str) -> Any:
    naive = value.replace(tzinfo=None, fold=0)
    return {f"${type(value).__name__}": [naive.isoformat(), _zone(value, where), value.fold]}


def _encode_default_dict(encoder: Encoder, value: Any, where: str) -> Any:
    factory = value.default_factory
    path = None
    if factory is not None:
        if not isinstance(factory, type):
            raise UsageError(
                f"A defaultdict can't be stored{f' (at {where})' if where else ''}.",
                why=f"Its factory {factory!r:.100} isn't a class, and a function can't be stored.",
                hint="Return dict(value), or use a class such as `list` or `int`.",
            )
        path = encoder._path(factory, where)
    return {"$defaultdict": [path, encoder._pairs(value, where)]}


def _encode_bytes(encoder: Encoder, value: Any, where: str) -> Any:
    if type(value) is bytes and len(value) > _SMALL:
        return {"$item": encoder._store_item(value, where)}
    return {f"${type(value).__name__}": b64encode(value).decode()}


_ENCODERS: dict[str, Callable[[Encoder, Any, str], Any]] = {
    "builtins:tuple": lambda e, v, w: {"$tuple": e._list(v, w)},
    "builtins:set": lambda e, v, w: {"$set": e._set(v, w)},
    "builtins:frozenset": lambda e, v, w: {"$frozenset": e._set(v, w)},
    "builtins:complex": lambda e, v, w: {"$complex": [e.encode(v.real), e.encode(v.imag)]},
    "builtins:range": lambda e, v, w: {"$range": [e.encode(v.start), e.encode(v.stop), e.encode(v.step)]},
    "builtins:bytes": _encode_bytes,
    "builtins:bytearray": _encode_bytes,
    "datetime:datetime": _encode_time,
    "datetime:time": _encode_time,
    "datetime:date": lambda e, v, w: {"$date": v.isoformat()},
    "datetime:timedelta": lambda e, v, w: {"$timedelta": [v.days, v.seconds, v.microseconds]},
    "uuid:UUID": lambda e, v, w: {"$uuid": str(v)},
    "decimal:Decimal": lambda e, v, w: {"$decimal": str(v)},
    "fractions:Fraction": lambda e, v, w: {"$fraction": [e.encode(v.numerator), e.encode(v.denominator)]},
    "pathlib:PurePosixPath": lambda e, v, w: {"$purepath": str(v)},
    "collections:OrderedDict": lambda e, v, w: {"$ordereddict": e._pairs(v, w)},
    "collections:Counter": lambda e, v, w: {"$counter": e._pairs(v, w)},
    "collections:deque": lambda e, v, w: {"$deque": [e._list(list(v), w), v.maxlen]},
    "collections:defaultdict": _encode_default_dict,
}


def _encode_timestamp(encoder: Encoder, value: Any, where: str) -> Any:
    return {"$timestamp": [value.tz_localize(None).isoformat(), _zone(value, where), value.unit, value.fold]}


def _encode_pandas_timedelta(encoder: Encoder, value: Any, where: str) -> Any:
    return {"$pdtimedelta": [int(value.asm8.view("i8")), value.unit]}


# pandas 3 shows its types at the top of the package, pandas 2 where they are defined.
for _place in ("pandas", "pandas._libs.tslibs.timestamps"):
    _ENCODERS[_place + ":Timestamp"] = _encode_timestamp
for _place in ("pandas", "pandas._libs.tslibs.timedeltas"):
    _ENCODERS[_place + ":Timedelta"] = _encode_pandas_timedelta


class Decoder:
    """Turns the JSON form back into the value; `Decoder(...).hook` is `json.loads`'s `object_hook`.

    Args:
        load_item: loads a value that another materializer stored, by its number.
    """

    def __init__(self, load_item: Callable[[int], Any]) -> None:
        self._load_item = load_item

    def hook(self, document: dict[str, Any]) -> Any:
        """Return the value of one JSON object whose members are decoded already."""
        if len(document) == 1:
            (key,) = document
            if key[:1] == "$":
                if key == "$item":
                    return self._load_item(document[key])
                decode = _DECODERS.get(key)
                if decode is None:
                    raise ValueError(f"tag {key!r} is unknown")
                return decode(document[key])
        return document


def _zone_of(stored: Any) -> Any:
    if stored is None:
        return None
    if isinstance(stored, str):
        from zoneinfo import ZoneInfo

        return ZoneInfo(stored)
    from datetime import timedelta

    offset, name = timedelta(seconds=stored[0]), stored[1]
    return UTC if not offset and name == "UTC" else _named_zone(offset, name)


def _named_zone(offset: Any, name: str) -> Any:
    from datetime import timezone

    zone = timezone(offset)
    return zone if zone.tzname(None) == name else timezone(offset, name)


def _decode_datetime(stored: Any) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(stored[0]).replace(tzinfo=_zone_of(stored[1]), fold=stored[2])


def _decode_time(stored: Any) -> Any:
    from datetime import time

    return time.fromisoformat(stored[0]).replace(tzinfo=_zone_of(stored[1]), fold=stored[2])


def _decode_timestamp(stored: Any) -> Any:
    import pandas as pd

    naive = pd.Timestamp(stored[0]).as_unit(stored[2])
    zone = _zone_of(stored[1])
    if zone is None:
        return naive
    return naive.tz_localize(zone, ambiguous=not stored[3], nonexistent="shift_forward")


def _decode_pandas_timedelta(stored: Any) -> Any:
    import pandas as pd

    return pd.Timedelta(stored[0], unit=stored[1]).as_unit(stored[1])


def _decode_numpy(stored: Any) -> Any:
    import numpy as np

    return np.frombuffer(b64decode(stored[1]), dtype=np.dtype(stored[0]))[0]


def _decode_ndarray(stored: Any) -> Any:
    import numpy as np

    return np.frombuffer(bytearray(b64decode(stored[2])), dtype=np.dtype(stored[0])).reshape(stored[1])


def _typed(path: str, is_right: Callable[[type], bool], what: str) -> Any:
    kind = resolve(path)
    if not (isinstance(kind, type) and is_right(kind)):
        raise TypeChangedError(
            f"A stored value of type '{path}' can't be loaded.",
            why=f"It was saved as {what}, and '{path}' isn't one any more.",
            hint="Restore the class, or load the value with `as_type` set to the new type.",
        )
    return kind


def _changed(path: str, why: str) -> TypeChangedError:
    return TypeChangedError(
        f"A stored value of type '{path}' doesn't fit the type as it is now.",
        why=why,
        hint="Give new fields a default and keep old ones, or load it with the code that made it.",
    )


def _decode_enum(stored: Any) -> Any:
    import enum

    path, name = stored
    kind = _typed(path, lambda k: issubclass(k, enum.Enum), "an enumeration")
    if name not in kind.__members__:
        raise _changed(path, f"It has no member '{name}'; it has: {', '.join(list(kind.__members__)[:20])}.")
    return kind[name]


def _decode_flag(stored: Any) -> Any:
    import enum

    return _typed(stored[0], lambda k: issubclass(k, enum.Flag), "a flag")(stored[1])


def _decode_namedtuple(stored: Any) -> Any:
    path, items = stored
    kind = _typed(path, lambda k: issubclass(k, tuple) and hasattr(k, "_fields"), "a named tuple")
    fewest = len(kind._fields) - len(kind._field_defaults)
    if not fewest <= len(items) <= len(kind._fields):
        raise _changed(path, f"It was saved with {len(items)} fields and has {len(kind._fields)}.")
    return kind(*items)


def _decode_dataclass(stored: Any) -> Any:
    path, attributes = stored
    kind = _typed(path, dataclasses.is_dataclass, "a dataclass")
    value = kind.__new__(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    slotted = not hasattr(value, "__dict__")
    for name, item in attributes.items():
        if name not in fields and (slotted or isinstance(getattr(kind, name, None), property)):
            raise _changed(path, f"It was saved with '{name}', which it doesn't have any more.")
        object.__setattr__(value, name, item)
    for name, field in fields.items():
        if name in attributes:
            continue
        if field.default is not dataclasses.MISSING:
            object.__setattr__(value, name, field.default)
        elif field.default_factory is not dataclasses.MISSING:
            object.__setattr__(value, name, field.default_factory())
        elif field.init:
            raise _changed(path, f"Field '{name}' is new since it was saved, and has no default.")
    return value


def _decode_pydantic(stored: Any) -> Any:
    from rayform_runtime.artifacts.materializers.pydantic_codec import decode_model

    return decode_model(*stored)


def _call(module: str, name: str, *, spread: bool = False) -> Callable[[Any], Any]:
    def call(stored: Any) -> Any:
        kind = resolve(f"{module}:{name}")
        return kind(*stored) if spread else kind(stored)

    return call


def _decode_default_dict(stored: Any) -> Any:
    from collections import defaultdict

    return defaultdict(_typed(stored[0], lambda k: True, "a class") if stored[0] else None, stored[1])


def _decode_deque(stored: Any) -> Any:
    from collections import deque

    return deque(stored[0], maxlen=stored[1])


def _decode_date(stored: str) -> Any:
    from datetime import date

    return date.fromisoformat(stored)


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "$int": lambda stored: int(stored, 16),
    "$float": float,
    "$dict": dict,
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$complex": lambda stored: complex(*stored),
    "$range": lambda stored: range(*stored),
    "$bytes": b64decode,
    "$bytearray": lambda stored: bytearray(b64decode(stored)),
    "$datetime": _decode_datetime,
    "$time": _decode_time,
    "$date": _decode_date,
    "$timedelta": _call("datetime", "timedelta", spread=True),
    "$uuid": _call("uuid", "UUID"),
    "$decimal": _call("decimal", "Decimal"),
    "$fraction": _call("fractions", "Fraction", spread=True),
    "$purepath": _call("pathlib", "PurePosixPath"),
    "$ordereddict": _call("collections", "OrderedDict"),
    "$counter": lambda stored: _call("collections", "Counter")(dict(stored)),
    "$deque": _decode_deque,
    "$defaultdict": _decode_default_dict,
    "$timestamp": _decode_timestamp,
    "$pdtimedelta": _decode_pandas_timedelta,
    "$numpy": _decode_numpy,
    "$ndarray": _decode_ndarray,
    "$enum": _decode_enum,
    "$flag": _decode_flag,
    "$namedtuple": _decode_namedtuple,
    "$dataclass": _decode_dataclass,
    "$pydantic": _decode_pydantic,
}
