"""Types with arguments, such as `Box[int]` and `list[int] | None`, as JSON; a part of `json_codec`.

A class is its import path. Anything else is a list that begins with what it is: `["generic", "module:Box", [args]]`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import TypeChangedError
from rayform_runtime.artifacts.trust import resolve_stored

__all__ = ["decode_type", "encode_type", "parametrized"]

_PLAIN = (str, int, bool, type(None))


def parametrized(kind: type) -> tuple[type, tuple[object, ...]] | None:
    """Return the generic pydantic model and its arguments, or `None` if the class isn't such a model with arguments."""
    metadata = kind.__dict__.get("__pydantic_generic_metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("origin"), type):
        return None
    return metadata["origin"], tuple(metadata["args"])


def encode_type(annotation: Any, path_of: Callable[[type], str], where: str) -> Any:
    """Return the JSON form of a type.

    Args:
        annotation: the type.
        path_of: returns the import path of a class, or raises if it has none.
        where: the place in the whole value, for errors.

    Raises:
        UsageError: it is a type variable, or another form that has no name.
    """

    def encode(each: object) -> Any:
        return encode_type(each, path_of, where)

    if annotation is Ellipsis:
        return ["ellipsis"]
    if annotation is None or annotation is type(None):
        return ["none"]
    if annotation is typing.Any:
        return ["any"]
    origin: Any = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Literal and all(type(each) in _PLAIN for each in arguments):
        return ["literal", list(arguments)]
    if origin in (typing.Union, types.UnionType):
        return [
            "union" if origin is types.UnionType else "typing union",
            [encode(each) for each in arguments],
        ]
    if isinstance(annotation, type) and origin is None:
        model = parametrized(annotation)
        if model is None:
            plain: Any = annotation
            return path_of(plain)
        origin, arguments = model
    if isinstance(origin, type) and not isinstance(annotation, typing.TypeVar):
        is_alias = getattr(annotation, "_name", None) and annotation.__module__ == "typing"
        generic: Any = origin
        name = f"typing:{annotation._name}" if is_alias else path_of(generic)
        return ["generic", name, [encode(each) for each in arguments]]
    raise UsageError(
        f"A value of a type with the argument {annotation!r:.80} can't be stored{f' (at {where})' if where else ''}.",
        why="That argument has no name by which another process could find it.",
        hint="Use classes, unions and literals as arguments of generic types.",
    )


def _class(path: Any) -> object:
    """Return a class, or a form of the module `typing`: `path["argument"]` of anything else may be any call."""
    import enum

    kind = resolve_stored(path)
    if isinstance(kind, type) and not issubclass(kind, enum.Enum):
        return kind
    if path.startswith("typing:") and type(kind).__module__ == "typing":
        return kind
    raise TypeChangedError(
        f"A stored value of type '{path[:200]}' can't be loaded.",
        why="It was saved as a type, and isn't one any more.",
        hint="Restore the class.",
    )


def decode_type(stored: Any) -> Any:
    """Return the type that `encode_type` turned into JSON."""
    if isinstance(stored, str):
        return _class(stored)
    what, *rest = stored
    if what == "ellipsis":
        return ...
    if what == "none":
        return type(None)
    if what == "any":
        return typing.Any
    if what == "literal":
        return typing.Literal[tuple(rest[0])]
    if what == "generic":
        generic: Any = _class(rest[0])
        arguments = tuple(decode_type(each) for each in rest[1])
        return generic[arguments if len(arguments) != 1 else arguments[0]]
    members = [decode_type(each) for each in rest[0]]
    if what == "typing union":
        return typing.Union[tuple(members)]  # noqa: UP007 - the members are values here
    union = members[0]
    for member in members[1:]:
        union = union | member
    return union
