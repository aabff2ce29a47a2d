"""Processes that end with the one that they work for, whatever it died of."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

__all__ = ["die_with_parent", "kill_group", "kill_rest_of_group", "leave_terminal"]

_PR_SET_PDEATHSIG = 1


def die_with_parent(expected_parent: int | None = None) -> None:
    """Ask the kernel to kill this process when the thread that made it ends (Linux; elsewhere does nothing).

    A second line of defence: the first is the end of file on the socket to the parent, which works on every
    system but only while this process reads it.

    Args:
        expected_parent: exit at once where the parent is already another one.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if expected_parent is not None and os.getppid() != expected_parent:
        os._exit(1)


def leave_terminal() -> None:
    """Become leader of a session of one's own: Ctrl-C no longer arrives, and one signal ends all children."""
    with contextlib.suppress(PermissionError):  # already a leader
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def kill_group(pid: int, signum: int = signal.SIGKILL) -> None:
    """Signal a process that leads a group, and all in the group; one that is gone is no error."""
    try:
        os.killpg(pid, signum)
    except (ProcessLookupError, PermissionError):
        # It may not have made its group yet.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)


def kill_rest_of_group(leader: int) -> None:
    """Kill what a group's leader, which just ended, started and left behind; the group keeps its number till then."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
