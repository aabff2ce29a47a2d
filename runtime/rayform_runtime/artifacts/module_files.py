"""Finds the file of a module, and what it defines, without importing it or a package above it."""

from __future__ import annotations

import ast
import os
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path
from types import ModuleType

__all__ = ["defines", "find_file", "is_module_of_project", "is_of_project"]

_LARGEST_SOURCE = 4 << 20
"""Bytes; a larger file isn't parsed, and defines nothing."""


def find_file(name: str) -> str | None:
    """Return the file that `import` would load for a module's name, or `None` if there is none on the import path."""
    path: Iterable[str] | None = None
    origin = None
    parts = name.split(".")
    for index in range(len(parts)):
        try:
            spec = PathFinder.find_spec(".".join(parts[: index + 1]), None if path is None else list(path))
        except (ImportError, ValueError, OSError):
            return None
        if spec is None:
            return None
        origin, path = spec.origin, spec.submodule_search_locations or ()
    return origin


@lru_cache(maxsize=1)
def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib") if name in paths}
    import rayform_core

    folders |= {str(Path(__file__).parents[1]), str(Path(rayform_core.__file__).parent)}
    return tuple({os.path.realpath(folder) + os.sep for folder in folders})


@lru_cache(maxsize=4096)
def is_of_project(file: str) -> bool:
    """Whether a file is Python source of the user: neither installed, nor of the standard library, nor Rayform's."""
    if not file.endswith(".py") or not os.path.isabs(file):  # noqa: PTH117
        return False
    real = os.path.realpath(file)
    if {"site-packages", "dist-packages"} & {*Path(file).parts, *Path(real).parts}:
        return False
    is_own = f"{os.sep}rayform{os.sep}" in real and Path(real).name != "__main__.py" and _is_rayforms(real)
    return not is_own and not real.startswith(_installed_folders())


def _is_rayforms(file: str) -> bool:
    import sys

    sdk = getattr(sys.modules.get("rayform"), "__file__", None)
    return sdk is not None and file.startswith(os.path.dirname(os.path.realpath(sdk)) + os.sep)  # noqa: PTH120


def is_module_of_project(module: ModuleType) -> bool:
    """Whether a loaded module is the user's."""
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and is_of_project(file)


@lru_cache(maxsize=1024)
def _top_level_names(file: str, modified: int, functions: bool) -> frozenset[str] | None:
    """Return the names that a source file binds at its top level; `None` if it binds all names of another module."""
    try:
        source = Path(file).read_bytes()
        if len(source) > _LARGEST_SOURCE:
            return frozenset()
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    names: set[str] = set()
    for node in _statements(tree.body):
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                return None
            names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
        elif functions and isinstance(node, ast.FunctionDef):
            names.add(node.name)
    return frozenset(names)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With):
                yield from _statements(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from _statements(handler.body)


def defines(file: str, name: str, *, functions: bool) -> bool:
    """Whether a module's file binds a name at its top level; of a compiled one, that isn't known, and it is true.

    Args:
        file: the file.
        name: the name.
        functions: whether the name of a function counts.
    """
    if file.endswith(tuple(EXTENSION_SUFFIXES)):
        return True
    if not file.endswith(".py"):
        return False
    try:
        modified = Path(file).stat().st_mtime_ns
    except OSError:
        return False
    names = _top_level_names(file, modified, functions)
    return names is None or name in names
