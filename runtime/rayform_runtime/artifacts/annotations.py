"""Whether a value fits an annotation, and whether values of one annotation may fit another.

Both questions have careful answers: "no" only where it is certain. A class that a library generates, a type variable
or a protocol is never the reason for a refusal.
"""

from __future__ import annotations

import collections
import collections.abc
import itertools
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rayform_runtime.artifacts.import_paths import import_path

__all__ = ["Fit", "may_overlap", "shown_type"]

_NUMBERS = (bool, int, float, complex)
_SEQUENCES = (list, tuple, set, frozenset, collections.deque)
_PLAIN = (*_NUMBERS, str, bytes, bytearray, type(None), dict, *_SEQUENCES)
"""Classes of which no value belongs to another one of them, except for numbers."""
_UNIONS = (typing.Union, types.UnionType)
_QUALIFIERS = frozenset(("Required", "NotRequired", "ReadOnly", "Final", "ClassVar"))
_TYPING = frozenset(("typing", "typing_extensions"))
_STRIDE = 256
"""A container with more elements than this is checked by a sample of this size."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Tells whether values fit annotations.

    Args:
        depth: how many levels of containers to look into.
        sampled: look only at a sample of a large container's elements.
        constrained: whether `Annotated[int, Gt(0)]` can't be decided here, since its constraint needs pydantic;
            otherwise only the type in it counts.
    """

    depth: int = 1
    sampled: bool = True
    constrained: bool = False

    def check(self, value: object, annotation: Any, depth: int | None = None) -> bool | None:
        """Return whether `value` fits `annotation`, or `None` if that can't be decided."""
        if type(value) is annotation:
            return True
        depth = self.depth if depth is None else depth
        annotation, is_constrained = _bare(annotation)
        if is_constrained and self.constrained:
            return False if self.check(value, annotation, depth) is False else None
        if annotation is Any or annotation is object:
            return True
        if annotation is None or annotation is types.NoneType:
            return value is None
        return self._check_bare(value, annotation, depth)

    def _check_bare(self, value: object, annotation: Any, depth: int) -> bool | None:
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin in _UNIONS:
            return _any(self.check(value, member, depth) for member in arguments)
        if origin is typing.Literal:
            return any(isinstance(value, type(each)) and value == each for each in arguments)
        if typing.is_typeddict(origin or annotation):
            return self._typed_dict(value, origin or annotation, depth)
        if not isinstance(origin or annotation, type):
            return None
        fits = _is_instance(value, origin or annotation)
        if not fits or origin is None or not arguments or depth <= 0:
            return fits
        return self._members(value, origin, arguments, depth - 1)

    def _members(self, value: Any, origin: type, arguments: tuple[object, ...], depth: int) -> bool | None:
        """Check the elements of a container of Python's own; those of other generic classes can't be seen."""
        if origin is type:
            kind = arguments[0]
            return issubclass(value, kind) or None if isinstance(kind, type) else None
        if isinstance(value, dict) and issubclass(origin, collections.abc.Mapping):
            if len(arguments) == 2:
                keys = self._each(value, arguments[0], depth)
                return keys and self._each(value.values(), arguments[1], depth)
            return self._each(value, arguments[0], depth)  # a Counter
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return self._each(value, arguments[0], depth)
            if any(_is_unpacked(argument) for argument in arguments):
                return None
            if arguments == ((),):
                return len(value) == 0
            return len(value) == len(arguments) and _all(
                map(self.check, value, arguments, itertools.repeat(depth))
            )
        if isinstance(value, _SEQUENCES) and len(arguments) == 1:
            return self._each(value, arguments[0], depth)
        return True

    def _each(self, values: Any, annotation: object, depth: int) -> bool | None:
        if annotation is Any or annotation is object:
            return True
        size = len(values)
        if self.sampled and size > _STRIDE:
            values = itertools.islice(values, 0, None, size // _STRIDE)
        if isinstance(annotation, type):
            # Most lists hold values of exactly this class.
            values = [value for value in values if type(value) is not annotation]
        return _all(self.check(value, annotation, depth) for value in values)

    def _typed_dict(self, value: object, kind: Any, depth: int) -> bool | None:
        if not isinstance(value, dict):
            return False
        try:
            hints = typing.get_type_hints(kind, include_extras=True)
        except Exception:  # noqa: BLE001 - a name under TYPE_CHECKING
            return None
        optional = [name for name, hint in hints.items() if _qualifier(hint) == "NotRequired"]
        if any(name not in value and name not in optional for name in kind.__required_keys__):
            return False
        if depth <= 0:
            return True
        return _all(self.check(value[n], hint, depth - 1) for n, hint in hints.items() if n in value)


def _all(answers: Iterable[bool | None]) -> bool | None:
    result: bool | None = True
    for answer in answers:
        if answer is False:
            return False
        if answer is None:
            result = None
    return result


def _any(answers: Iterable[bool | None]) -> bool | None:
    result: bool | None = False
    for answer in answers:
        if answer:
            return True
        if answer is None:
            result = None
    return result


def _qualifier(annotation: object) -> str | None:
    name = getattr(typing.get_origin(annotation), "_name", None)
    return name if name in _QUALIFIERS else None


def _is_unpacked(annotation: object) -> bool:
    return getattr(annotation, "__unpacked__", False) is True or "Unpack" in str(
        typing.get_origin(annotation)
    )


def _bare(annotation: Any) -> tuple[Any, bool]:
    """Return the type behind aliases, `NewType`, `Annotated` and qualifiers, and whether it has constraints."""
    is_constrained = False
    while True:
        origin = typing.get_origin(annotation)
        if type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif origin is typing.Annotated:
            extras = typing.get_args(annotation)[1:]
            is_constrained = is_constrained or not all(
                isinstance(e, str) or type(e).__module__.startswith("rayform.") for e in extras
            )
            annotation = typing.get_args(annotation)[0]
        elif _qualifier(annotation):
            annotation = typing.get_args(annotation)[0]
        else:
            return annotation, is_constrained


def _is_instance(value: object, kind: type) -> bool | None:
    """Whether `value` is an instance of `kind`, with the promotions that type checkers know."""
    try:
        if isinstance(value, kind):
            return True
    except TypeError:
        return None  # a protocol that isn't checkable at run time
    if kind.__module__ in _TYPING and not getattr(kind, "_is_protocol", False):
        return None  # `typing.IO` and the like have no instances
    if kind in _NUMBERS:
        return _is_number(value, kind)
    if kind is bytes:
        return isinstance(value, bytearray | memoryview)
    generic = getattr(kind, "__pydantic_generic_metadata__", None)
    if isinstance(generic, dict) and isinstance(generic.get("origin"), type):
        return isinstance(value, generic["origin"])
    if kind.__module__ == "collections.abc" and not isinstance(value, _PLAIN):
        return None  # arrays and series behave like sequences and don't register as such
    path = import_path(kind)
    if any(import_path(base) == path for base in type(value).__mro__):
        return None  # the class was loaded twice
    return False


def _is_number(value: object, kind: type) -> bool:
    if isinstance(value, _NUMBERS[: _NUMBERS.index(kind) + 1]):
        return True
    if type(value).__module__ != "numpy":
        return False
    import numbers

    if kind is bool:
        return type(value).__name__ in ("bool", "bool_")
    abstract = {int: numbers.Integral, float: numbers.Real, complex: numbers.Complex}[kind]
    return isinstance(value, abstract)


# -- annotations against each other ---------------------------------------------------------------------------


def may_overlap(one: object, other: object) -> bool:
    """Whether there may be a value that fits both annotations; false only where that is certain.

    Example:
        >>> may_overlap(int, str), may_overlap(int, float), may_overlap(list[int], list[str])
        (False, True, False)
    """
    ours, theirs = _alternatives(one), _alternatives(other)
    if ours is None or theirs is None:
        return True
    return any(_generics_overlap(a, b) for a in ours for b in theirs)


@dataclass(frozen=True, slots=True)
class _Class:
    kind: type
    arguments: tuple[object, ...] = ()


def _alternatives(annotation: object) -> list[_Class] | None:
    """Return the classes that values of an annotation have; `None` if it may be any."""
    annotation, is_constrained = _bare(annotation)
    if is_constrained or annotation is Any or annotation is object:
        return None
    if annotation is None:
        return [_Class(types.NoneType)]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _UNIONS:
        found: list[_Class] = []
        for member in arguments:
            alternatives = _alternatives(member)
            if alternatives is None:
                return None
            found += alternatives
        return found
    if origin is typing.Literal:
        return [_Class(type(value)) for value in arguments]
    kind = origin or annotation
    if typing.is_typeddict(kind):
        return [_Class(dict)]
    if not isinstance(kind, type) or getattr(kind, "_is_protocol", False) or kind.__module__ in _TYPING:
        return None
    return [_Class(kind, arguments)]


def _generics_overlap(one: _Class, other: _Class) -> bool:
    if not _classes_overlap(one.kind, other.kind):
        return False
    ours, theirs = one.arguments, other.arguments
    plain = all(
        each.kind in (dict, *_SEQUENCES) or each.kind.__module__ == "collections.abc" for each in (one, other)
    )
    if not plain or tuple in (one.kind, other.kind) or len(ours) != len(theirs):
        return True
    return all(may_overlap(a, b) for a, b in zip(ours, theirs, strict=True))


def _classes_overlap(one: type, other: type) -> bool:
    if _is_subclass(one, other) or _is_subclass(other, one):
        return True
    if {one, other} <= {*_NUMBERS}:
        return True
    if bytes in (one, other) and {one, other} <= {bytes, bytearray, memoryview}:
        return True
    plain = [each for each in (one, other) if each in _PLAIN]
    if not plain:
        return True  # a class may be derived from both
    if len(plain) == 2:
        return False
    strange = other if one in _PLAIN else one
    if strange.__module__ == "numpy" and plain[0] in _NUMBERS:
        return True
    if strange.__module__ == "collections.abc":
        return False
    return any(issubclass(derived, plain[0]) for derived in _derived(strange))


def _is_subclass(one: type, other: type) -> bool:
    try:
        return issubclass(one, other)
    except TypeError:
        return True  # it refuses the question


def _derived(kind: type) -> Iterable[type]:
    """Yield all classes that are derived from `kind`."""
    subclasses: list[type] = type.__subclasses__(kind)
    for each in subclasses:
        yield each
        yield from _derived(each)


def shown_type(annotation: object) -> str:
    """Return an annotation as a user would write it."""
    if isinstance(annotation, type) and "[" not in str(annotation):
        return annotation.__qualname__
    return str(annotation).replace("typing.", "")
