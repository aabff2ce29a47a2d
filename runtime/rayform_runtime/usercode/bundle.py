"""A project's code as one file in the stack's bucket, named by its content.

Code changes with every edit, and an image with the code would be built, pushed and pulled each time. The bundle has
only some kilobytes. It is uploaded once for each state of the code. Each container fetches it once, verifies its digest
and unpacks it into a folder of its own, which no other container can reach; steps import the code from there.

What comes from the bucket is hostile until its digest is verified. Until then it is only decompressed, a piece at a
time, into a file of limited size.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from rayform_core.errors import ConflictError, IntegrityError
from rayform_core.files import file_lock, home, private_folder, storage_error
from rayform_runtime.usercode.project_files import LeftOut, select_files

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore

__all__ = ["LARGEST_BUNDLE", "CodeBundle", "fetch_bundle", "left_out_note", "make_bundle", "upload_bundle"]

LARGEST_BUNDLE = 640 * 2**20
"""Bytes of the largest archive, uncompressed: a project's 512 MiB in 20,000 files, with their headers."""
_PIECE = 2**20
_SHOWN = 10
"""Files that a note names."""


@dataclass(frozen=True, slots=True)
class CodeBundle:
    """A packed project.

    Args:
        digest: SHA-256 of the uncompressed archive; equal files give an equal digest.
        data: the archive, gzip-compressed.
        files: number of files in it.
        left_out: files and folders that look like secrets, and stay on this machine.
    """

    digest: str
    data: bytes
    files: int
    left_out: tuple[LeftOut, ...] = ()

    @property
    def key(self) -> str:
        """The bundle's key in the artifact store."""
        return bundle_key(self.digest)


def bundle_key(digest: str) -> str:
    """Return the key of the bundle with this digest."""
    return f"code/{digest}.tar.gz"


def make_bundle(root: Path) -> CodeBundle:
    """Pack a project without ignored files and secrets; times, owners and order of files don't change the digest.

    Args:
        root: the project's folder.

    Raises:
        UsageError: the project is too large to be code, or a link leaves it.
    """
    raw = io.BytesIO()
    selection = select_files(root)
    files = selection.files
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            entry = tarfile.TarInfo(file.name)
            data = file.path.read_bytes()
            entry.size = len(data)
            entry.mode = 0o755 if file.executable else 0o644
            archive.addfile(entry, io.BytesIO(data))
    content = raw.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    return CodeBundle(
        digest, gzip.compress(content, compresslevel=1, mtime=0), len(files), tuple(selection.left_out)
    )


def left_out_note(bundle: CodeBundle) -> str:
    """Return a note that names what was left out of a bundle, and what to do about it; empty if nothing was."""
    if not bundle.left_out:
        return ""
    shown = ", ".join(f"{item.name} ({item.why})" for item in bundle.left_out[:_SHOWN])
    more = len(bundle.left_out) - _SHOWN
    rest = f", and {more} more" if more > 0 else ""
    return (
        f"Left out of the code that travels: {shown}{rest}. Steps read secrets from the "
        "cloud's secret store. A file that is no secret travels with a line `!path/of/file` in .rayformignore."
    )


def upload_bundle(bundle: CodeBundle, store: ArtifactStore) -> bool:
    """Put the bundle into the store, and return whether it was new there."""
    try:
        store.put_bytes(bundle.key, bundle.data, if_absent=True)
    except ConflictError:
        return False
    return True


def cache_folder() -> Path:
    """Return the folder of unpacked bundles: `$RAYFORM_CODE_CACHE`, or a private one of this machine or container.

    It isn't next to Ray's own files: containers share those, and a step could change the code of another one, or of the
    scheduler on the head.
    """
    if folder := os.environ.get("RAYFORM_CODE_CACHE"):
        return Path(folder)
    return Path("/var/lib/rayform/code") if os.geteuid() == 0 else home() / "code"


def fetch_bundle(stack: Mapping[str, object], key: str, digest: str) -> Path:
    """Return the folder with the bundle's files; download and unpack them if this machine doesn't have them.

    Args:
        stack: `StackSpec` as JSON; its artifact store has the bundle.
        key: the bundle's key in the store.
        digest: the bundle's digest.

    Raises:
        NotFoundError: the store has no such bundle.
        IntegrityError: the bundle has another digest, or is larger than one can be.
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

        store = Stack(StackSpec.model_validate(stack)).artifact_store
        if any(each.key == key and each.size > LARGEST_BUNDLE for each in store.list_objects(key)):
            raise _too_large(digest)
        unpack_bundle(store.get_bytes(key), digest, target)
    return target


def unpack_bundle(data: bytes, digest: str, target: Path) -> None:
    """Verify an archive and unpack it, whole or not at all.

    Args:
        data: the compressed archive.
        digest: the bundle's digest.
        target: the new folder for its files.

    Raises:
        IntegrityError: the archive has another digest, is larger than one can be, or a name in it leaves the folder.
        PrerequisiteError: the disk is full or can't be written.
    """
    try:
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{digest[:12]}-"))
        try:
            archive, files = temporary / "archive", temporary / "files"
            with archive.open("w+b") as content:
                if _decompress(data, digest, content) != digest:
                    raise IntegrityError(
                        f"Code bundle {digest[:12]} is not what was uploaded.",
                        why="Its content has another digest.",
                        hint="Delete the object in the store and run again, which uploads it again.",
                    )
                content.seek(0)
                files.mkdir(mode=0o755)
                with tarfile.open(fileobj=content, mode="r:") as entries:
                    for entry in entries:
                        _write_entry(entries, entry, files)
            files.replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except tarfile.TarError as error:
        raise IntegrityError(f"Code bundle {digest[:12]} can't be unpacked.", why=f"{error}.") from error
    except OSError as error:
        raise storage_error(error, target) from error


def _decompress(data: bytes, digest: str, content: IO[bytes]) -> str:
    """Write the uncompressed archive into `content`, a piece at a time; return its digest."""
    seen, size = hashlib.sha256(), 0
    stream = zlib.decompressobj(wbits=31)  # 31: gzip's header and check sum
    try:
        piece = stream.decompress(data, _PIECE)
        while piece:
            size += len(piece)
            if size > LARGEST_BUNDLE:
                raise _too_large(digest)
            seen.update(piece)
            content.write(piece)
            piece = stream.decompress(stream.unconsumed_tail, _PIECE)
    except zlib.error as error:
        raise IntegrityError(f"Code bundle {digest[:12]} is corrupt.", why=f"{error}.") from error
    if not stream.eof:
        raise IntegrityError(f"Code bundle {digest[:12]} is corrupt.", why="Its end is missing.")
    return seen.hexdigest()


def _too_large(digest: str) -> IntegrityError:
    return IntegrityError(
        f"Code bundle {digest[:12]} is not what was uploaded.",
        why=f"It is larger than {LARGEST_BUNDLE // 2**20} MB, which no project's code may be.",
        hint="Delete the object in the store and run again, which uploads it again.",
    )


def _write_entry(archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> None:
    """Write one file. `extractall(filter="data")` does the same from Python 3.11.4 on, and Debian has 3.11.2."""
    name = PurePosixPath(entry.name)
    source = archive.extractfile(entry) if entry.isreg() else None
    if source is None or name.is_absolute() or ".." in name.parts:
        raise tarfile.TarError(f"'{entry.name}' is not a file below the project's folder")
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, _PIECE)
    target.chmod(0o755 if entry.mode & 0o100 else 0o644)
