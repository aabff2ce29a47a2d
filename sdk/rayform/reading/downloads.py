"""Copies of an artifact's files, as a folder or a zip file."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_core.errors import ConflictError
from rayform_core.files import storage_error

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore
    from rayform_runtime.catalog.entities import ArtifactVersion

__all__ = ["download"]


def download(record: ArtifactVersion, store: ArtifactStore, path: Path, *, overwrite: bool = False) -> Path:
    """Copy a version's files to `path`: a new folder, or one file if `path` ends in `.zip`.

    An existing file or folder is replaced only after the copy is complete.

    Raises:
        ConflictError: `path` exists, and `overwrite` isn't set.
    """
    path = path.expanduser().absolute()
    if path.exists() and not overwrite:
        raise ConflictError(
            f"'{path}' exists already.",
            hint="Choose another path, or replace it: `--overwrite`, or `overwrite=True` in Python.",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
            copied = Path(temporary) / "files"
            _copy(record, store, copied)
            if path.suffix == ".zip":
                packed = Path(temporary) / "packed.zip"
                _pack(copied, packed)
                copied = packed
            if path.exists():
                _remove(path)
            os.rename(copied, path)  # noqa: PTH104 - renames folders and files
    except OSError as error:
        raise storage_error(error, path) from error
    return path


def _copy(record: ArtifactVersion, store: ArtifactStore, target: Path) -> None:
    if not record.external:
        store.download(record.uri, target)
        return
    from rayform_runtime.artifacts.registered_data import fetch

    source = fetch(store, record.uri, digest=record.digest)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        target.mkdir()
        shutil.copy2(source, target / source.name)


def _pack(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
