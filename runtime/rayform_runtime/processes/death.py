"""Ends a process together with the process that it works for, and kills process groups."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

__all__ = ["die_with_parent", "kill_group", "kill_rest_of_group", "leave_terminal"]

_PR_SET_PDEATHSIG = 1


def die_with_parent(expected_parent: int | None = None) -> None:
    """Ask the kernel to kill this process when the thread that made it ends (Linux; elsewhere does nothing).

    This is the second line of defence. The first is the end of file on the socket to the parent, which works on every
    system but only while this process reads it.

    Args:
        expected_parent: ID of the parent; exit at once if the parent has ended already.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if expected_parent is not None and os.getppid() != expected_parent:
        os._exit(1)


def leave_terminal() -> None:
    """Lead a new session: Ctrl-C no longer reaches this process, and one signal ends it with all its children."""
    with contextlib.suppress(PermissionError):  # already a leader
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def kill_group(pid: int, signum: int = signal.SIGKILL) -> None:
    """Send a signal to a group's leader and to all processes of its group; do nothing if they are gone."""
    try:
        os.killpg(pid, signum)
    except (ProcessLookupError, PermissionError):
        # It may not have made its group yet.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)


def kill_rest_of_group(leader: int) -> None:
    """Kill the processes that a group's leader left behind when it ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
