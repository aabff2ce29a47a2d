"""Objects that are stored attribute by attribute, without calls of their own code; a part of `json_codec`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from rayform_runtime.artifacts.import_paths import TypeChangedError

__all__ = ["changed", "fields_of", "is_attrs", "is_made_plainly", "own_attributes", "with_attributes"]

_MISSING = object()
_CACHED_HASH = "_attrs_cached_hash"
_NOT_SLOTS = ("__dict__", "__weakref__")


def is_attrs(kind: type) -> bool:
    """Whether this is a class of the package `attrs`."""
    return isinstance(getattr(kind, "__attrs_attrs__", None), tuple)


def is_made_plainly(kind: type) -> bool:
    """Whether `kind.__new__(kind)` gives an object without attributes, and calls no code of a base."""
    plain: object = object.__new__
    return kind.__new__ is plain


def changed(path: str, why: str) -> TypeChangedError:
    """Build the error for a stored value that doesn't fit its type as it is now."""
    return TypeChangedError(
        f"A stored value of type '{path}' doesn't fit the type as it is now.",
        why=why,
        hint="Give new fields a default and keep old fields, or load the value with the code that saved it.",
    )


def own_attributes(value: Any) -> dict[str, Any]:
    """Return what the object itself holds: fields, what `__post_init__` added, and slots of its bases."""
    kind = type(value)
    held = getattr(value, "__dict__", {})
    slots = _slots(kind)
    attributes = {}
    for name in dict.fromkeys((*(field.name for field in fields_of(kind)), *held, *slots)):
        # Not by `getattr`, which computes a cached property of attrs, and finds defaults of the class.
        item = held.get(name, _MISSING)
        if item is _MISSING:
            item = _described(slots.get(name) or inspect.getattr_static(kind, name, None), value)
        if item is not _MISSING:
            # A hash of text differs from process to process.
            attributes[name] = None if name == _CACHED_HASH else item
    return attributes


def _described(descriptor: Any, value: object) -> object:
    """Return what a slot, or a field that is a descriptor, holds for an object."""
    if not hasattr(descriptor, "__set__") or not hasattr(descriptor, "__get__"):
        return _MISSING
    try:
        return descriptor.__get__(value, type(value))
    except AttributeError:
        return _MISSING


def fields_of(kind: type) -> tuple[Any, ...]:
    """Return the fields of a dataclass or attrs class; both have a `name`, `type`, `default` and `init`."""
    return dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else kind.__attrs_attrs__  # type: ignore[attr-defined]


def _slots(kind: type) -> dict[str, Any]:
    """Return the descriptors of all slots of a class and its bases, by name."""
    slots: dict[str, Any] = {}
    for base in kind.__mro__:
        names = vars(base).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            mangled = f"_{base.__name__.lstrip('_')}{name}" if _is_private(name) else name
            descriptor = vars(base).get(mangled)
            if name not in _NOT_SLOTS and hasattr(descriptor, "__set__"):
                slots.setdefault(mangled, descriptor)
    return slots


def _is_private(name: str) -> bool:
    return name.startswith("__") and not name.endswith("__")


def with_attributes(kind: Any, path: str, attributes: Mapping[str, object]) -> object:
    """Return a new object of a dataclass or attrs class that holds these attributes.

    Args:
        kind: the class.
        path: its import path, for errors.
        attributes: what `own_attributes` returned when the value was stored; fields that are new since then get
            their defaults.

    Raises:
        TypeChangedError: the class has no place for an attribute, or a new field without a default.
    """
    value = kind.__new__(kind)
    fields = {field.name: field for field in fields_of(kind)}
    slotted = not hasattr(value, "__dict__")
    slots = _slots(kind)
    for name, item in attributes.items():
        is_property = isinstance(getattr(kind, name, None), property)
        is_pythons = name[:2] == name[-2:] == "__" and name != "__orig_class__"
        if name not in fields and ((slotted and name not in slots) or is_property or is_pythons):
            raise changed(path, f"The saved value has an attribute '{name}', which the type no longer has.")
        object.__setattr__(value, name, item)
    for name, field in fields.items():
        if name not in attributes:
            default = _default(field, slotted)
            if default is not _MISSING:
                object.__setattr__(value, name, default)
            elif field.init:
                raise changed(path, f"The type has a new field '{name}' without a default.")
    return value


def _default(field: Any, slotted: bool) -> object:
    """Return a field's default, or `_MISSING` if it has none that can be known without the object."""
    if isinstance(field, dataclasses.Field):
        if field.default is not dataclasses.MISSING:
            # `__init__` leaves the other fields to the class, which has the default.
            return field.default if field.init or slotted else _MISSING
        return field.default_factory() if field.default_factory is not dataclasses.MISSING else _MISSING
    factory = getattr(field.default, "factory", None)
    if factory is not None:
        return _MISSING if field.default.takes_self else factory()
    return _MISSING if type(field.default).__name__ == "_Nothing" else field.default
