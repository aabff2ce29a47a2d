"""Import paths of types (`module:qualname`): how a manifest names a type, and how it is found again."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from rayform_core.errors import IntegrityError, UsageError, nearest

__all__ = ["TypeChangedError", "TypeGoneError", "import_path", "is_importable", "resolve"]

# A script runs as `__main__` in the process that a person starts and under one of these names in a worker.
_MAIN = ("__main__", "__rayform_main__", "__mp_main__")


class TypeGoneError(IntegrityError):
    """A type or materializer that an artifact was saved with can't be imported any more."""


class TypeChangedError(IntegrityError):
    """A type was changed so that a value of it that was saved before doesn't fit any more."""


def import_path(kind: type) -> str:
    """Return the import path of a type; what a script defines is in `__main__` whatever a worker calls it.

    Example:
        >>> import_path(dict)
        'builtins:dict'
    """
    module = kind.__module__
    if module == "pathlib._local":  # where Python 3.13 alone keeps what 3.11 and 3.12 have in `pathlib`
        module = "pathlib"
    return f"{'__main__' if module in _MAIN else module}:{kind.__qualname__}"


def is_importable(kind: type) -> bool:
    """Whether the type is found again by its import path in this process."""
    try:
        return resolve(import_path(kind)) is kind
    except (TypeGoneError, UsageError):
        return False


def resolve(path: str) -> Any:
    """Import what an import path names.

    Raises:
        UsageError: it is no import path.
        TypeGoneError: the module or the name in it doesn't exist here.
    """
    module_name, _, qualname = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *qualname.split("."))):
        raise UsageError(
            f"{path[:200]!r} is no import path of a type.",
            why="An import path is 'module:name', and what is defined inside a function has none.",
            hint="Define the type at the top level of a module.",
        )
    if path == "builtins:NoneType":
        return type(None)
    found: Any = None
    for candidate in _MAIN if module_name in _MAIN else (module_name,):
        module = sys.modules.get(candidate)
        if module is None and candidate not in _MAIN:
            module = _import(candidate, path)
        found = module
        for name in qualname.split("."):
            found = getattr(found, name, None)
        if found is not None:
            return found
    known = [name for name in vars(sys.modules.get(module_name) or object) if not name.startswith("_")]
    close = nearest(qualname, known, limit=1)
    raise TypeGoneError(
        f"Type '{path}' doesn't exist any more.",
        why=f"Module '{module_name}' has no '{qualname}'" + (f"; it has '{close[0]}'." if close else "."),
        hint="Restore it, leave an alias of the old name, or load the value with `as_type` set to the new type.",
    )


def _import(module: str, path: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise TypeGoneError(
            f"Type '{path}' can't be imported here.",
            why=f"{error}.",
            hint=f"Install the package that has '{missing}', or put the project that defines it on the path.",
        ) from error
