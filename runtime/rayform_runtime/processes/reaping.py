"""Reaps the children of a single-threaded server, and kills what they left behind. Linux only."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

from rayform_runtime.processes.death import kill_rest_of_group

__all__ = ["ChildWatch", "EndedChild", "adopt_orphans", "children", "variable_of"]

_PR_SET_CHILD_SUBREAPER = 36


class EndedChild(NamedTuple):
    """A child that was reaped, with its status as `os.waitpid` returns it."""

    pid: int
    status: int


class ChildWatch:
    """Makes a descriptor readable when a child ends, for a server's `select`. Takes over SIGCHLD."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._read

    def reap(self, leaders: Container[int]) -> Iterator[EndedChild]:
        """Reap every child that has ended, without waiting for one.

        Args:
            leaders: children that lead a process group; the rest of the group is killed, as the end of a container
                would kill it.
        """
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        while True:
            try:
                child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if child is None:
                return
            if child.si_pid in leaders:
                kill_rest_of_group(
                    child.si_pid
                )  # before it is reaped: until then no other group gets its number
            yield EndedChild(*os.waitpid(child.si_pid, 0))

    def leave(self) -> None:
        """Give up the signal and the descriptors, in a child that was forked from the server."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._read)
        os.close(self._write)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends. Source: prctl(2), PR_SET_CHILD_SUBREAPER."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> list[int]:
    """Return the IDs of this process's children, adopted ones included; none if the kernel doesn't list them."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def variable_of(pid: int, name: str) -> str | None:
    """Return an environment variable that a process was started with, or `None`."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = os.fsencode(name) + b"="
    return next((os.fsdecode(pair[len(prefix) :]) for pair in pairs if pair.startswith(prefix)), None)
