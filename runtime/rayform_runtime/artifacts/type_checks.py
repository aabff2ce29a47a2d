"""Whether a step's annotated output can be stored, before the step starts."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from typing import Any

from rayform_runtime.artifacts.materializers import registry

__all__ = ["check_type"]


def check_type(annotation: Any, *, step: str | None = None, output: str | None = None) -> None:
    """Refuse an annotation whose values no materializer takes; let pass what only the value can tell.

    `Any`, type variables, protocols, abstract classes and unresolved names pass. Members of containers, unions
    and dataclasses are checked too.

    Args:
        annotation: the type, as it stands in code.
        step, output: whose output it is, for the error.

    Raises:
        UnsupportedTypeError: names step, output and type, and the lines that would fix it.
    """
    for kind in _classes(annotation, seen=set()):
        if registry.find(kind) is None and not registry.takes_a_subclass_of(kind):
            raise registry.unsupported(kind, step=step, output=output)


def _classes(annotation: Any, seen: set[Any]) -> typing.Iterator[type]:
    """Yield the classes whose instances must be stored for the annotation to hold."""
    while type(annotation).__name__ == "TypeAliasType":  # `type X = …`, from Python 3.12 on
        annotation = annotation.__value__
    if hasattr(annotation, "__supertype__"):  # NewType
        yield from _classes(annotation.__supertype__, seen)
        return
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _classes(typing.get_args(annotation)[0], seen)
        return
    if origin is typing.Literal:
        return
    if origin in (typing.Union, types.UnionType):
        # One member that can be stored is enough: which one comes is only known from the value.
        members = [list(_classes(member, set(seen))) for member in typing.get_args(annotation)]
        if all(any(registry.find(kind) is None for kind in member) for member in members):
            for member in members:
                yield from member
        return
    if origin is not None:
        if isinstance(origin, type) and issubclass(origin, list | tuple | dict | set | frozenset):
            for argument in typing.get_args(annotation):
                yield from _classes(argument, seen)
        elif isinstance(origin, type):
            yield from _classes(origin, seen)
        return
    if not isinstance(annotation, type) or annotation is object or annotation in seen:
        return
    seen.add(annotation)
    if inspect.isabstract(annotation) or getattr(annotation, "_is_protocol", False):
        return
    if typing.is_typeddict(annotation) or annotation.__module__ in ("collections.abc", "typing"):
        return
    yield annotation
    own = registry.find(annotation)
    if dataclasses.is_dataclass(annotation) and own is not None and own.__name__ == "JsonMaterializer":
        try:
            hints = typing.get_type_hints(annotation, include_extras=True)
        except Exception:  # noqa: BLE001 - a name that can't be resolved here says nothing about the value
            return
        for field in dataclasses.fields(annotation):
            yield from _classes(hints.get(field.name, Any), seen)
