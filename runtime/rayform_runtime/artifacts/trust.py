"""What a stored value may name, and whom it may make run code: one resolver for all names that stored text holds.

A bucket, a catalog or a folder may be written by others. A value that this user's machine made (`machine_key`), or for
which the reader gave consent, is trusted: it may name anything, and be a pickle. Any other value may name only

- what this process has imported already;
- classes of the libraries whose values Rayform stores, and of a few modules of the standard library;
- classes of the user's own project, whose module is imported only if its source has the name.

So no other module is imported, and nothing is called that isn't the class of a value.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import ModuleType

from rayform_core.errors import IntegrityError
from rayform_runtime.artifacts import import_paths
from rayform_runtime.artifacts.import_paths import (
    TypeGoneError,
    loaded_modules,
    replacement_of,
    resolve,
    split,
)
from rayform_runtime.artifacts.module_files import defines, find_file, is_module_of_project, is_of_project

__all__ = [
    "UntrustedError",
    "is_of_projects_module",
    "is_trusted",
    "resolve_stored",
    "trust",
    "untrusted",
]

_LIBRARIES = frozenset(
    ("numpy", "pandas", "scipy", "polars", "pyarrow", "sklearn", "torch", "torchvision", "PIL", "matplotlib")
)
"""Packages whose classes stored values name. Their modules are imported, except programs and tests."""
_MODULES = frozenset(
    (
        *("array", "builtins", "collections", "dataclasses", "datetime", "decimal", "enum", "fractions"),
        *("ipaddress", "pathlib", "re", "types", "typing", "uuid", "zoneinfo", "pathlib._local"),
        *("pydantic.main", "pydantic", "rayform_runtime.artifacts.types", "rayform.types", "skops.io"),
    )
)
"""Other modules that may be imported: those of the values that `json_codec` stores."""
_NEVER = frozenset(("test", "tests", "testing", "_testing", "conftest", "setup", "_internal"))
"""Parts of the names of libraries' modules that hold no class of a value."""

_current: ContextVar[Callable[[], bool]] = ContextVar("rayform_trust", default=lambda: False)
"""Says whether the value that is being loaded is trusted; asked only if that matters."""


class UntrustedError(IntegrityError):
    """A stored value names something that only a trusted value may name, or it is a pickle."""


def is_trusted() -> bool:
    """Whether the value that is being loaded may run code."""
    return _current.get()()


@contextlib.contextmanager
def trust(answer: Callable[[], bool]) -> Iterator[None]:
    """Load a value in this context.

    Args:
        answer: returns whether it is trusted; called at most once, and only if that matters.
    """
    known: list[bool] = []

    def ask() -> bool:
        if not known:
            known.append(answer())
        return known[0]

    token = _current.set(ask)
    try:
        yield
    finally:
        _current.reset(token)


def untrusted(what: str, why: str, hint: str = "") -> UntrustedError:
    """Build the error for a value that isn't trusted."""
    consent = "If you trust those who may write to this stack, load it with `load(trust_pickle=True)`."
    return UntrustedError(what, why=why, hint=f"{hint} {consent}".strip())


def resolve_stored(path: str) -> object:
    """Return what an import path in stored text names.

    Args:
        path: `module:qualname`.

    Raises:
        UsageError: the path isn't an import path.
        TypeGoneError: the module or the name in it doesn't exist here.
        UntrustedError: the value isn't trusted, and may not name this.
    """
    replacement = replacement_of(path)
    if replacement is not None:
        return replacement
    module_name, qualname = split(path)
    modules = loaded_modules(module_name)
    for module in modules:
        target = _attribute(module, qualname)
        if target is not None:
            if import_paths.resolved is not None:
                import_paths.resolved.add(f"{module.__name__}:{qualname}")
            return target
    # What a loaded module doesn't hold, its `__getattr__` might import.
    may_import = "__main__" not in module_name.split(".") and not modules
    if (is_trusted() and (may_import or modules)) or (may_import and _may_import(module_name, qualname)):
        return resolve(path)
    if modules or module_name == "builtins":
        if module_name == "builtins":
            return resolve(path)  # types that only the module `types` names
        raise TypeGoneError(
            f"Type '{path[:200]}' doesn't exist here.",
            why=f"Module '{module_name}' has no '{qualname}'.",
            hint="Restore it, leave an alias of the old name, or load the value as another type: "
            "`load(as_type=NewType)`.",
        )
    if find_file(module_name) is None:
        missing = module_name.partition(".")[0]
        raise TypeGoneError(
            f"Type '{path[:200]}' can't be imported here.",
            why=f"No module '{module_name}' is installed, and no file of the project is called so.",
            hint=f"Install the package that has '{missing}', put the project that defines it on the path, or load the "
            "value as another type: `load(as_type=NewType)`.",
        )
    raise untrusted(
        f"A stored value names '{path[:200]}', which isn't loaded.",
        "It was not made on this machine, and may not import modules other than your project's.",
        f"Import '{module_name}' before you load the value, or load it as another type: `load(as_type=NewType)`.",
    )


def is_of_projects_module(target: object) -> bool:
    """Whether a class or function is defined in a module of the user's project."""
    name = getattr(target, "__module__", None)
    return isinstance(name, str) and any(
        is_module_of_project(module) or module.__name__ == "__main__" for module in loaded_modules(name)
    )


def _attribute(module: ModuleType, qualname: str) -> object:
    """Return what a module holds under a name, without running code of the module, of a class or of a descriptor."""
    target: object = module
    for name in qualname.split("."):
        if isinstance(target, ModuleType):
            target = (
                vars(target).get(name) if target is module else None
            )  # not through another module's names
        elif isinstance(target, type):
            target = next((vars(base)[name] for base in target.__mro__ if name in vars(base)), None)
        else:
            return None
        if target is None:
            return None
    return target


def _may_import(module: str, qualname: str) -> bool:
    if module in _MODULES:
        return True
    parts = module.split(".")
    file = None if "__main__" in parts else find_file(module)
    if file is None:
        return False
    is_own = is_of_project(file)
    is_listed = parts[0] in _LIBRARIES and not _NEVER.intersection(parts)
    return (is_own or is_listed) and defines(file, qualname.partition(".")[0], functions=is_own)
