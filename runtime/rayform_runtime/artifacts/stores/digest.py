"""BLAKE3 digests of files and of whole artifacts.

BLAKE3 rather than SHA-256, since it hashes one file on several cores: 100 MB took 14 ms instead of 51 ms on two
cores of the machine where this was tried. It is imported on first use.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import StoredFile

__all__ = ["bytes_digest", "descriptor_digest", "file_digest", "tree_digest"]

_BLOCK = 2 << 20
# Below this size the threads of a parallel hash cost more than they save.
_PARALLEL = 1 << 20


def bytes_digest(data: bytes) -> str:
    """Return the digest of `data` as 64 hexadecimal digits."""
    return str(_blake3()(data).hexdigest())


@cache
def _blake3() -> Any:
    # An import statement in `bytes_digest` would take longer than the digest of a small value.
    from blake3 import blake3

    return blake3


def descriptor_digest(descriptor: int, size: int) -> str:
    """Return the digest of an open file of about `size` bytes, from its current position to its end.

    Large files are read through one buffer and hashed on all cores. Mapping them was rejected: mapped pages count as
    memory of this process, and a file that shrinks meanwhile would kill it.
    """
    from blake3 import blake3

    if size < _PARALLEL:
        hasher = blake3()
        while block := os.read(descriptor, _PARALLEL):
            hasher.update(block)
        return hasher.hexdigest()
    hasher = blake3(max_threads=blake3.AUTO)
    buffer = memoryview(bytearray(_BLOCK))
    while filled := os.readv(descriptor, [buffer]):
        hasher.update(buffer[:filled])
    return hasher.hexdigest()


def file_digest(path: Path) -> str:
    """Return the digest of the regular file at `path`; a symbolic link raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return descriptor_digest(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def tree_digest(files: Iterable[StoredFile], *, without: Collection[str] = ()) -> str:
    """Return the digest over the files' paths and digests, in the order of their paths.

    Args:
        files: the files of an artifact.
        without: paths of files that aren't part of the value (visualizations), so that equal values have equal
            digests even if their pictures differ.
    """
    lines = sorted(f"{file.path}\0{file.digest}\n" for file in files if file.path not in without)
    return bytes_digest("".join(lines).encode())
