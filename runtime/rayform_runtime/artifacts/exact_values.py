"""Arguments of steps: the text that a worker makes the same value of, and the plain JSON that users see.

The text has the form of `json_codec`, so that an argument comes back exactly as an output does. Three things differ:
a path is passed as a path, where an output is the file that it leads to; a class or function of an installed library
is passed by name; and a value that needs a materializer is none of this module's.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import import_path, is_importable, resolve, types_replaced
from rayform_runtime.artifacts.materializers.attributes import fields_of, is_attrs
from rayform_runtime.artifacts.materializers.json_codec import JSON, Decoder, Encoder
from rayform_runtime.artifacts.materializers.registry import find, unsupported

__all__ = ["NeedsMaterializerError", "PassedValue", "decode_argument", "encode_argument", "types_within"]

_LARGEST = 1 << 17
"""Characters; a value with a longer text is stored as an artifact."""
_TEXT_LIMIT = 200
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType)
"""What has a name in its module."""


class NeedsMaterializerError(Exception):
    """A value can be stored by its materializer, and not be written into the pipeline."""


class PassedValue(NamedTuple):
    """A value in two forms.

    Args:
        shown: plain JSON, for users and filters.
        exact: the text that `decode_argument` reads; `None` if `shown` is the value itself.
    """

    shown: Any
    exact: str | None


class _ArgumentEncoder(Encoder):
    """Args: what `encode_argument` has."""

    def __init__(
        self, local: Mapping[str, type], refuse: Callable[[object], None], is_for_users: bool
    ) -> None:
        super().__init__(self._item)
        self._local = local
        self._refuse = refuse
        self._is_for_users = is_for_users
        self.items = 0  # values that need another materializer
        self.has_paths = False

    def _item(self, value: object, where: str) -> int:
        self._refuse(value)
        kind = type(value)
        if find(kind) is None:
            raise unsupported(kind, inside=f"value{where}" if where else "")
        self.items += 1
        return 0

    def _structure(self, value: Any, kind: type, where: str) -> JSON:
        if issubclass(kind, PurePath):
            self.has_paths = True
            return {"$path": [_path_type(kind), str(value)]}
        if isinstance(value, _NAMED):
            if _is_of_a_library(value):
                return {"$import": f"{value.__module__}:{value.__qualname__}"}
        elif where == "" and kind.__module__ == "numpy" and getattr(value, "shape", ()) != ():
            raise NeedsMaterializerError  # an array is an artifact, however small
        return super()._structure(value, kind, where)

    def _path(self, kind: type, where: str) -> str:
        path = import_path(kind)
        if self._is_for_users or self._local.get(path) is kind:
            return path
        return super()._path(kind, where)


def _path_type(kind: type) -> str:
    name = kind.__name__
    if name not in ("PosixPath", "PureWindowsPath", "PurePosixPath", "WindowsPath"):
        raise unsupported(kind)
    return name


def _decode_path(name: str, text: str) -> PurePath:
    import pathlib

    if name not in ("PosixPath", "PureWindowsPath", "PurePosixPath", "WindowsPath"):
        raise ValueError(f"{name!r} is no path")
    # A path of the laptop's system is one of the worker's.
    kind = pathlib.Path if name in ("PosixPath", "WindowsPath") else getattr(pathlib, name)
    path: PurePath = kind(text)
    return path


def _is_of_a_library(value: Any) -> bool:
    """Whether this is a class or function that the installed package of its name defines.

    One of the project's own would be called by its name though its code has changed since the run was cached.
    """
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", "")
    if not isinstance(module, str) or not all(part.isidentifier() for part in name.split(".")):
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    is_installed = "site-packages" in file or "dist-packages" in file
    if (not is_installed and module.partition(".")[0] not in sys.stdlib_module_names) or module == "__main__":
        return False
    try:
        return resolve(f"{module}:{name}") is value
    except Exception:  # noqa: BLE001 - it isn't reachable by its name
        return False


class _ArgumentDecoder(Decoder):
    def hook(self, document: dict[str, Any]) -> object:
        """See `Decoder.hook`."""
        if len(document) == 1:
            if "$path" in document:
                return _decode_path(*document["$path"])
            if "$import" in document:
                return resolve(document["$import"])
        return super().hook(document)


def _no_item(number: int) -> object:
    raise KeyError(number)


def decode_argument(text: str, local: Mapping[str, type] | None = None) -> object:
    """Return the value that `encode_argument` wrote.

    Args:
        text: what it wrote.
        local: types that can't be imported, by import path; see `types_within`.

    Raises:
        UsageError: this process can't make the value.
    """
    try:
        with types_replaced(local or {}):
            return json.loads(text, object_hook=_ArgumentDecoder(_no_item).hook)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UsageError(
            "An argument can't be read.",
            why=f"{type(error).__name__}: {error}.",
            hint="Use the same version of Rayform and of the project's code here and where the run began.",
        ) from error


def encode_argument(
    value: Any,
    local: Mapping[str, type] | None = None,
    refuse: Callable[[object], None] = lambda value: None,
    *,
    is_for_users: bool = False,
) -> PassedValue:
    """Return a value as it is shown and as it is passed.

    Args:
        value: the value.
        local: types that can't be imported and that the worker knows all the same, by import path.
        refuse: raises for a value (here or inside of this one) that must not be passed.
        is_for_users: whether only the shown form is needed.

    Raises:
        NeedsMaterializerError: only a materializer can store it, or it is large.
        UnsupportedTypeError: no materializer takes it, or a value in it.
        UsageError: another process could not make the value.
    """
    kind = type(value)
    if _is_itself(value):
        return PassedValue(value, None)
    encoder = _ArgumentEncoder(local or {}, refuse, is_for_users)
    try:
        text = json.dumps(encoder.encode(value), separators=(",", ":"), allow_nan=False)
    except RecursionError as error:
        raise UsageError(
            f"A value of type '{import_path(kind)}' can't be passed to a step.",
            why="It contains itself, or is nested too deeply.",
            hint="Pass a flat list with references by index or key.",
        ) from error
    if encoder.items or len(text) > _LARGEST:
        if encoder.has_paths and not is_for_users:
            raise UsageError(
                f"A value of type '{import_path(kind)}' can't be passed to a step.",
                why="It holds a path next to a value that is stored in files, and the files of the path too would "
                "be stored.",
                hint="Give the path as an argument of its own, or as text.",
            )
        raise NeedsMaterializerError
    if '"$' not in text and "\\ud" not in text:
        return PassedValue(json.loads(text), None)
    if not is_for_users and type(decode_argument(text, local)) is not kind:
        raise unsupported(kind)
    plain = _shown(value)
    return PassedValue(plain, None if json.dumps(plain, separators=(",", ":")) == text else text)


def _is_itself(value: Any) -> bool:
    """Whether a value is one of JSON's that needs no encoding."""
    kind = type(value)
    if kind is str:
        return len(value) < _LARGEST and (value.isascii() or _is_unicode(value))
    if kind is int:
        return bool(-(1 << 63) <= value < 1 << 63)
    if kind is float:
        return math.isfinite(value)
    return value is None or kind is bool


# -- what users see -------------------------------------------------------------------------------------------


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> Any:
    """Return plain JSON that resembles the value; never fails."""
    import enum

    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind.__module__ == "numpy" and hasattr(value, "tolist"):
        plain = value.tolist()
        return _shown(plain) if type(plain) is not kind else _text(value)
    if isinstance(value, enum.Enum):
        return _shown(value.value)
    if kind is int:
        return value if value.bit_length() < 4096 else hex(value)
    if kind is str:
        return value if _is_unicode(value) else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, list | tuple | set | frozenset | dict):
        return _shown_container(value)
    if isinstance(value, _NAMED):
        return f"{value.__module__}.{value.__qualname__}"
    return _library_json(value)


def _shown_container(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(key): _shown(each) for key, each in value.items()}
    members = [_shown(each) for each in value]
    return sorted(members, key=json.dumps) if isinstance(value, set | frozenset) else members


def _key(key: object) -> str:
    shown = _shown(key)
    if isinstance(shown, str):
        return shown
    return ",".join(map(str, shown)) if isinstance(shown, list) else json.dumps(shown)


def _text(value: object) -> str:
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - the user's code; this text is only for users
        text = type(value).__name__
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 1] + "…"


def _library_json(value: object) -> Any:
    """Return what pydantic makes of dates, models, dataclasses and the like; otherwise text."""
    from pydantic_core import to_jsonable_python

    try:
        plain = to_jsonable_python(
            value, inf_nan_mode="constants", serialize_as_any=True, bytes_mode="base64", fallback=_text
        )
        return _shown(plain)
    except Exception:  # noqa: BLE001 - a serializer of the user's may raise anything
        return _text(value)


# -- types that travel with a function ------------------------------------------------------------------------


def types_within(function: Callable[..., object]) -> dict[str, type]:
    """Return the types that a pickled function brings along, by import path.

    They are those of its annotations, its closure and the globals that it uses, and what they are made of: a class
    that is defined in a notebook's cell or inside a function can't be imported by its name.
    """
    found: dict[str, type] = {}
    for kind in _mentioned(function):
        _collect(kind, found)
    return found


def _mentioned(function: Any) -> Iterator[object]:
    try:
        yield from typing.get_type_hints(function, include_extras=True).values()
    except Exception:  # noqa: BLE001 - annotations that can't be evaluated name no type
        yield from getattr(function, "__annotations__", {}).values()
    for cell in getattr(function, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    yield from getattr(function, "__defaults__", None) or ()
    yield from (getattr(function, "__kwdefaults__", None) or {}).values()
    code = getattr(function, "__code__", None)
    for name in code.co_names if code is not None else ():
        if name in function.__globals__:
            yield function.__globals__[name]


def _collect(target: object, found: dict[str, type]) -> None:
    for argument in typing.get_args(target):
        _collect(argument, found)
    origin = typing.get_origin(target)
    kind = origin if isinstance(origin, type) else target
    if not isinstance(kind, type):
        return
    path = import_path(kind)
    if kind.__module__ == "builtins" or path in found:
        return
    is_local = not is_importable(kind) if kind.__module__ != "__main__" else True
    if not is_local:
        return
    found[path] = kind
    for base in kind.__mro__[1:]:
        _collect(base, found)
    has_fields = dataclasses.is_dataclass(kind) or is_attrs(kind)
    fields = [field.type for field in fields_of(kind)] if has_fields else []
    fields += [field.annotation for field in getattr(kind, "model_fields", {}).values()]
    try:
        fields += typing.get_type_hints(kind, include_extras=True).values()
    except Exception:  # noqa: BLE001 - a name that is defined inside a function can't be evaluated
        fields += getattr(kind, "__annotations__", {}).values()
    for field in fields:
        _collect(field, found)
