"""Sizes in bytes, written for people."""

from __future__ import annotations

__all__ = ["human_size"]


def human_size(size: int) -> str:
    """Return a number of bytes in decimal units.

    Example:
        >>> human_size(12_345_678)
        '12.3 MB'
    """
    if size < 1000:
        return f"{size} B"
    amount = float(size)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"
