"""Pictures of a value (HTML, images, CSV, Markdown, JSON) that are stored with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.stores.files import walk_files, write_new_file
from rayform_runtime.artifacts.stores.keys import is_safe_key

__all__ = ["FOLDER", "KINDS", "Picture", "attach", "collect", "kind_of"]

FOLDER = "visualizations"
"""Folder of an artifact that holds its pictures."""
KINDS = ("html", "image", "csv", "markdown", "json")
_SUFFIXES = {
    "html": "html", "htm": "html", "png": "image", "jpg": "image", "jpeg": "image", "gif": "image",
    "svg": "image", "webp": "image", "csv": "csv", "md": "markdown", "markdown": "markdown", "json": "json",
}  # fmt: skip


class Picture(NamedTuple):
    """A stored picture: its path in the artifact, and its kind."""

    path: str
    kind: str


def kind_of(name: str) -> str:
    """Return the kind of a picture by the suffix of its file name.

    Raises:
        UsageError: the suffix stands for no kind.
    """
    kind = _SUFFIXES.get(name.rpartition(".")[2].lower())
    if kind is None:
        raise UsageError(
            f"'{name}' can't be attached as a visualization.",
            why="Its suffix belongs to no kind of picture that Rayform shows.",
            hint=f"Use one of: {', '.join('.' + suffix for suffix in _SUFFIXES)}.",
        )
    return kind


def collect(folder: Path, kinds: Mapping[str, str]) -> dict[str, Picture]:
    """Check the pictures that a materializer wrote, and remove files from `folder` that it didn't return.

    Args:
        folder: the folder that the materializer wrote into.
        kinds: what `save_visualizations` returned: the kind of each file.

    Returns:
        the pictures by name.

    Raises:
        UsageError: a kind is unknown, or a file wasn't written.
    """
    files = {relative: entry.path for relative, entry in walk_files(folder)}
    pictures: dict[str, Picture] = {}
    for path, kind in kinds.items():
        # A materializer may return a path in the folder or a whole path.
        name = os.path.relpath(path, folder) if Path(path).is_absolute() else path
        if str(kind) not in KINDS:
            raise UsageError(
                f"Visualization '{name}' has kind '{kind}', which can't be shown.",
                hint=f"Kinds are: {', '.join(KINDS)}.",
            )
        if files.pop(name, None) is None:
            raise UsageError(
                f"Visualization '{name}' can't be stored.",
                why="save_visualizations names it but didn't write it.",
                hint="Write into the folder that is passed to save_visualizations, and return that path.",
            )
        pictures[name] = Picture(f"{FOLDER}/{name}", str(kind))
    for path in files.values():
        Path(path).unlink()
    return pictures


def attach(folder: Path, attached: Mapping[str, str | bytes]) -> dict[str, Picture]:
    """Write a user's own pictures into `folder`.

    Args:
        folder: the folder to write into.
        attached: the content of each picture by its file name.

    Returns:
        the pictures by name.

    Raises:
        UsageError: a name isn't a plain file name, its suffix stands for no kind, or a content can't be a picture.
    """
    pictures: dict[str, Picture] = {}
    for name, content in attached.items():
        if "/" in name or not is_safe_key(name):
            raise UsageError(
                f"{name[:200]!r} is not a valid name for a visualization.", hint="Use a plain file name."
            )
        if not isinstance(content, str | bytes | bytearray):
            raise UsageError(
                f"Visualization '{name}' has a content of type {type(content).__name__}.",
                hint="Pass text, or the bytes of an image.",
            )
        kind = kind_of(name)
        path = folder / name
        path.unlink(missing_ok=True)
        write_new_file(path, content.encode() if isinstance(content, str) else content)
        pictures[name] = Picture(f"{FOLDER}/{name}", kind)
    return pictures
