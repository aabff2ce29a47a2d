"""Tells the user's own code from other files, and finds the files of the user's modules without importing them."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import lru_cache
from importlib.machinery import SOURCE_SUFFIXES
from pathlib import Path

__all__ = ["find_module", "is_project_file"]


@lru_cache(maxsize=1)
def _foreign_folders() -> tuple[Path, ...]:
    """Return the folders of installed code: the standard library and site packages."""
    paths = sysconfig.get_paths()
    return tuple({Path(paths[k]) for k in ("stdlib", "platstdlib", "purelib", "platlib") if k in paths})


@lru_cache(maxsize=1)
def _own_folders() -> tuple[Path, ...]:
    """Return the folders of Rayform's packages, which count as installed even in a checkout."""
    import rayform_core

    here = Path(__file__).resolve().parents[1]
    own = [here, Path(rayform_core.__file__).resolve().parent]
    if (sdk := sys.modules.get("rayform")) is not None and sdk.__file__:
        own.append(Path(sdk.__file__).resolve().parent)
    return tuple(own)


@lru_cache(maxsize=4096)
def is_project_file(path: Path) -> bool:
    """Whether a file is the user's own code: Python source that isn't installed, and isn't Rayform's."""
    if path.suffix not in SOURCE_SUFFIXES and path.suffix != "":
        return False
    if {"site-packages", "dist-packages"} & set(path.parts) or not path.is_absolute():
        return False
    if not path.is_file():
        return False
    resolved = path.resolve()
    foreign = (*_foreign_folders(), *_own_folders())
    return not any(resolved.is_relative_to(folder) or path.is_relative_to(folder) for folder in foreign)


def find_module(name: str, *, relative_to: Path | None = None) -> Path | None:
    """Return the project's file of a module, or `None` if the module is installed, built in or missing.

    Args:
        name: the module's dotted name; leading dots are relative to the package of the file `relative_to`.
        relative_to: the file that imports the module.
    """
    level = len(name) - len(name.lstrip("."))
    parts = [p for p in name.split(".") if p]
    if level:
        if relative_to is None:
            return None
        folder = relative_to.parent
        for _ in range(level - 1):
            folder = folder.parent
        return _in_folder(folder, parts)
    root = str(_import_root(relative_to)) if relative_to is not None else None
    if not parts or parts[0] in sys.builtin_module_names:
        return None
    is_standard = parts[0] in sys.stdlib_module_names
    if is_standard:
        # A project's `random.py` hides the standard library's, depending on which was imported first: it counts.
        path = _in_folder(root, parts) if root is not None else None
        if path is not None and is_project_file(path):
            return path
    file = getattr(sys.modules.get(name), "__file__", None)
    if file:
        return Path(file) if is_project_file(Path(file)) else None
    if is_standard:
        return None
    for folder in [*((root,) if root is not None else ()), *filter(None, sys.path)]:
        path = _in_folder(folder, parts)
        if path is not None:
            return path if is_project_file(path) else None
    return None


def _import_root(file: Path) -> Path:
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


def _in_folder(folder: Path | str, parts: list[str]) -> Path | None:
    target = os.path.join(folder, *parts)  # noqa: PTH118 - tried for each folder of the import path
    package = f"{target}/__init__.py"
    if os.path.isfile(package):  # noqa: PTH113
        return Path(package)
    if parts and os.path.isfile(f"{target}.py"):  # noqa: PTH113
        return Path(f"{target}.py")
    return None
