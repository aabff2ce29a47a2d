"""The head's status: one small file, which laptops read through SSH."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from rayform_core.files import file_lock, write_atomically
from rayform_core.version import __version__
from rayform_runtime.cluster.machine.answers import HeadStatus

__all__ = ["read_status", "status_json", "write_status"]


def _path() -> Path:
    return Path(os.environ.get("RAYFORM_HEAD_STATUS", "/run/rayform/status.json"))


def write_status(changes: HeadStatus) -> None:
    """Change the head's status; the fields that `changes` doesn't set stay as they are."""
    path = _path()
    with file_lock(path.with_suffix(".lock"), what="the head's status"):
        facts = {
            **read_status().model_dump(exclude_none=True),
            **changes.model_dump(exclude_unset=True),
            "version": __version__,
            "at": time.time(),
        }
        write_atomically(path, HeadStatus.model_validate(facts).model_dump(exclude_none=True))


def read_status() -> HeadStatus:
    """Return the head's status; a head without a status file is booting."""
    try:
        return HeadStatus.read(_path().read_bytes())
    except FileNotFoundError:
        return HeadStatus(version=__version__)


def status_json() -> str:
    """Return the status as JSON on one line, with the seconds that are left until an idle head stops."""
    status = read_status()
    facts = status.model_dump(exclude_none=True)
    if status.autostop is not None and (stops_in := status.autostop.stops_in()) is not None:
        facts["autostop"]["stops_in"] = stops_in
    return json.dumps(facts)
