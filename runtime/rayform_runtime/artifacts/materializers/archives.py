"""Zip files of stored values, which others may have packed."""

from __future__ import annotations

import zipfile
from pathlib import Path

__all__ = ["refuse_bombs"]

_FREE = 1 << 30
"""Bytes; a file that unpacks to fewer is never refused."""
_RATIO = 200
"""How many times its own size a file may have when it is unpacked."""


def refuse_bombs(path: Path) -> None:
    """Refuse a zip file that would fill the memory.

    Raises:
        ValueError: it is one, or no zip file.
    """
    with zipfile.ZipFile(path) as archive:
        # `zipfile` never reads more of a member than this size.
        size = sum(member.file_size for member in archive.infolist())
    if size > max(_FREE, _RATIO * path.stat().st_size):
        raise ValueError(f"it has {path.stat().st_size:,} bytes and would have {size:,} when it is unpacked")
