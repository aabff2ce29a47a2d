"""Why a machine or database can't start, in words for the API's state reason."""

from __future__ import annotations

__all__ = ["BootError"]


class BootError(Exception):
    """Something that the API describes can't be made real, and trying again won't help."""
