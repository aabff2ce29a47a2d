"""Indexes of the user's modules, kept on this machine: parsing a project of 200 modules takes longer than a short run.

One file for each folder of modules, below `$RAYFORM_HOME/cache/code`. A module's entry counts as long as the stamp of
its file is the same. A file that can't be read, or that another version of Python or of Rayform wrote, is as good as
none.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_core.errors import PrerequisiteError
from rayform_core.files import home, write_atomically
from rayform_core.version import __version__

if TYPE_CHECKING:
    from rayform_runtime.usercode.module_index import FileStamp

__all__ = ["IndexCache"]

_WORTH_SAVING = 10
"""Entries; parsing fewer modules takes about as long as writing them."""
_VERSION = (2, __version__, sys.version)


class IndexCache:
    """Plain entries of modules, by folder."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, tuple[FileStamp, object]]] = {}  # read when first asked for
        self._changed: set[str] = set()  # folders with entries that aren't saved
        self._new = 0  # number of such entries

    def get(self, file: Path, stamp: FileStamp) -> object | None:
        """Return the entry of a file with this stamp, or `None` if there is none."""
        entry = self._folder(str(file.parent)).get(file.name)
        return entry[1] if entry is not None and entry[0] == stamp else None

    def put(self, file: Path, stamp: FileStamp, entry: object) -> None:
        """Set the entry of a file; `save` writes it."""
        folder = str(file.parent)
        self._folder(folder)[file.name] = (stamp, entry)
        self._changed.add(folder)
        self._new += 1

    def save(self) -> None:
        """Write what has changed, if it is worth it. A disk that takes nothing costs the next run time, and no more."""
        if self._new < _WORTH_SAVING:
            return
        for folder in sorted(self._changed):
            try:
                write_atomically(_place(folder), marshal.dumps((_VERSION, self._folders[folder])))
            except (PrerequisiteError, ValueError):
                return
        self._changed.clear()
        self._new = 0

    def _folder(self, folder: str) -> dict[str, tuple[FileStamp, object]]:
        entries = self._folders.get(folder)
        if entries is None:
            entries = self._folders[folder] = _read(_place(folder))
        return entries


def _place(folder: str) -> Path:
    name = hashlib.blake2b(os.fsencode(folder), digest_size=16).hexdigest()
    return home() / "cache" / "code" / name


def _read(path: Path) -> dict[str, tuple[FileStamp, object]]:
    try:
        # The file is this user's own: `write_atomically` lets nobody else write there.
        version, entries = marshal.loads(path.read_bytes())  # noqa: S302 - a file of this user, in a folder 0700
    except (OSError, ValueError, EOFError, TypeError):
        return {}
    return entries if version == _VERSION and isinstance(entries, dict) else {}
