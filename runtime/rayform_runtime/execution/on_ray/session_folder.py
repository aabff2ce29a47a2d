"""The folder of a Ray on this machine: private to the user, and removed with it.

Ray makes its own folders readable and writable for everyone and leaves them behind. Rayform gives it a folder that only
the user can enter. A process that is killed can't remove its folder; the next one does.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

__all__ = ["SessionFolder"]

_PREFIX = "rayform-ray-"
_LOCK = "owner.lock"
_LONGEST_BASE = 24
"""Characters: the paths of Ray's sockets below may have 107 in all."""
_UNLOCKED_FOR = 60.0
"""Seconds that a folder may be without a lock: its process is about to take it."""


class SessionFolder:
    """A private folder that this process holds as long as it lives.

    Raises:
        OSError: it can't be made.
    """

    path: Path
    """The folder; never changes."""
    for_ray: Path
    """The folder in it that Ray makes, and opens to everyone who can enter the one around it; never changes."""

    def __init__(self) -> None:
        base = os.environ.get("RAY_TMPDIR", "/tmp")  # noqa: S108 - the folder made in it is private
        if len(base) > _LONGEST_BASE:
            base = "/tmp"  # noqa: S108 - the folder made in it is private
        _remove_left(Path(base))
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.for_ray = self.path / "ray"
        self._lock: int | None = os.open(self.path / _LOCK, flags, 0o600)
        """Open and locked as long as the folder is in use; then `None`."""
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self, *, keep: bool = False) -> None:
        """Remove the folder; with `keep`, leave it to the next process that starts a Ray."""
        if self._lock is None:
            return
        if not keep:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = None


def _remove_left(base: Path) -> None:
    """Remove folders of processes of this user that are gone."""
    for folder in base.glob(f"{_PREFIX}*"):
        try:
            status = folder.lstat()
        except OSError:
            continue  # another process was faster
        if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
            continue
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            if time.time() - status.st_mtime > _UNLOCKED_FOR:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # its process lives
        finally:
            os.close(lock)
