"""S3's ETags: the MD5 of an object, or of the MD5s of its parts. Used against corruption, not against attackers."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["matches_etag", "md5_of"]


def md5_of(data: bytes) -> str:
    """Return the MD5 of some bytes in hexadecimal."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _md5_of_part(path: Path, start: int, length: int) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while length > 0:
            block = file.read(min(1 << 20, length))
            if not block:
                break
            digest.update(block)
            length -= len(block)
    return digest.digest()


def matches_etag(path: Path, etag: str, part: int) -> bool:
    """Whether a file is what an ETag says, where it says anything: other forms of ETag match all.

    Args:
        path: the file that was uploaded.
        etag: the server's, without quotes.
        part: bytes of a part of a multipart upload.
    """
    plain, _, count = etag.partition("-")
    if len(plain) != 32:
        return True
    size = path.stat().st_size
    if not count:
        return _md5_of_part(path, 0, size).hex() == plain
    starts = range(0, size, part)
    if str(len(starts)) != count:
        return True  # the client chose larger parts, as it does for files of more than 10,000
    with ThreadPoolExecutor(max_workers=4) as pool:
        parts = list(pool.map(lambda start: _md5_of_part(path, start, min(part, size - start)), starts))
    return md5_of(b"".join(parts)) == plain
