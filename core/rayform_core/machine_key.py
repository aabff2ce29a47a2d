"""The key by which this user's machine recognizes what it made itself.

It never leaves the machine. A signature proves that a process of this user, with this `$RAYFORM_HOME`, made something;
what anyone else writes into a bucket, catalog or folder has none.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import stat
from pathlib import Path

from rayform_core.errors import RayformError
from rayform_core.files import home, private_folder

__all__ = ["is_signed", "sign"]

_NAME = "machine.key"
_SIZE = 32

_keys: dict[Path, bytes] = {}
"""The keys that this process has read, by their files."""


def sign(*parts: str) -> str:
    """Return a signature of texts, or an empty text if this machine can't keep a key.

    Args:
        parts: the first one says what is signed, so that a signature of one kind of thing is none of another.
    """
    key = _key(make=True)
    return "" if key is None else _signature(key, parts)


def is_signed(signature: str, *parts: str) -> bool:
    """Whether `sign` returned this for these texts, on this machine."""
    if not signature or not signature.isascii():
        return False
    key = _key(make=False)
    return key is not None and hmac.compare_digest(signature, _signature(key, parts))


def _signature(key: bytes, parts: tuple[str, ...]) -> str:
    hasher = hashlib.blake2b(key=key, digest_size=32)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(
            len(data).to_bytes(8, "big")
        )  # so that no two lists of texts run together to the same bytes
        hasher.update(data)
    return hasher.hexdigest()


def _key(*, make: bool) -> bytes | None:
    path = home() / _NAME
    key = _keys.get(path)
    if key is None:
        with contextlib.suppress(OSError, RayformError):
            key = _read(path)
            if key is None and make:
                _make(path)
                key = _read(path)
        if key is not None:
            _keys[path] = key
    return key


def _read(path: Path) -> bytes | None:
    """Return the key; `None` if there is none, or if another user may have read or written it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        is_private = not stat.S_IMODE(status.st_mode) & 0o077 and status.st_uid == os.geteuid()
        data = os.read(descriptor, _SIZE + 1) if is_private and stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(descriptor)
    return data if len(data) == _SIZE else None


def _make(path: Path) -> None:
    """Make the key, unless another process makes it at the same time."""
    private_folder(path.parent)
    temporary = path.with_name(f".{_NAME}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, os.urandom(_SIZE))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
