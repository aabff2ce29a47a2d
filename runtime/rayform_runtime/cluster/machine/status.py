"""What the head says of itself: one small file, read by the laptop through SSH."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from rayform_core.files import file_lock, write_atomically
from rayform_core.version import __version__

__all__ = ["read_status", "write_status"]


def _path() -> Path:
    return Path(os.environ.get("RAYFORM_HEAD_STATUS", "/run/rayform/status.json"))


def write_status(**facts: Any) -> None:
    """Merge facts into the head's status."""
    path = _path()
    with file_lock(path.with_suffix(".lock"), what="the head's status"):
        known = _read(path)
        write_atomically(path, {**known, **facts, "version": __version__, "at": time.time()})


def read_status() -> dict[str, Any]:
    """Return what the head says, and how it stands with its autostop right now."""
    known = _read(_path())
    if not known:
        return {"ready": False, "phase": "booting", "version": __version__}
    stops_at = (known.get("autostop") or {}).get("stops_at")
    if stops_at is not None:
        known["autostop"]["stops_in"] = max(0.0, stops_at - time.time())
    return known


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = json.loads(path.read_text())
        if isinstance(found, dict):
            return found
    return {}
