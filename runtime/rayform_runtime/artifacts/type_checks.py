"""Whether a step's annotated output can be stored, before the step starts."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator

from rayform_runtime.artifacts.materializers import registry
from rayform_runtime.artifacts.materializers.attributes import fields_of, is_attrs

__all__ = ["check_type"]

_CONTAINERS = (list, tuple, dict, set, frozenset)


def check_type(annotation: object, *, step: str | None = None, output: str | None = None) -> None:
    """Refuse an annotation whose values no materializer takes.

    `Any`, type variables, protocols, abstract classes and names that can't be resolved pass: only the value can
    decide there. Members of containers, unions and dataclasses are checked too.

    Args:
        annotation: the type, as it stands in code.
        step, output: the step and output that it belongs to, for the error.

    Raises:
        UnsupportedTypeError: names step, output and type, and the lines of code that would fix it.
    """
    for kind in _classes(annotation, set()):
        if registry.find(kind) is None and not registry.takes_a_subclass_of(kind):
            raise registry.unsupported(kind, step=step, output=output)


def _classes(annotation: object, seen: set[type]) -> Iterator[type]:
    """Yield the classes whose instances must be stored for the annotation to hold; each of `seen` only once."""
    annotation = _without_names(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        yield from _classes_of_union(arguments, seen)
    elif isinstance(origin, type) and issubclass(origin, _CONTAINERS):
        for argument in arguments:
            yield from _classes(argument, seen)
    elif isinstance(origin, type):
        yield from _classes(origin, seen)
    elif isinstance(annotation, type) and annotation is not object and annotation not in seen:
        seen.add(annotation)
        if _is_concrete(annotation):
            yield annotation
            yield from _classes_of_fields(annotation, seen)


def _without_names(annotation: object) -> object:
    """Return the type behind an alias (`type X = …`, from Python 3.12 on), a `NewType` or an `Annotated`."""
    while True:
        if type(annotation).__name__ == "TypeAliasType":
            annotation = getattr(annotation, "__value__", None)
        elif hasattr(annotation, "__supertype__"):
            annotation = getattr(annotation, "__supertype__", None)
        elif typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        else:
            return annotation


def _classes_of_union(members: tuple[object, ...], seen: set[type]) -> Iterator[type]:
    """Yield nothing if some member can be stored: only the value decides which member it belongs to."""
    classes = [list(_classes(member, set(seen))) for member in members]
    if all(any(registry.find(kind) is None for kind in kinds) for kinds in classes):
        for kinds in classes:
            yield from kinds


def _is_concrete(kind: type) -> bool:
    """Whether values can have exactly this class, not only a subclass or a class of the same shape."""
    return not (
        inspect.isabstract(kind)
        or getattr(kind, "_is_protocol", False)
        or typing.is_typeddict(kind)
        or kind.__module__ in ("collections.abc", "typing")
    )


def _classes_of_fields(kind: type, seen: set[type]) -> Iterator[type]:
    """Yield the classes in the fields of a dataclass or attrs class that is stored field by field."""
    materializer = registry.find(kind)
    if (
        not (dataclasses.is_dataclass(kind) or is_attrs(kind))
        or materializer is None
        or materializer.__name__ != "JsonMaterializer"
    ):
        return
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001 - a name that can't be resolved here says nothing about the value
        return
    for field in fields_of(kind):
        yield from _classes(hints.get(field.name), seen)
