"""`from rayform.client import Client`: the import path that is public; the client itself is in `rayform.reading`."""

from __future__ import annotations

from rayform.reading.client import Client

__all__ = ["Client"]
