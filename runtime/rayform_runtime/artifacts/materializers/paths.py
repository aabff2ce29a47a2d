"""Files and folders that a step returns as a `Path`."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal, TypedDict

from rayform_core.errors import UsageError
from rayform_core.files import make_private
from rayform_runtime.artifacts.materializers.base import Materializer, short

__all__ = ["PathMaterializer"]

_DATA, _ABOUT = "data", "path.json"


class _About(TypedDict):
    """What is stored about a path: its name and kind, and the relative paths of executable files and empty folders."""

    name: str
    executable: list[str]
    folders: list[str]
    kind: Literal["file", "folder"]


class PathMaterializer(Materializer):
    """Stores the file or folder that a path names; it comes back as a path of a private copy.

    The loader may change the copy. It lies in `$RAYFORM_SCRATCH` if that is set, and otherwise in a temporary folder
    that is removed when the process ends.
    """

    def save(self, value: Path, folder: Path) -> None:
        """Copy the file or folder.

        Raises:
            UsageError: the path doesn't exist, or the folder holds special files or links that lead out of it.
        """
        root = value.resolve()
        about: _About = {"name": value.name or root.name, "executable": [], "folders": [], "kind": "folder"}
        target = folder / _DATA
        if root.is_file():
            about["kind"] = "file"
            self._copy(root, target, "", about)
        elif root.is_dir():
            target.mkdir(mode=0o700)
            self._copy_folder(root, target, about)
        else:
            raise UsageError(
                f"The path '{value}' can't be stored.",
                why="There is no file or folder there." if not root.exists() else "It is a special file.",
                hint="Return the path of a file or folder that the step wrote. A relative path starts in the "
                f"folder that the step runs in, '{Path.cwd()}'.",
            )
        (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")

    def _copy_folder(self, root: Path, target: Path, about: _About) -> None:
        for place, folders, files in os.walk(root):
            relative = Path(place).relative_to(root)
            for name in folders:
                entry = Path(place, name)
                if entry.is_symlink():
                    raise UsageError(
                        f"'{entry}' can't be stored.",
                        why="It is a link to a folder.",
                        hint="Replace the link by the folder itself.",
                    )
                (target / relative / name).mkdir(mode=0o700)
                if not any(entry.iterdir()):
                    about["folders"].append((relative / name).as_posix())
            for name in files:
                entry = Path(place, name)
                if entry.is_symlink() and not entry.resolve().is_relative_to(root):
                    raise UsageError(
                        f"'{entry}' can't be stored.",
                        why="It is a link that leads out of the folder.",
                        hint="Replace the link by the file itself.",
                    )
                if not entry.is_file():
                    raise UsageError(
                        f"'{entry}' can't be stored.",
                        why="It is a broken link or a special file.",
                        hint="Remove it.",
                    )
                self._copy(entry, target / relative / name, (relative / name).as_posix(), about)

    def _copy(self, source: Path, target: Path, relative: str, about: _About) -> None:
        shutil.copyfile(source, target)
        if source.stat().st_mode & 0o100:
            about["executable"].append(relative)

    def load(self, folder: Path, data_type: type) -> Path:
        """Copy the file or folder out of the store and return its path."""
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        name = os.path.basename(str(about["name"])) or "data"  # noqa: PTH119 - Path(".").name is empty too
        target = _scratch() / (name if name not in (".", "..") else "data")
        source = folder / _DATA
        if about["kind"] == "file":
            shutil.copyfile(source, target)
        else:
            target.mkdir(mode=0o700)
            if source.exists():  # an empty folder doesn't, in a store without folders
                shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
        for relative in about["folders"]:
            make_private(self._inside(target, relative))
        for relative in about["executable"]:
            self._inside(target, relative).chmod(0o700)
        return target

    def _inside(self, target: Path, relative: str) -> Path:
        path = target / relative if relative else target
        if not path.resolve().is_relative_to(target.resolve()):
            raise UsageError(f"'{relative}' leads out of the stored folder.")
        return path

    def extract_metadata(self, value: Path) -> dict[str, object]:
        """Return name, kind, number of files and bytes."""
        root = value.resolve()
        files = [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]
        return {
            "name": value.name or root.name,
            "kind": "file" if root.is_file() else "folder",
            "files": len(files),
            "nbytes": sum(path.stat().st_size for path in files),
        }

    def summary(self, value: Path) -> str:
        """Return its name."""
        return short(f"{'file' if value.is_file() else 'folder'} {value.name}")


def _scratch() -> Path:
    base = os.environ.get("RAYFORM_SCRATCH")
    if base:
        make_private(Path(base))
        return Path(tempfile.mkdtemp(prefix="path-", dir=base))
    folder = tempfile.mkdtemp(prefix="rayform-path-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
