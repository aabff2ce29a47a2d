"""Which files are a person's own code, and where a module of theirs lies; found without importing anything."""

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
    """Folders of what is installed: the standard library and site packages."""
    paths = sysconfig.get_paths()
    known = {paths[k] for k in ("stdlib", "platstdlib", "purelib", "platlib") if k in paths}
    return tuple(Path(p) for p in known)


@lru_cache(maxsize=1)
def _own_folders() -> tuple[Path, ...]:
    """Rayform's own packages, which count as installed even where they are not."""
    import rayform_core

    here = Path(__file__).resolve().parents[1]
    own = [here, Path(rayform_core.__file__).resolve().parent]
    if (sdk := sys.modules.get("rayform")) is not None and sdk.__file__:
        own.append(Path(sdk.__file__).resolve().parent)
    return tuple(own)


@lru_cache(maxsize=4096)
def is_project_file(path: Path) -> bool:
    """Whether a file is a person's own code: Python source that isn't installed, and isn't Rayform's."""
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
    """Return the project's file of a module, or `None` where it is installed, built in or missing.

    Args:
        name: dotted; leading dots are relative to the package of the file `relative_to`.
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
    if parts and parts[0] in sys.stdlib_module_names:
        return None
    loaded = sys.modules.get(name)
    file = getattr(loaded, "__file__", None)
    if file:
        path = Path(file)
        return path if is_project_file(path) else None
    folders = [entry for entry in sys.path if entry]
    if relative_to is not None:
        folders.insert(0, str(_import_root(relative_to)))
    for place in folders:
        found = _in_folder(place, parts)
        if found is not None:
            return found if is_project_file(found) else None
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
