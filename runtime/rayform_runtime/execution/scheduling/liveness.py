"""Finds runs whose process died without saying so; every command that shows runs calls it first."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import Run
    from rayform_runtime.catalog.interface import Catalog

__all__ = ["STALE_SECONDS", "is_alive", "mark_dead_runs", "process_started", "this_host"]

STALE_SECONDS = 60.0
"""A run of another host is taken for dead after this long without a heartbeat."""

_TOLERANCE_SECONDS = 2.0
"""The clock that start times are told by may be set meanwhile."""


def this_host() -> str:
    """Return the name that tells this machine (and, on Linux, this container) from others."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        # Containers of one host may share its name, and their process IDs mean different processes.
        name += "/" + os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    return name


def process_started(pid: int) -> float | None:
    """Return when a process started, in seconds since 1970, or `None` where there is none.

    With the process ID it names a process for good: IDs come again, the pair doesn't.
    """
    return _started_on_linux(pid) if sys.platform.startswith("linux") else _started_elsewhere(pid)


def _started_on_linux(pid: int) -> float | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        boot = Path("/proc/stat").read_bytes().split(b"btime ", 1)[1].split(maxsplit=1)[0]
    except (OSError, IndexError):
        return None
    # The command's name, in parentheses, may hold spaces; field 22 is the start in clock ticks.
    fields = stat.rpartition(b")")[2].split()
    if fields[0] in (b"Z", b"X"):
        return None  # dead, and only not yet reaped
    return int(boot) + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _started_elsewhere(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time())
    except psutil.Error:
        return None


def is_alive(run: Run) -> bool | None:
    """Whether the process that schedules a run lives; `None` where this host can't tell."""
    if run.host != this_host() or run.pid is None:
        return None
    started = process_started(run.pid)
    if started is None:
        return False
    return run.pid_started is None or abs(started - run.pid_started) <= _TOLERANCE_SECONDS


def mark_dead_runs(catalog: Catalog, *, stale_seconds: float = STALE_SECONDS) -> list[UUID]:
    """Turn runs whose process is gone to `interrupted`; return their IDs.

    On this host the process itself is looked at; of other hosts the heartbeat tells. Costs one query where no
    run claims to be at work.
    """
    runs = catalog.unfinished_runs()
    if not runs:
        return []
    dead = []
    for run in runs:
        alive = is_alive(run)
        if alive is False:
            dead.append(run.id)
        elif alive:
            # A laptop that slept has old heartbeats and a process that goes on: speak for it.
            from datetime import UTC, datetime

            last = run.heartbeat_at
            if last is not None and (datetime.now(UTC) - last).total_seconds() > stale_seconds / 2:
                catalog.heartbeat(run.id)
    return catalog.mark_interrupted(stale_seconds=stale_seconds, dead=dead)
