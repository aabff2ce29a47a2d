"""Points a step's sources at the place where the project's code lies on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = ["moved"]


def moved(value: Any, old_root: str, new_root: Path) -> Any:
    """Return a spec's JSON with each source file below `old_root` named below `new_root`.

    A file elsewhere (an installed package's) is left out: its module is imported by name.

    Args:
        value: `StepSpec` as JSON, or a part of it.
        old_root: the project's folder on the machine that traced the pipeline.
        new_root: the same project here.
    """
    if isinstance(value, Mapping):
        if "module" in value and "qualname" in value and value.get("file"):
            return {**value, "file": _moved_file(str(value["file"]), old_root, new_root)}
        return {key: moved(item, old_root, new_root) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [moved(item, old_root, new_root) for item in value]
    return value


def _moved_file(file: str, old_root: str, new_root: Path) -> str | None:
    try:
        return str(new_root / PurePosixPath(file).relative_to(old_root))
    except ValueError:
        return None
