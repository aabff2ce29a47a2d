"""When a process started, on a clock that nobody can set: it tells a process from a later one with the same ID."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["start_since_boot", "start_ticks"]


def start_ticks(pid: int) -> int:
    """Return when a process started, in clock ticks since this machine booted. Linux only.

    Raises:
        ProcessLookupError: the process is dead and only waits to be reaped.
        OSError: `/proc` has no such process, or can't be read.
    """
    # Source: proc_pid_stat(5). The command stands in parentheses and may hold spaces; field 3 is the state and
    # field 22 the start.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    if fields[0] in (b"Z", b"X"):
        raise ProcessLookupError(pid)
    return int(fields[19])


def start_since_boot(pid: int) -> float | None:
    """Return when a process started, in seconds since this machine booted; `None` if it is gone, or off Linux.

    psutil's `create_time` is in seconds since 1970 and on Linux moves when the wall clock is set. Use it only where
    this returns `None`: other systems keep the moment itself.
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        return start_ticks(pid) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return None
