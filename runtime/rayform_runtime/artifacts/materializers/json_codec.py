"""Python values as JSON and back, with their exact types.

A value of a JSON type stands as it is. Any other value is an object with one key that begins with `$`:
`{"$tuple": [1, 2]}`, `{"$float": "nan"}`, `{"$enum": ["module:Color", "RED"]}`. A dict with keys that aren't
strings, or that begin with `$`, is a `$dict` of pairs. A value that only another materializer takes (an array in
a list) is `{"$item": 0}` and lies in a folder of its own.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import TypeChangedError, import_path, is_importable, resolve
from rayform_runtime.artifacts.materializers import array_codec, pandas_scalars, standard_types
from rayform_runtime.artifacts.materializers.attributes import (
    changed,
    is_attrs,
    is_made_plainly,
    own_attributes,
    with_attributes,
)
from rayform_runtime.artifacts.materializers.generic_types import decode_type, encode_type, parametrized
from rayform_runtime.artifacts.materializers.registry import UnsupportedTypeError, find
from rayform_runtime.artifacts.materializers.zones import StoredZone, zone_form, zone_of
from rayform_runtime.artifacts.trust import is_of_projects_module, is_trusted, resolve_stored, untrusted

if TYPE_CHECKING:
    from collections import OrderedDict, defaultdict

__all__ = ["JSON", "Decoder", "Encoder"]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

_SMALL = 4096
"""Bytes; larger data goes into a file of its own."""
_LARGEST_INT = 1 << 4096
"""Python refuses to read decimal integers of more than 4,300 digits."""
_MAPPINGS = ("sklearn.utils._bunch:Bunch", "scipy.optimize._optimize:OptimizeResult")
_ARRAY_MODULES = ("numpy", "scipy._lib.array_api_compat.numpy", "scipy._external.array_api_compat.numpy")
_PLAIN = frozenset((str, bool, type(None)))
_SCALARS = frozenset((str, bool, type(None), int, float))


def _numbers_are_plain(values: Iterable[object], kinds: set[type]) -> bool:
    """Whether JSON can hold all numbers among `values`, whose types are `kinds`."""
    if float in kinds and not all(math.isfinite(v) for v in values if type(v) is float):
        return False
    return int not in kinds or all(-_LARGEST_INT < v < _LARGEST_INT for v in values if type(v) is int)


class Encoder:
    """Turns one value into its JSON form.

    Args:
        store_item: stores a value that another materializer takes and returns its number, or raises if no
            materializer takes it. Its second argument is the place in the whole value, as in `['scores'][0]`.
    """

    def __init__(self, store_item: Callable[[object, str], int]) -> None:
        self._store_item = store_item
        self._importable: dict[type, bool] = {}

    def encode(self, value: Any, where: str = "") -> JSON:
        """Return the JSON form of `value`, which stands at `where` in the whole value."""
        kind = type(value)
        if kind in _PLAIN:
            plain: JSON = value
            return plain
        if kind is int:
            return value if -_LARGEST_INT < value < _LARGEST_INT else {"$int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if kind is list:
            return self._list(value, where)
        if kind is dict:
            return self._dict(value, where)
        encoder = _ENCODERS.get(f"{kind.__module__}:{kind.__qualname__}")
        return encoder(self, value, where) if encoder else self._structure(value, kind, where)

    def _list(self, value: Collection[Any], where: str) -> JSON:
        kinds = set(map(type, value))
        if kinds <= _SCALARS and _numbers_are_plain(value, kinds):
            return value if type(value) is list else list(value)
        return [self.encode(item, f"{where}[{index}]") for index, item in enumerate(value)]

    def _dict(self, value: dict[Any, Any], where: str) -> JSON:
        if all(type(key) is str and key[:1] != "$" for key in value):
            kinds = set(map(type, value.values()))
            if kinds <= _SCALARS and _numbers_are_plain(value.values(), kinds):
                return value
            return {key: self.encode(item, f"{where}[{key!r}]") for key, item in value.items()}
        return {"$dict": self._pairs(value, where)}

    def _pairs(self, value: Mapping[object, object], where: str) -> JSON:
        return [
            [self.encode(key, f"{where}.keys()"), self.encode(item, f"{where}[{key!r:.80}]")]
            for key, item in value.items()
        ]

    def _set(self, value: Iterable[object], where: str) -> JSON:
        import json

        # Sorted by their JSON, so that equal sets have equal digests.
        return sorted((self.encode(item, f"{where}{{…}}") for item in value), key=json.dumps)

    def _structure(self, value: Any, kind: type, where: str) -> JSON:
        names = {f"{base.__module__}:{base.__qualname__}" for base in kind.__mro__}
        if "numpy:generic" in names or "numpy:ndarray" in names:
            if array_codec.holds_objects(value):
                objects: JSON = array_codec.encode_objects(
                    value, lambda elements: self._list(elements, where)
                )
                return objects
            small: JSON = array_codec.encode_small_array(value)
            return small if small is not None else {"$item": self._store_item(value, where)}
        if kind is ModuleType and _is_imported(value):
            return {"$module": value.__name__}  # results of SciPy keep the one that they were computed with
        if "numpy:dtype" in names:
            return {"$dtype": array_codec.encode_dtype(value, where)}
        if _has_user_materializer(kind):
            return {"$item": self._store_item(value, where)}
        if "enum:Enum" in names and value.name is not None and "|" not in value.name:
            return {"$enum": [self._path(kind, where), value.name]}
        if "enum:Flag" in names:
            return {"$flag": [self._path(kind, where), value.value]}
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            stored = [self._path(kind, where), self._list(tuple(value), where)]
            if getattr(value, "__dict__", None):
                stored.append(self._dict(vars(value), where))
            return {"$namedtuple": stored}
        if "pydantic.main:BaseModel" in names:
            from rayform_runtime.artifacts.materializers.pydantic_codec import encode_model

            return {"$pydantic": [self._class(kind, where), encode_model(value, self.encode, where)]}
        if is_made_plainly(kind):
            if dataclasses.is_dataclass(kind):
                return {"$dataclass": [self._path(kind, where), self._attributes(value, where)]}
            if is_attrs(kind):
                return {"$attrs": [self._path(kind, where), self._attributes(value, where)]}
        return {"$item": self._store_item(value, where)}

    def _attributes(self, value: Any, where: str) -> JSON:
        attributes: dict[str, JSON] = {}
        for name, item in own_attributes(value).items():
            place = f"{where}.{name}"
            if name == "__orig_class__":
                attributes[name] = {"$type": self._type(item, place)}
            else:
                try:
                    attributes[name] = self.encode(item, place)
                except UnsupportedTypeError:
                    if not isinstance(getattr(type(value), name, None), cached_property):
                        raise
                    # It is computed again, as it was the first time.
        return attributes

    def _class(self, kind: type, where: str) -> JSON:
        """Return the import path of a class, or the JSON form of a generic model with arguments."""
        return self._path(kind, where) if parametrized(kind) is None else {"$type": self._type(kind, where)}

    def _type(self, annotation: object, where: str) -> JSON:
        stored: JSON = encode_type(annotation, lambda kind: self._path(kind, where), where)
        return stored

    def _path(self, kind: type, where: str) -> str:
        if kind not in self._importable:
            self._importable[kind] = is_importable(kind)
        if not self._importable[kind]:
            raise UsageError(
                f"A value of type '{import_path(kind)}' can't be stored{f' (at {where})' if where else ''}.",
                why="The type can't be imported by that name, so no other process could load the value.",
                hint="Define the class at the top level of a module.",
            )
        return import_path(kind)


def _has_user_materializer(kind: type) -> bool:
    materializer = find(kind)
    return materializer is not None and not materializer.__module__.startswith("rayform_runtime.")


def _is_imported(module: ModuleType) -> bool:
    return sys.modules.get(module.__name__) is module


def _encode_time(encoder: Encoder, value: datetime | time, where: str) -> JSON:
    naive = value.replace(tzinfo=None, fold=0)
    return {f"${type(value).__name__}": [naive.isoformat(), zone_form(value, where), value.fold]}


def _encode_default_dict(encoder: Encoder, value: defaultdict[object, object], where: str) -> JSON:
    factory = value.default_factory
    path = None
    if factory is not None:
        if not isinstance(factory, type):
            raise UsageError(
                f"A defaultdict can't be stored{f' (at {where})' if where else ''}.",
                why=f"Its factory {factory!r:.100} isn't a class, and a function can't be stored.",
                hint="Return dict(value), or make the factory a class such as `list` or `int`.",
            )
        path = encoder._path(factory, where)
    return {"$defaultdict": [path, encoder._pairs(value, where)]}


def _encode_ordered_dict(encoder: Encoder, value: OrderedDict[object, object], where: str) -> JSON:
    if not vars(value):
        return {"$ordereddict": encoder._pairs(value, where)}
    # PyTorch keeps the versions of layers in an attribute of a `state_dict()`.
    return {
        "$attributeddict": [encoder._pairs(value, where), encoder._dict(vars(value), f"{where}.__dict__")]
    }


def _encode_mapping(encoder: Encoder, value: dict[object, object], where: str) -> JSON:
    stored = [encoder._path(type(value), where), encoder._pairs(value, where)]
    return {"$mapping": [*stored, encoder._dict(vars(value), where)]}


def _encode_bytes(encoder: Encoder, value: bytes | bytearray, where: str) -> JSON:
    if type(value) is bytes and len(value) > _SMALL:
        return {"$item": encoder._store_item(value, where)}
    return {f"${type(value).__name__}": b64encode(value).decode()}


_ENCODERS: dict[str, Callable[[Encoder, Any, str], JSON]] = {
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
    "collections:OrderedDict": _encode_ordered_dict,
    "collections:Counter": lambda e, v, w: {"$counter": e._pairs(v, w)},
    "collections:deque": lambda e, v, w: {"$deque": [e._list(list(v), w), v.maxlen]},
    "collections:defaultdict": _encode_default_dict,
    **pandas_scalars.ENCODERS,
    **dict.fromkeys(_MAPPINGS, _encode_mapping),
    **standard_types.ENCODERS,
}


class Decoder:
    """Turns the JSON form back into the value; `Decoder(...).hook` is the `object_hook` of `json.loads`.

    Args:
        load_item: loads a value that another materializer stored, by its number.
    """

    def __init__(self, load_item: Callable[[int], object]) -> None:
        self._load_item = load_item

    def hook(self, document: dict[str, Any]) -> object:
        """Return the value of one JSON object whose members are decoded already."""
        if len(document) == 1:
            (key,) = document
            if key[:1] == "$":
                if key == "$item":
                    return self._load_item(document[key])
                decode = _DECODERS.get(key)
                if decode is not None:
                    return decode(document[key])
                decode = _MEMBER_DECODERS.get(key)
                if decode is None:
                    raise ValueError(f"tag {key!r} is unknown")
                return decode(*document[key])
        return document


def _decode_datetime(text: str, zone: StoredZone, fold: int) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone_of(zone), fold=fold)


def _decode_time(text: str, zone: StoredZone, fold: int) -> time:
    return time.fromisoformat(text).replace(tzinfo=zone_of(zone), fold=fold)


def _class(path: str, is_right: Callable[[type], bool], what: str) -> Any:
    """Import a class, and check that it still is what it was when a value of it was saved."""
    kind = resolve_stored(path)
    if not (isinstance(kind, type) and is_right(kind)):
        raise TypeChangedError(
            f"A stored value of type '{path}' can't be loaded.",
            why=f"It was saved as {what}, and '{path}' isn't one any more.",
            hint="Restore the class, or load the value as another type: `load(as_type=NewType)`.",
        )
    return kind


def _decode_enum(path: str, name: str) -> object:
    import enum

    kind = _class(path, lambda k: issubclass(k, enum.Enum), "an enumeration")
    if name not in kind.__members__:
        raise changed(path, f"It has no member '{name}'; it has: {', '.join(list(kind.__members__)[:20])}.")
    return kind[name]


def _decode_flag(path: str, value: int) -> object:
    import enum

    return _class(path, lambda k: issubclass(k, enum.Flag), "a flag")(value)


def _decode_namedtuple(
    path: str, items: Sequence[object], attributes: Mapping[str, object] | None = None
) -> object:
    kind = _class(path, lambda k: issubclass(k, tuple) and hasattr(k, "_fields"), "a named tuple")
    if len(items) == len(kind._fields):
        # Not by a call of the class, whose `__new__` may take other arguments than the fields.
        value = tuple.__new__(kind, items)
    else:
        fewest = len(kind._fields) - len(kind._field_defaults)
        if not fewest <= len(items) <= len(kind._fields):
            raise changed(
                path, f"The saved value has {len(items)} fields, and the type has {len(kind._fields)}."
            )
        value = kind(*items)
    if attributes:
        vars(value).update(attributes)
    return value


def _decode_mapping(
    path: str, pairs: Iterable[tuple[object, object]], attributes: Mapping[str, object]
) -> object:
    kind = _class(path, lambda k: issubclass(k, dict) and (path in _MAPPINGS or is_trusted()), "a dict")
    value = kind.__new__(kind)
    dict.update(value, pairs)
    vars(value).update(attributes)
    return value


def _decode_dataclass(path: str, attributes: Mapping[str, object]) -> object:
    return with_attributes(_class(path, dataclasses.is_dataclass, "a dataclass"), path, attributes)


def _decode_attrs(path: str, attributes: Mapping[str, object]) -> object:
    return with_attributes(_class(path, is_attrs, "an attrs class"), path, attributes)


def _decode_pydantic(path: str | type, stored: dict[str, Any]) -> object:
    from rayform_runtime.artifacts.materializers.pydantic_codec import decode_model

    return decode_model(path, stored)


def _decode_default_dict(path: str | None, pairs: Iterable[tuple[object, object]]) -> object:
    from collections import defaultdict

    return defaultdict(_class(path, _may_be_called, "a class") if path else None, pairs)


def _may_be_called(kind: type) -> bool:
    """Whether a stored value may have a class called later, without arguments: as the factory of a missing item."""
    return kind.__module__ in ("builtins", "collections") or is_of_projects_module(kind) or is_trusted()


def _decode_module(name: str) -> ModuleType:
    """Return a module of functions for arrays, which results of SciPy keep."""
    module = sys.modules.get(name)
    if name not in _ARRAY_MODULES and not is_trusted():
        raise untrusted(
            f"A stored value holds the module '{str(name)[:200]}'.",
            "It was not made on this machine, and may hold no module but those of array functions.",
        )
    return import_module(name) if module is None else module


def _decode_attributed_dict(
    pairs: Iterable[tuple[object, object]], attributes: Mapping[str, object]
) -> object:
    from collections import OrderedDict

    value = OrderedDict(pairs)
    vars(value).update(attributes)
    return value


def _decode_deque(items: Iterable[object], maxlen: int | None) -> object:
    from collections import deque

    return deque(items, maxlen=maxlen)


def _constructor(path: str) -> Callable[..., object]:
    """Return a function that calls a class, and imports it only then."""

    def construct(*arguments: object) -> object:
        kind: Any = resolve(path)
        return kind(*arguments)

    return construct


_DECODERS: dict[str, Callable[..., object]] = {
    "$int": lambda stored: int(stored, 16),
    "$float": float,
    "$dict": dict,
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$bytes": b64decode,
    "$bytearray": lambda stored: bytearray(b64decode(stored)),
    "$date": date.fromisoformat,
    **array_codec.DECODERS,
    "$module": _decode_module,
    "$type": decode_type,
    "$uuid": _constructor("uuid:UUID"),
    "$decimal": _constructor("decimal:Decimal"),
    "$purepath": _constructor("pathlib:PurePosixPath"),
    **pandas_scalars.DECODERS,
    "$ordereddict": _constructor("collections:OrderedDict"),
    "$counter": lambda stored: _constructor("collections:Counter")(dict(stored)),
    **standard_types.DECODERS,
}
_MEMBER_DECODERS: dict[str, Callable[..., object]] = {
    "$complex": complex,
    "$range": range,
    "$datetime": _decode_datetime,
    "$time": _decode_time,
    "$timedelta": timedelta,
    "$fraction": _constructor("fractions:Fraction"),
    "$attributeddict": _decode_attributed_dict,
    "$deque": _decode_deque,
    "$defaultdict": _decode_default_dict,
    **array_codec.MEMBER_DECODERS,
    "$enum": _decode_enum,
    "$flag": _decode_flag,
    "$mapping": _decode_mapping,
    "$namedtuple": _decode_namedtuple,
    "$dataclass": _decode_dataclass,
    "$attrs": _decode_attrs,
    "$pydantic": _decode_pydantic,
    **pandas_scalars.MEMBER_DECODERS,
    **standard_types.MEMBER_DECODERS,
}
"""Decoders that take the members of the stored list as arguments."""
