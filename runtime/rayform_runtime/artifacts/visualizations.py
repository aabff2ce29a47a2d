"""Pictures of a value (HTML, images, CSV, Markdown, JSON) that are stored with it."""

from __future__ import annotations

import os
from pathlib import Path

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.stores.files import walk_files, write_new_file
from rayform_runtime.artifacts.stores.keys import is_safe_key

__all__ = ["FOLDER", "KINDS", "attach", "collect", "kind_of"]

FOLDER = "visualizations"
KINDS = ("html", "image", "csv", "markdown", "json")
_SUFFIXES = {
    "html": "html", "htm": "html", "png": "image", "jpg": "image", "jpeg": "image", "gif": "image",
    "svg": "image", "webp": "image", "csv": "csv", "md": "markdown", "markdown": "markdown", "json": "json",
}  # fmt: skip


def kind_of(name: str) -> str:
    """Return the kind of a picture by the suffix of its file name.

    Raises:
        UsageError: it has another suffix.
    """
    kind = _SUFFIXES.get(name.rpartition(".")[2].lower())
    if kind is None:
        raise UsageError(
            f"'{name}' can't be attached as a visualization.",
            why="Its suffix tells no kind that can be shown.",
            hint=f"Use one of: {', '.join('.' + suffix for suffix in _SUFFIXES)}.",
        )
    return kind


def collect(folder: Path, written: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Check what a materializer wrote, and remove from `folder` what it didn't name.

    Returns:
        `(path in the artifact, kind)` by name.

    Raises:
        UsageError: a kind is unknown, or a named file wasn't written.
    """
    found = {relative: entry.path for relative, entry, _ in walk_files(folder)}
    pictures: dict[str, tuple[str, str]] = {}
    for given, kind in written.items():
        # Materializers may name a file by its path in the folder or by its whole path.
        name = os.path.relpath(given, folder) if Path(given).is_absolute() else given
        if str(kind) not in KINDS:
            raise UsageError(
                f"Visualization '{name}' has kind '{kind}', which can't be shown.",
                hint=f"Kinds are: {', '.join(KINDS)}.",
            )
        if found.pop(name, None) is None:
            raise UsageError(
                f"Visualization '{name}' can't be stored.",
                why="save_visualizations names it but didn't write it.",
                hint="Write into the folder that save_visualizations is given and return that path.",
            )
        pictures[name] = (f"{FOLDER}/{name}", str(kind))
    for path in found.values():
        Path(path).unlink()
    return pictures


def attach(folder: Path, attached: dict[str, str | bytes]) -> dict[str, tuple[str, str]]:
    """Write pictures that a person gave into `folder`.

    Returns:
        `(path in the artifact, kind)` by name.
    """
    pictures: dict[str, tuple[str, str]] = {}
    for name, content in attached.items():
        if "/" in name or not is_safe_key(name):
            raise UsageError(f"{name[:200]!r} is no name of a visualization.", hint="Use a plain file name.")
        if not isinstance(content, str | bytes | bytearray):
            raise UsageError(
                f"Visualization '{name}' has a content of type {type(content).__name__}.",
                hint="Give text, or the bytes of an image.",
            )
        kind = kind_of(name)
        path = folder / name
        path.unlink(missing_ok=True)
        write_new_file(path, content.encode() if isinstance(content, str) else content)
        pictures[name] = (f"{FOLDER}/{name}", kind)
    return pictures
