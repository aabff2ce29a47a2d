"""A project's code as one file in the stack's bucket, named by its content.

Code changes with every edit, and an image with the code would be built, pushed and pulled each time. The bundle has
only some kilobytes. It is uploaded once for each state of the code, and each node fetches it once and unpacks it next
to Ray's own files. All containers of the node share that folder, and steps import the code from there.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rayform_core.errors import ConflictError, IntegrityError
from rayform_core.files import file_lock, private_folder, storage_error
from rayform_runtime.usercode.project_files import project_files

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore

__all__ = ["CodeBundle", "fetch_bundle", "make_bundle", "upload_bundle"]


@dataclass(frozen=True, slots=True)
class CodeBundle:
    """A packed project.

    Args:
        digest: SHA-256 of the uncompressed archive; equal files give an equal digest.
        data: the archive, gzip-compressed.
        files: number of files in it.
    """

    digest: str
    data: bytes
    files: int

    @property
    def key(self) -> str:
        """The bundle's key in the artifact store."""
        return bundle_key(self.digest)


def bundle_key(digest: str) -> str:
    """Return the key of the bundle with this digest."""
    return f"code/{digest}.tar.gz"


def make_bundle(root: Path) -> CodeBundle:
    """Pack a project without its ignored files; times, owners and order of files don't change the digest.

    Args:
        root: the project's folder.

    Raises:
        UsageError: the project is too large to be code, or a link leaves it.
    """
    raw = io.BytesIO()
    files = project_files(root)
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            entry = tarfile.TarInfo(file.name)
            data = file.path.read_bytes()
            entry.size = len(data)
            entry.mode = 0o755 if file.executable else 0o644
            archive.addfile(entry, io.BytesIO(data))
    content = raw.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    return CodeBundle(digest, gzip.compress(content, compresslevel=1, mtime=0), len(files))


def upload_bundle(bundle: CodeBundle, store: ArtifactStore) -> bool:
    """Put the bundle into the store, and return whether it was new there."""
    try:
        store.put_bytes(bundle.key, bundle.data, if_absent=True)
    except ConflictError:
        return False
    return True


def cache_folder() -> Path:
    """Return this machine's folder of unpacked bundles: `$RAYFORM_CODE_CACHE`, or a folder next to Ray's own files."""
    return Path(os.environ.get("RAYFORM_CODE_CACHE", "/tmp/ray/rayform/code"))  # noqa: S108 - Ray's folder


def fetch_bundle(stack: Mapping[str, object], key: str, digest: str) -> Path:
    """Return the folder with the bundle's files; download and unpack them if this machine doesn't have them.

    Args:
        stack: `StackSpec` as JSON; its artifact store has the bundle.
        key: the bundle's key in the store.
        digest: the bundle's digest.

    Raises:
        NotFoundError: the store has no such bundle.
        IntegrityError: the bundle has another digest.
        PrerequisiteError: the disk is full or can't be written.
    """
    parent = private_folder(cache_folder())
    target = parent / digest
    if target.is_dir():
        return target
    with file_lock(parent / f".{digest}.lock", timeout=120, what=f"code bundle {digest[:12]}"):
        if target.is_dir():
            return target
        from rayform_runtime.components import Stack, StackSpec

        unpack_bundle(Stack(StackSpec.model_validate(stack)).artifact_store.get_bytes(key), digest, target)
    return target


def unpack_bundle(data: bytes, digest: str, target: Path) -> None:
    """Verify an archive and unpack it, whole or not at all.

    Args:
        data: the compressed archive.
        digest: the bundle's digest.
        target: the new folder for its files.

    Raises:
        IntegrityError: the archive has another digest, or a name in it leaves the folder.
        PrerequisiteError: the disk is full or can't be written.
    """
    try:
        content = gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise IntegrityError(f"Code bundle {digest[:12]} is corrupt.", why=f"{error}.") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise IntegrityError(
            f"Code bundle {digest[:12]} is not what was uploaded.",
            why="Its content has another digest.",
            hint="Delete the object in the store and run again, which uploads it again.",
        )
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{digest[:12]}-"))
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for entry in archive:
                _write_entry(archive, entry, temporary)
        temporary.chmod(0o755)
        temporary.replace(target)
    except tarfile.TarError as error:
        raise IntegrityError(f"Code bundle {digest[:12]} can't be unpacked.", why=f"{error}.") from error
    except OSError as error:
        raise storage_error(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_entry(archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> None:
    """Write one file. `extractall(filter="data")` does the same from Python 3.11.4 on, and Debian has 3.11.2."""
    name = PurePosixPath(entry.name)
    source = archive.extractfile(entry) if entry.isreg() else None
    if source is None or name.is_absolute() or ".." in name.parts:
        raise tarfile.TarError(f"'{entry.name}' is not a file below the project's folder")
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read())
    target.chmod(0o755 if entry.mode & 0o100 else 0o644)
