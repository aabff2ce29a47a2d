"""S3's ETags: the MD5 of an object, or of the MD5s of its parts. Used against corruption, not against attackers."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["matches_etag", "md5_of", "part_digests"]


def md5_of(data: bytes) -> str:
    """Return the MD5 of some bytes in hexadecimal."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def part_digests(path: Path, part: int) -> list[bytes]:
    """Return the MD5s of a file's parts of `part` bytes; one for a file that is sent whole (below two parts)."""
    size = path.stat().st_size
    lengths = [size] if size < 2 * part else [min(part, size - start) for start in range(0, size, part)]
    digests = []
    buffer = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        for length in lengths:
            digest = hashlib.md5(usedforsecurity=False)
            while length > 0 and (read := file.readinto(buffer[: min(length, len(buffer))])):
                digest.update(buffer[:read])
                length -= read
            digests.append(digest.digest())
    return digests


def matches_etag(digests: list[bytes], etag: str) -> bool:
    """Whether an ETag is that of a file, where it says so: other forms of ETag match all.

    Args:
        digests: what `part_digests` returned.
        etag: the server's, without quotes.
    """
    plain, _, count = etag.partition("-")
    if len(plain) != 32:
        return True
    if not count:
        return len(digests) > 1 or digests[0].hex() == plain
    # Another count: the client chose larger parts, as it does for files of more than 10,000.
    return str(len(digests)) != count or md5_of(b"".join(digests)) == plain
