"""Copies of a committed artifact's files for users to keep."""

from __future__ import annotations

import shutil
from pathlib import Path

from rayform_core.errors import ConflictError
from rayform_core.files import make_private, private_folder, storage_error
from rayform_runtime.artifacts.stores.interface import Manifest

__all__ = ["copy_artifact", "new_target"]


def new_target(target: Path) -> Path:
    """Make the folder to copy into, or take an empty one, and return it.

    Raises:
        ConflictError: a file or a folder with files is there already.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConflictError(
            f"'{target}' exists already.",
            why="A download never overwrites files.",
            hint="Pass the path of a new folder, or replace it: `rayform artifact download … --overwrite`.",
        )
    return private_folder(target)


def copy_artifact(folder: Path, target: Path, manifest: Manifest) -> None:
    """Copy the manifest's files from `folder` into the new folder `target`."""
    new_target(target)
    try:
        for file in manifest.files:
            destination = target / file.path
            make_private(destination.parent)
            shutil.copyfile(folder / file.path, destination, follow_symlinks=False)
            destination.chmod(0o600)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise storage_error(error, target) from error
