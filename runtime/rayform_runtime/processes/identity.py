"""Identifies a process by its ID and start: the system uses an ID again, but not with the same start.

On Linux, starts are clock ticks since the machine booted, and the boot's own ID tells one boot from another. Neither
changes if the wall clock is set.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from rayform_core.process_start import start_since_boot, start_ticks

__all__ = ["ProcessIdentity", "machine_and_boot", "process_started", "start_ticks", "this_host"]


def this_host() -> str:
    """Return a name that tells this boot of this machine (and, on Linux, this container) from others.

    `machine_and_boot` splits it.
    """
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        # Containers of one host may share its name, and their process IDs mean different processes.
        name += "/" + os.readlink("/proc/self/ns/pid")  # noqa: PTH115
        name += "@" + Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return name


def machine_and_boot(host: str) -> tuple[str, str]:
    """Split a name of `this_host` into the machine and the ID of its boot, which is empty if the system has none."""
    machine, _, boot = host.partition("@")
    return machine, boot


def process_started(pid: int) -> float | None:
    """Return when a process started, or `None` if no such process runs.

    On Linux the result is in seconds since the machine booted; elsewhere, where the system keeps the moment itself,
    in seconds since 1970. Compare it only with another reading of the same boot.
    """
    return start_since_boot(pid) if sys.platform.startswith("linux") else _started_elsewhere(pid)


def _started_elsewhere(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time())
    except psutil.Error:
        return None


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process of this machine, by its ID and its start. Linux only."""

    pid: int
    ticks: int

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """Return the identity of a running process.

        Raises:
            OSError: as `start_ticks`.
        """
        return cls(pid, start_ticks(pid))

    def lives(self) -> bool:
        """Return whether the process still runs; true also if the system can't say at the moment."""
        try:
            return start_ticks(self.pid) == self.ticks
        except (FileNotFoundError, ProcessLookupError):
            return False
        except OSError:
            return True  # out of descriptors, which says nothing about the process
