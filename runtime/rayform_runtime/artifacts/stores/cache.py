"""Copies of remote artifacts on this machine, shared by all processes of a user.

Each entry has a lock file. Readers hold the lock shared, a download or an eviction holds it exclusively, so no folder
disappears while a process reads it. The kernel frees the locks of a process that dies. A manifest that holds its whole
artifact is one file without a lock: a rename makes it appear whole, and it is read whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rayform_core.errors import RayformError, UsageError
from rayform_core.files import home, private_folder, storage_error
from rayform_runtime.artifacts.stores.files import write_new_file

__all__ = ["ArtifactCache", "cache_limit"]

_DEFAULT_LIMIT = 20 << 30
_LOOK_EVERY = 60.0
"""Seconds between two looks through all entries."""
_MANIFESTS = "manifests"
_LARGEST_MANIFEST = 256 << 10
"""Bytes; the cache doesn't keep a larger one, so the store is asked for it each time."""
_ON_DISK = 4096
"""Bytes that even a tiny file takes on the disk."""


def cache_limit() -> int:
    """Return how many bytes the cache may hold: `$RAYFORM_CACHE_SIZE`, or 20 GiB.

    Raises:
        UsageError: the variable isn't a number of bytes.
    """
    text = os.environ.get("RAYFORM_CACHE_SIZE", "")
    if not text:
        return _DEFAULT_LIMIT
    if not text.isdigit():
        raise UsageError(
            f"RAYFORM_CACHE_SIZE is {text!r}.",
            why="It isn't a number of bytes.",
            hint="Set it to a whole number of bytes, as in 20000000000.",
        )
    return int(text)


class ArtifactCache:
    """Folders of artifacts by name. If they take too much space, those used longest ago are removed.

    Args:
        store: URI of the store that the artifacts come from; each store has a cache of its own.
    """

    def __init__(self, store: str) -> None:
        from rayform_runtime.artifacts.stores.digest import bytes_digest

        self.root = home() / "cache" / "artifacts" / bytes_digest(store.encode())[:16]
        self._added = 0  # bytes that this process has added since it last looked through all entries
        self._guard = threading.Lock()  # for `_added`

    def staging(self) -> Path:
        """Return a folder in the cache's own file system to stage new artifacts in."""
        return private_folder(self.root / "staging")

    @contextlib.contextmanager
    def _locked(self, name: str, kind: int) -> Iterator[int]:
        path = private_folder(self.root / "locks") / name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise storage_error(error, path) from error
        try:
            fcntl.flock(descriptor, kind)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def open(self, name: str, fill: Callable[[Path], None]) -> Iterator[Path]:
        """Yield an entry's folder, which stays while the context is open.

        Args:
            name: the entry.
            fill: writes the entry's files into an empty folder; called if the cache doesn't have the entry.
        """
        folder = private_folder(self.root / "entries") / name
        while True:
            with self._locked(name, fcntl.LOCK_SH) as lock:
                if folder.is_dir():
                    os.utime(lock)
                    yield folder
                    return
            with self._locked(name, fcntl.LOCK_EX) as lock:
                is_new = not folder.is_dir()
                if is_new:
                    self._fill(folder, fill)
                # Keep the lock, but shared: otherwise an entry larger than the whole cache would be evicted at once.
                fcntl.flock(lock, fcntl.LOCK_SH)
                if not folder.is_dir():
                    continue
                os.utime(lock)
                if is_new:
                    self._added_one(folder)
                yield folder
                return

    def _fill(self, folder: Path, fill: Callable[[Path], None]) -> None:
        partial = self.staging() / f"{folder.name}-{os.urandom(6).hex()}"
        try:
            partial.mkdir(mode=0o700)
            fill(partial)
            partial.rename(folder)
        except OSError as error:
            if error.errno is None:  # a library raised it, and the disk is fine
                raise
            raise storage_error(error, folder) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def add(self, name: str, folder: Path) -> None:
        """Move `folder` into the cache as an entry; do nothing if the entry exists or is in use."""
        target = private_folder(self.root / "entries") / name
        with contextlib.suppress(BlockingIOError), self._locked(name, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if not target.exists():
                folder.rename(target)
        self._added_one(target)

    def has(self, name: str) -> bool:
        """Whether there is an entry; it may be gone a moment later."""
        return os.path.isdir(f"{self.root}/entries/{name}")  # noqa: PTH112 - the hot path

    def drop(self, name: str) -> None:
        """Wait until no process reads an entry, then remove it."""
        if (self.root / "entries" / name).exists():
            with self._locked(name, fcntl.LOCK_EX):
                shutil.rmtree(self.root / "entries" / name, ignore_errors=True)

    def keep_manifest(self, name: str, data: bytes) -> None:
        """Keep a manifest that holds its whole artifact; do nothing if it is large or the disk refuses."""
        if len(data) > _LARGEST_MANIFEST:
            return
        folder = f"{self.root}/{_MANIFESTS}"
        temporary = f"{folder}/.{name}-{os.urandom(6).hex()}"
        with contextlib.suppress(OSError, RayformError):
            try:
                try:
                    write_new_file(temporary, data)
                except FileNotFoundError:
                    private_folder(self.root / _MANIFESTS)
                    write_new_file(temporary, data)
                os.rename(temporary, f"{folder}/{name}")  # noqa: PTH104 - the hot path; Path.rename builds one more Path
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)  # noqa: PTH108 - likewise
                raise
            self._added_bytes(len(data))

    def kept_manifest(self, name: str) -> bytes | None:
        """Return the manifest that `keep_manifest` kept, as it now lies on the disk, or `None`."""
        path = f"{self.root}/{_MANIFESTS}/{name}"
        try:
            # Never block, even if something else lies there, such as a pipe.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_MANIFEST:
                return None
            data = os.read(descriptor, _LARGEST_MANIFEST)
            os.utime(descriptor)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return data

    def drop_manifest(self, name: str) -> None:
        """Forget a manifest."""
        with contextlib.suppress(OSError):
            (self.root / _MANIFESTS / name).unlink(missing_ok=True)

    def _added_one(self, folder: Path) -> None:
        self._added_bytes(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()))

    def _added_bytes(self, size: int) -> None:
        limit = cache_limit()
        with self._guard:
            first = self._added == 0
            self._added += size + _ON_DISK
            if self._added < limit // 20 and not (first and self._is_due()):
                return
            # Looking through all entries is slow. Do it at first, and then whenever a twentieth has been added.
            self._added = 1
        self.evict(limit)

    def _is_due(self) -> bool:
        """Whether no process looked lately: all workers of a run add their first entry at the same time."""
        stamp = self.root / "looked"
        with contextlib.suppress(FileNotFoundError):
            if abs(time.time() - stamp.stat().st_mtime) < _LOOK_EVERY:
                return False
        with contextlib.suppress(OSError):  # on a full disk we just look more often
            stamp.touch(mode=0o600)
        return True

    def evict(self, limit: int) -> None:
        """Remove entries that aren't in use, those used longest ago first, until the rest fits into `limit` bytes."""
        entries: list[tuple[float, int, Path]] = []
        for file in (self.root / _MANIFESTS).glob("*"):
            with contextlib.suppress(OSError):
                status = file.stat()
                entries.append((status.st_mtime, _ON_DISK, file))
        for folder in (self.root / "entries").glob("*"):
            with contextlib.suppress(OSError):
                size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
                used = (self.root / "locks" / folder.name).stat().st_mtime
                entries.append((used, size, folder))
        total = sum(size for _, size, _ in entries)
        for _, size, entry in sorted(entries):
            if total <= limit:
                return
            if entry.parent.name == _MANIFESTS:
                with contextlib.suppress(OSError):  # not a file, or another user's
                    entry.unlink(missing_ok=True)
                    total -= size
                continue
            with (
                contextlib.suppress(BlockingIOError),
                self._locked(entry.name, fcntl.LOCK_EX | fcntl.LOCK_NB),
            ):
                shutil.rmtree(entry, ignore_errors=True)
                total -= size
