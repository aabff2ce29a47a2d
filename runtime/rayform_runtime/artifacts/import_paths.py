"""Import paths of types (`module:qualname`): how a manifest names a type, and how it is found again.

A type of a script is named by the module that `import` makes of the script's file: `train:Result` of `train.py`,
`package.train:Result` of `python -m package.train`. Where that script is `__main__`, the name leads to `__main__`; in
any other process it leads to the imported module.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import keyword
import os
import sys
import types
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

from rayform_core.errors import IntegrityError, UsageError, nearest
from rayform_runtime.artifacts.module_files import find_file

__all__ = [
    "TypeChangedError",
    "TypeGoneError",
    "import_path",
    "is_importable",
    "loaded_modules",
    "main_as_imported",
    "main_name",
    "replacement_of",
    "resolve",
    "split",
    "types_replaced",
]

# A script is `__main__` in its own process and in workers; children of multiprocessing and earlier versions of Rayform
# have the other names.
_MAIN = ("__main__", "__mp_main__", "__rayform_main__")

resolved: set[str] | None = None
"""Gets the module and name of each type that is resolved, if it is a set: a cached result depends on their code."""

_replaced: ContextVar[Mapping[str, type]] = ContextVar("rayform_types_replaced")
"""Types to take instead of those that an import path names; set by `types_replaced`."""

_names: dict[tuple[str, str | None], str | None] = {}
"""What `main_name` returned, by file and name of the main module."""
_is_main: dict[tuple[str, str], bool] = {}
"""Whether a module's name leads to the file of the main module, by both."""


class TypeGoneError(IntegrityError):
    """A type or materializer that an artifact was saved with can't be imported any more."""


class TypeChangedError(IntegrityError):
    """A type was changed so that a value of it that was saved before doesn't fit any more."""


def import_path(kind: type) -> str:
    """Return the import path of a type.

    Example:
        >>> import_path(dict)
        'builtins:dict'
    """
    kind = _in_module(kind)
    generic = kind.__dict__.get("__pydantic_generic_metadata__")
    if isinstance(generic, dict) and isinstance(generic.get("origin"), type):
        kind = generic["origin"]  # pydantic makes a class for `Box[int]`, which no module has
    module = kind.__module__
    if module == "pathlib._local":  # Python 3.13 defines there what 3.11 and 3.12 define in `pathlib`
        module = "pathlib"
    elif module in _MAIN:
        module = main_name() or "__main__"
    return f"{module}:{kind.__qualname__}"


def _in_module(kind: type) -> type:
    """Return the class that stands in a module, for one that PyTorch makes of it for a parametrized module."""
    if kind.__module__ == "torch.nn.utils.parametrize" and kind.__name__.startswith("Parametrized"):
        return kind.__base__ or kind
    return kind


def is_importable(kind: type) -> bool:
    """Whether the type is found again by its import path in this process."""
    try:
        return resolve(import_path(kind)) is _in_module(kind)
    except (TypeGoneError, UsageError):
        return False


def split(path: str) -> tuple[str, str]:
    """Return the module and the qualified name of an import path.

    Raises:
        UsageError: it isn't an import path.
    """
    module_name, _, qualname = path.partition(":") if isinstance(path, str) else ("", "", "")
    if not all(part.isidentifier() for part in (*module_name.split("."), *qualname.split("."))):
        raise UsageError(
            f"{str(path)[:200]!r} is not the import path of a type.",
            why="An import path has the form 'module:name'. A type that is defined inside a function has none.",
            hint="Define the type at the top level of a module.",
        )
    return module_name, qualname


def replacement_of(path: str) -> type | None:
    """Return the type that the reader takes instead of the one that an import path names; see `types_replaced`."""
    return _replaced.get({}).get(path) if isinstance(path, str) else None


def resolve(path: str) -> object:
    """Import the object that an import path names; the caller trusts whoever wrote the path.

    `trust.resolve_stored` resolves the names in stored values.

    Raises:
        UsageError: the path isn't an import path.
        TypeGoneError: the module or the name in it doesn't exist here.
    """
    replacement = replacement_of(path)
    if replacement is not None:
        return replacement
    module_name, qualname = split(path)
    module: ModuleType | None = None
    for module in _modules(module_name, path):
        target: object = module
        for name in qualname.split("."):
            target = getattr(target, name, None)
        if target is not None:
            if resolved is not None:
                resolved.add(f"{module.__name__}:{qualname}")
            return target
    if module_name == "builtins" and (kind := _unnamed_builtins().get(qualname)) is not None:
        return kind
    names = [name for name in vars(module or object) if not name.startswith("_")]
    close = nearest(qualname, names, limit=1)
    raise TypeGoneError(
        f"Type '{path}' doesn't exist here.",
        why=f"Module '{module_name}' has no '{qualname}'" + (f"; it has '{close[0]}'." if close else "."),
        hint="Restore it, leave an alias of the old name, or load the value as another type: `load(as_type=NewType)`.",
    )


@contextlib.contextmanager
def types_replaced(replacements: Mapping[str, type]) -> Iterator[None]:
    """Let import paths lead to other types in this context.

    Args:
        replacements: the types to take, by the import paths that stored values name.
    """
    token = _replaced.set({**_replaced.get({}), **replacements})
    try:
        yield
    finally:
        _replaced.reset(token)


# -- the script ---------------------------------------------------------------------------------------------------


def main_name() -> str | None:
    """Return the name by which `import` finds the script that is `__main__` here, or `None` if it has none.

    A notebook has none, nor has a script whose name isn't an identifier or is another module's.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file is None:
        return None
    started_as = getattr(getattr(main, "__spec__", None), "name", None)
    key = (file, started_as)
    if key not in _names:
        name = started_as or Path(file).stem
        fits = all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split("."))
        _names[key] = name if fits and name not in _MAIN and _leads_to(name, file) else None
    return _names[key]


@contextlib.contextmanager
def main_as_imported() -> Iterator[str | None]:
    """Let `import` give the script that is `__main__` here under its own name; yield that name."""
    name = main_name()
    if name is None:
        yield None
        return
    before = sys.modules.get(name)
    sys.modules[name] = sys.modules["__main__"]
    try:
        yield name
    finally:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before


def _modules(name: str, path: str) -> Iterator[ModuleType]:
    """Yield the modules that may hold what a path names, the likeliest first."""
    if name in _MAIN:
        yield from (sys.modules[main] for main in _MAIN if main in sys.modules)
        return
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if main is not None and file is not None and Path(file).stem == name.rpartition(".")[2]:
        key = (name, file)
        if key not in _is_main:
            _is_main[key] = _leads_to(name, file)
        if _is_main[key]:
            yield main
            if name not in sys.modules:
                return  # importing it would run the script once more
    module = sys.modules.get(name)
    if module is not None:
        yield module
        return
    try:
        yield importlib.import_module(name)
    except ImportError as error:
        # A script in a package's folder is that package's module for all who import it.
        tail = f".{name}"
        loaded = [
            module for key, module in list(sys.modules.items()) if key.endswith(tail) and module is not None
        ]
        if loaded:
            yield from loaded
            return
        missing = error.name or name
        raise TypeGoneError(
            f"Type '{path}' can't be imported here.",
            why=f"{error}.",
            hint=f"Install the package that has '{missing}', put the project that defines it on the path, or load the "
            "value as another type: `load(as_type=NewType)`.",
        ) from error


def loaded_modules(name: str) -> list[ModuleType]:
    """Return the loaded modules that may hold what a path with this module's name names, the likeliest first."""
    if name in _MAIN:
        return [sys.modules[main] for main in _MAIN if main in sys.modules]
    modules = []
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if main is not None and file is not None and Path(file).stem == name.rpartition(".")[2]:
        key = (name, file)
        if key not in _is_main:
            _is_main[key] = _leads_to(name, file)
        if _is_main[key]:
            modules.append(main)
    if (module := sys.modules.get(name)) is not None and module is not main:
        modules.append(module)
    return modules


def _leads_to(name: str, file: str) -> bool:
    """Whether a module's name leads to a file, or to nothing at all."""
    module = sys.modules.get(name)
    if module is not None:
        origin = getattr(module, "__file__", None)
    else:
        origin = find_file(name)  # not by `importlib.util.find_spec`, which imports the packages above
        if origin is None:
            return True
    return origin is not None and os.path.realpath(origin) == os.path.realpath(file)


def _unnamed_builtins() -> Mapping[str, type]:
    """Return the types that say they are built in, and that only the module `types` names."""
    kinds = [
        kind for kind in vars(types).values() if isinstance(kind, type) and kind.__module__ == "builtins"
    ]
    return {kind.__qualname__: kind for kind in kinds if not hasattr(builtins, kind.__qualname__)}
