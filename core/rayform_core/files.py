"""Files that Rayform owns: private to the user, written completely or not at all, locked between processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rayform_core.errors import ConflictError, PrerequisiteError

__all__ = [
    "disk_error",
    "file_lock",
    "fsync_folder",
    "home",
    "make_private",
    "private_folder",
    "storage_error",
    "write_atomically",
]


def home() -> Path:
    """Return the folder for profiles, stacks and the default store: `$RAYFORM_HOME` or `~/.rayform`."""
    variable = os.environ.get("RAYFORM_HOME")
    return Path(variable).expanduser().absolute() if variable else Path.home() / ".rayform"


def private_folder(path: Path) -> Path:
    """Make `path` and its missing parents, readable only by their owner (0700), and return it.

    Raises:
        PrerequisiteError: it can't be made.
    """
    try:
        make_private(path)
    except OSError as error:
        raise storage_error(error, path) from error
    return path


def make_private(path: Path) -> None:
    """Make `path` and its missing parents with mode 0700.

    `Path.mkdir` with `parents=True` gives the mode to the last folder alone, and everyone could list the others.

    Raises:
        OSError: it can't be made, or a file has the name.
    """
    try:
        path.mkdir(mode=0o700)
    except FileNotFoundError:
        if path.parent == path:
            raise
        make_private(path.parent)
        make_private(path)
    except OSError:
        # The system names some other cause for a folder that is there, such as a read-only disk.
        if not path.is_dir():
            raise


def storage_error(error: OSError, path: Path | str) -> PrerequisiteError:
    """Turn an `OSError` at `path` into an error that says what to do next."""
    hint = {
        errno.ENOSPC: "Free some disk space, or set RAYFORM_HOME to a folder on a larger disk.",
        errno.EDQUOT: "Free some of your disk quota, or set RAYFORM_HOME to another folder.",
        errno.EACCES: "Make the folder writable for your user, or set RAYFORM_HOME to one that is.",
        errno.EPERM: "Make the folder writable for your user, or set RAYFORM_HOME to one that is.",
        errno.EROFS: "Set RAYFORM_HOME to a folder on a writable file system.",
    }.get(error.errno or 0, "Check the path and try again.")
    return PrerequisiteError(f"'{path}' can't be used.", why=f"{os.strerror(error.errno or 0)}.", hint=hint)


_OF_DISKS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS))
_FULL_IN_WORDS = re.compile(
    r"\d+ requested and \d+ written|(?i:no space left on device|\[errno 28\]|disk quota exceeded)"
)


def disk_error(error: Exception, folder: Path) -> OSError | None:
    """Return the error of the disk behind an exception, or `None` if there is none.

    Libraries report a full disk in words of their own: NumPy as an `OSError` without a number, PyTorch as a
    `RuntimeError`. A disk that is full right after an exception counts as its cause.

    Args:
        error: what was raised while files were written.
        folder: where they were written.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error if error.errno in _OF_DISKS else None
    is_full = isinstance(error, OSError | RuntimeError) and bool(_FULL_IN_WORDS.search(str(error)))
    if not is_full:
        try:
            is_full = os.statvfs(folder).f_bavail == 0
        except OSError:
            return None
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if is_full else None


def fsync_folder(path: Path) -> None:
    """Make new and changed names inside `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: object, *, mode: int = 0o600) -> None:
    """Write `data` to `path`, so that a reader sees the old content or the new, never a part, even after a crash.

    Args:
        path: the file; its folder is made if it is missing.
        data: bytes or text, written as they are; anything else is written as indented JSON.
        mode: permission bits of the file.

    Raises:
        PrerequisiteError: the disk is full, or permission is missing.
    """
    if not isinstance(data, bytes):
        text = data if isinstance(data, str) else json.dumps(data, indent=2, sort_keys=True) + "\n"
        data = text.encode()
    private_folder(path.parent)
    temporary = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = name
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
        temporary = None
        fsync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


@contextlib.contextmanager
def file_lock(path: Path, *, timeout: float = 10.0, what: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock between processes; the kernel releases it when its holder dies.

    Args:
        path: the lock file. It is made if it is missing, and never removed: after a removal, two holders could lock
            two files of the same name.
        timeout: seconds to wait for another holder; 0 tries once.
        what: what is locked, for the error's text.

    Raises:
        ConflictError: another process still holds it after `timeout`; the error names its process ID.
    """
    private_folder(path.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
                    raise ConflictError(
                        f"{what or path} is locked.",
                        why=f"Process {holder or '(unknown)'} holds the lock.",
                        hint="Wait for it to end, or stop it, and try again.",
                    ) from None
                time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
