"""S3's ETags: the MD5 of an object, or of the MD5s of its parts. Used against corruption, not against attackers."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["matches_etag", "md5_of", "part_digests"]


def md5_of(data: bytes) -> str:
    """Return the MD5 of bytes in hexadecimal."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def part_digests(path: Path, part: int) -> list[bytes]:
    """Return the MD5s of a file's parts of `part` bytes; only one for a file below two parts, which is sent whole."""
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
    """Whether an ETag fits a file; an ETag that isn't made of MD5s fits every file.

    Args:
        digests: what `part_digests` returned for the file.
        etag: the server's ETag, without quotes.
    """
    plain, _, count = etag.partition("-")
    if len(plain) != 32:
        return True
    if not count:
        return len(digests) > 1 or digests[0].hex() == plain
    # A different count means that the client chose larger parts, as it does for files of more than 10,000 parts.
    return str(len(digests)) != count or md5_of(b"".join(digests)) == plain
