"""Import paths of types (`module:qualname`): a manifest names a type by it, and loading imports it again."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType

from rayform_core.errors import IntegrityError, UsageError, nearest

__all__ = ["TypeChangedError", "TypeGoneError", "import_path", "is_importable", "resolve"]

# A script is `__main__` in the process that the user starts, and has one of the other names in a worker.
_MAIN = ("__main__", "__rayform_main__", "__mp_main__")
on_resolve: Callable[[str], object] = lambda path: None  # noqa: E731
"""Called with each import path that is resolved: a step's cached result depends on the code of its types."""


class TypeGoneError(IntegrityError):
    """The type or materializer that an artifact was saved with can't be imported any more."""


class TypeChangedError(IntegrityError):
    """A type has changed, and a value that was saved before doesn't fit it any more."""


def import_path(kind: type) -> str:
    """Return the import path of a type; a type that a script defines is always in `__main__`.

    Example:
        >>> import_path(dict)
        'builtins:dict'
    """
    module = kind.__module__
    if module == "pathlib._local":  # Python 3.13 defines there what 3.11 and 3.12 define in `pathlib`
        module = "pathlib"
    return f"{'__main__' if module in _MAIN else module}:{kind.__qualname__}"


def is_importable(kind: type) -> bool:
    """Whether this process can import the type by its import path."""
    try:
        return resolve(import_path(kind)) is kind
    except (TypeGoneError, UsageError):
        return False


def resolve(path: str) -> object:
    """Import the object that an import path names.

    Raises:
        UsageError: the path isn't an import path.
        TypeGoneError: the module, or the name in it, doesn't exist here.
    """
    on_resolve(path)
    module_name, _, qualname = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *qualname.split("."))):
        raise UsageError(
            f"{path[:200]!r} is not the import path of a type.",
            why="An import path has the form 'module:name'. A type that is defined inside a function has none.",
            hint="Define the type at the top level of a module.",
        )
    if path == "builtins:NoneType":
        return type(None)
    target: object = None
    for candidate in _MAIN if module_name in _MAIN else (module_name,):
        module = sys.modules.get(candidate)
        if module is None and candidate not in _MAIN:
            module = _import(candidate, path)
        target = module
        for name in qualname.split("."):
            target = getattr(target, name, None)
        if target is not None:
            return target
    names = [name for name in vars(sys.modules.get(module_name) or object) if not name.startswith("_")]
    close = nearest(qualname, names, limit=1)
    raise TypeGoneError(
        f"Type '{path}' doesn't exist any more.",
        why=f"Module '{module_name}' has no '{qualname}'" + (f"; it has '{close[0]}'." if close else "."),
        hint="Restore it, keep an alias with the old name, or load the value with `as_type` set to the new type.",
    )


def _import(module: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise TypeGoneError(
            f"Type '{path}' can't be imported here.",
            why=f"{error}.",
            hint=f"Install the package with '{missing}', or put the project that defines it on the import path.",
        ) from error
