"""`fileio` and `io_utils`: ZenML's file functions, on folders of this machine and on the active stack's store.

Local paths and `file:` URIs can be read and written. What lies in a remote store can be read: committed artifacts never
change, so writing there is refused.
"""

from __future__ import annotations

import glob as globbing
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore

__all__ = [
    "convert_to_str",
    "copy",
    "copy_dir",
    "create_dir_if_not_exists",
    "create_dir_recursive_if_not_exists",
    "create_file_if_not_exists",
    "exists",
    "find_files",
    "get_global_config_directory",
    "get_parent",
    "glob",
    "is_remote",
    "is_root",
    "isdir",
    "listdir",
    "makedirs",
    "mkdir",
    "move",
    "open",
    "read_file_contents_as_string",
    "remove",
    "rename",
    "resolve_relative_path",
    "rmtree",
    "size",
    "stat",
    "walk",
    "write_file_contents_as_string",
]

_Place = str | bytes | os.PathLike[str]


def convert_to_str(path: _Place) -> str:
    """Return a path as text."""
    return path.decode() if isinstance(path, bytes) else os.fspath(path)


def is_remote(path: str) -> bool:
    """Whether a path is a URI of a remote store."""
    scheme = urlsplit(path).scheme
    return len(scheme) > 1 and scheme != "file"


def _local(path: _Place) -> Path:
    """Return a path of this machine.

    Raises:
        UsageError: it lies in a remote store.
    """
    text = convert_to_str(path)
    if is_remote(text):
        raise UsageError(
            f"'{text}' can't be changed or listed as a file.",
            why="It lies in a remote store, whose artifacts never change.",
            hint="Write files in a materializer's `self.uri`, or save a folder: `save_artifact(Path(...), NAME)`.",
        )
    return Path(unquote(urlsplit(text).path)) if text.startswith("file:") else Path(text)


def _store(uri: str) -> tuple[ArtifactStore, str]:
    """Return the active stack's store and the key of a URI in it.

    Raises:
        UsageError: the URI lies outside of the store.
    """
    from rayform.reading.client import Client

    store = Client().artifact_store
    key = store.key_of(uri)
    if key is None:
        raise UsageError(
            f"'{uri}' lies outside of the active stack's store.", why=f"The store is '{store.uri}'."
        )
    return store, key


def open(path: _Place, mode: str = "r") -> IO[Any]:  # noqa: A001 - ZenML's name
    """Open a file: of this machine in any mode, of the active stack's store for reading.

    Raises:
        FileNotFoundError: there is no such file.
        UsageError: a file of a remote store is to be written.
    """
    text = convert_to_str(path)
    if is_remote(text) and not set(mode) & set("wax+"):
        import io

        store, key = _store(text)
        data = store.get_bytes(key)
        return io.BytesIO(data) if "b" in mode else io.StringIO(data.decode())
    return _local(path).open(mode)


def exists(path: _Place) -> bool:
    """Whether there is a file or folder."""
    text = convert_to_str(path)
    if is_remote(text):
        store, key = _store(text)
        return store.exists(text) or any(True for _ in store.list_objects(key))
    return _local(path).exists()


def isdir(path: _Place) -> bool:
    """Whether a path is a folder."""
    return _local(path).is_dir()


def listdir(path: _Place, only_file_names: bool = True) -> list[str]:
    """Return the names of the files and folders in a folder.

    Args:
        path: the folder.
        only_file_names: `False` returns paths.
    """
    folder = _local(path)
    return [entry.name if only_file_names else str(entry) for entry in sorted(folder.iterdir())]


def glob(pattern: _Place) -> list[str]:
    """Return the paths that fit a pattern."""
    return sorted(globbing.glob(str(_local(pattern))))  # noqa: PTH207 - the pattern may be absolute


def walk(top: _Place, topdown: bool = True, **_: object) -> Iterable[tuple[str, list[str], list[str]]]:
    """Give each folder below `top` with the names of its folders and files."""
    return os.walk(_local(top), topdown=topdown)


def makedirs(path: _Place) -> None:
    """Make a folder and those that it lies in; it may exist."""
    _local(path).mkdir(parents=True, exist_ok=True)


def mkdir(path: _Place) -> None:
    """Make a folder; it may exist."""
    _local(path).mkdir(exist_ok=True)


def remove(path: _Place) -> None:
    """Delete a file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    _local(path).unlink()


def rmtree(dir_path: _Place) -> None:
    """Delete a folder with all that is in it."""
    shutil.rmtree(_local(dir_path))


def copy(src: _Place, dst: _Place, overwrite: bool = False) -> None:
    """Copy a file.

    Raises:
        FileExistsError: `dst` exists, and `overwrite` isn't set.
    """
    if exists(dst) and not overwrite:
        raise FileExistsError(f"'{convert_to_str(dst)}' exists. Pass overwrite=True to replace it.")
    with open(src, "rb") as source, open(dst, "wb") as target:
        shutil.copyfileobj(source, target)


def rename(src: _Place, dst: _Place, overwrite: bool = False) -> None:
    """Rename a file or folder.

    Raises:
        FileExistsError: `dst` exists, and `overwrite` isn't set.
    """
    if exists(dst) and not overwrite:
        raise FileExistsError(f"'{convert_to_str(dst)}' exists. Pass overwrite=True to replace it.")
    _local(src).replace(_local(dst))


def stat(path: _Place) -> os.stat_result:
    """Return the facts that the system knows of a file."""
    return _local(path).stat()


def size(path: _Place) -> int | None:
    """Return the bytes of a file, or of all files in a folder; `None` if there is neither."""
    place = _local(path)
    if place.is_dir():
        return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    return place.stat().st_size if place.exists() else None


# -- io_utils -----------------------------------------------------------------------------------------------
def copy_dir(source_dir: str, destination_dir: str, overwrite: bool = False) -> None:
    """Copy a folder with all that is in it.

    Raises:
        FileExistsError: a file exists, and `overwrite` isn't set.
    """
    source, target = _local(source_dir), _local(destination_dir)
    for file in source.rglob("*"):
        if file.is_file():
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            copy(file, place, overwrite=overwrite)


def find_files(dir_path: _Place, pattern: str) -> Iterator[str]:
    """Give the paths of all files below a folder whose names fit a pattern."""
    return (str(path) for path in _local(dir_path).rglob(pattern))


def create_file_if_not_exists(file_path: str, file_contents: str = "") -> None:
    """Write a file and the folders that it lies in, if there is none."""
    if not exists(file_path):
        makedirs(Path(file_path).parent)
        write_file_contents_as_string(file_path, file_contents)


def create_dir_if_not_exists(dir_path: str) -> None:
    """Make a folder, if there is none."""
    mkdir(dir_path)


def create_dir_recursive_if_not_exists(dir_path: str) -> None:
    """Make a folder and those that it lies in, if there is none."""
    makedirs(dir_path)


def read_file_contents_as_string(file_path: str) -> str:
    """Return the text of a file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with open(file_path) as file:
        return str(file.read())


def write_file_contents_as_string(file_path: str, content: str) -> None:
    """Write a text, in place of what the file held."""
    with open(file_path, "w") as file:
        file.write(content)


def resolve_relative_path(path: str) -> str:
    """Return an absolute path for a local one; URIs stay as they are."""
    return path if is_remote(path) else str(Path(path).resolve())


def move(source: str, destination: str, overwrite: bool = False) -> None:
    """Move a file or folder; arguments and errors as for `rename`."""
    rename(source, destination, overwrite)


def get_parent(dir_path: str) -> str:
    """Return the name of the folder that a folder lies in."""
    return Path(dir_path).parent.stem


def is_root(path: str) -> bool:
    """Whether a path is the root of the file system."""
    return Path(path).parent == Path(path)


def get_global_config_directory() -> str:
    """Return the folder of Rayform's stacks and runs on this machine."""
    from rayform_core.files import home

    return str(home())
