"""The public import path of `Client`; its code is in `rayform.reading.client`."""

from __future__ import annotations

from rayform.reading.client import Client

__all__ = ["Client"]
