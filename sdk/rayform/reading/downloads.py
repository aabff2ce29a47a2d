"""Copies of an artifact's files, as a folder or a zip file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_core.errors import ConflictError
from rayform_core.files import storage_error
from rayform_runtime.artifacts.stores.files import walk_files

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore
    from rayform_runtime.catalog.entities import ArtifactVersion

__all__ = ["download"]

_MARKER = ".rayform-download.json"
"""Lists the files of a downloaded folder."""
_PACKED = b"rayform download"
"""The comment of a downloaded zip file."""


def download(record: ArtifactVersion, store: ArtifactStore, path: Path, *, overwrite: bool = False) -> Path:
    """Copy a version's files to `path`: a new folder, or one file if `path` ends in `.zip`.

    An existing file or folder is replaced only after the copy is complete. Only what can't be anything else than an
    earlier download is replaced: an empty folder, a folder that a download made and that nobody has changed or added a
    file in since, and a zip file that a download wrote.

    Raises:
        ConflictError: `path` exists, and `overwrite` isn't set; or it holds files that no download wrote.
    """
    path = Path(os.path.normpath(path.expanduser().absolute()))
    if os.path.lexists(path):
        if overwrite:
            _refuse_foreign(path)
        else:
            replacing = ", or replace it: `--overwrite`, or `overwrite=True` in Python"
            raise ConflictError(
                f"'{path}' exists already.",
                hint=f"Choose another path{'' if _why_foreign(path) else replacing}.",
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
            else:
                _mark(copied)
            if os.path.lexists(path):
                _refuse_foreign(path)  # again: the copy may have taken long
                os.rename(path, Path(temporary) / "earlier")  # noqa: PTH104 - renames folders and files
            os.rename(copied, path)  # noqa: PTH104
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
        archive.comment = _PACKED
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))


def _is_packed_download(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment == _PACKED
    except (OSError, zipfile.BadZipFile):
        return False


# -- what a download may replace ------------------------------------------------------------------------------


def _mark(folder: Path) -> None:
    """Write into a download which files are its own, so that a later one may replace it."""
    files = {name: entry.stat().st_size for name, entry in walk_files(folder)}
    (folder / _MARKER).write_text(json.dumps({"files": files}), encoding="utf-8")


def _refuse_foreign(path: Path) -> None:
    """Raise if something lies at `path` that isn't certainly an earlier download."""
    why = _why_foreign(path)
    if why:
        raise ConflictError(
            f"'{path}' can't be replaced by a download.",
            why=why,
            hint="Choose a new folder; `--overwrite` replaces only an earlier download. Nothing was changed.",
        )


def _why_foreign(path: Path) -> str:
    place = path.resolve()
    here, own = Path.cwd().resolve(), Path.home().resolve()
    if place in (here, *here.parents):
        return "It is the working directory, or a folder above it."
    if place in (own, *own.parents):
        return "It is your home folder, or a folder above it."
    if path.is_symlink():
        return "It is a link."
    if not path.is_dir():
        return "" if _is_packed_download(path) else "It is a file that no download wrote."
    try:
        files: dict[str, int] = json.loads((path / _MARKER).read_text(encoding="utf-8"))["files"]
        expected = {**files, _MARKER: None}
    except FileNotFoundError:
        return "It is a folder that no download made." if any(path.iterdir()) else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"Its file '{_MARKER}' can't be read."
    for name, entry in walk_files(path):
        if name not in expected:
            return f"It holds '{name}', which the earlier download didn't write."
        size = expected[name]
        if size is not None and entry.stat(follow_symlinks=False).st_size != size:
            return f"Its file '{name}' was changed after the download."
    return ""
