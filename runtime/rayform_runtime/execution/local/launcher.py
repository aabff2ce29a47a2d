"""What starts worker processes: the interface, and which implementation this system takes."""

from __future__ import annotations

import abc
import itertools
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rayform_runtime.processes.framing import FrameReader

__all__ = ["Launcher", "WorkerProcess", "default_launcher", "slots", "socket_and_pipe"]

slots = itertools.count(1)
"""Numbers of workers, one row for all launchers of this process."""


@dataclass(eq=False, slots=True)
class WorkerProcess:
    """A worker as its parent sees it; `pid` and `exit_status` are set once they are known."""

    slot: int
    tasks: socket.socket
    output: int
    pid: int | None = None
    exit_status: int | None = None
    """As `subprocess.Popen.returncode`: negative for a signal."""
    frames: FrameReader = field(init=False)

    def __post_init__(self) -> None:
        self.frames = FrameReader(self.tasks)

    def close(self) -> None:
        """Close this side's descriptors; an idle worker then ends by itself."""
        self.tasks.close()
        if self.output >= 0:
            os.close(self.output)
            self.output = -1


class Launcher(abc.ABC):
    """Starts and reaps the workers of one orchestrator. Used from one thread."""

    @abc.abstractmethod
    def prepare(
        self,
        environment: Mapping[str, str],
        code_root: str | None,
        import_paths: Sequence[str],
        sources: Sequence[Mapping[str, Any]],
    ) -> None:
        """Get ready for a run's workers; doesn't block."""

    @abc.abstractmethod
    def launch(self, environment: Mapping[str, str], *, preloaded: bool) -> WorkerProcess:
        """Start a worker; doesn't block.

        Args:
            environment: variables set before the person's code is imported.
            preloaded: the code may have been imported before these variables were set.
        """

    @abc.abstractmethod
    def descriptors(self) -> list[int]:
        """What to wait on besides the workers' own sockets."""

    @abc.abstractmethod
    def collect(self) -> tuple[list[WorkerProcess], str]:
        """Return the workers that have ended, with their exit status, and what the code's import printed."""

    @abc.abstractmethod
    def close(self, *, kill: bool) -> None:
        """End all workers of the run. Idempotent."""

    @abc.abstractmethod
    def shutdown(self) -> None:
        """End everything, the server too. Idempotent."""


def socket_and_pipe() -> tuple[socket.socket, socket.socket, int, int]:
    ours, theirs = socket.socketpair()
    output_read, output_write = os.pipe()
    os.set_blocking(output_read, False)
    return ours, theirs, output_read, output_write


def default_launcher(modules: Sequence[str] = ()) -> Launcher:
    """Return the fastest launcher that is safe on this system."""
    from rayform_runtime.execution.local.fork_launcher import ForkLauncher
    from rayform_runtime.execution.local.spawn_launcher import SpawnLauncher

    if sys.platform.startswith("linux") and os.environ.get("RAYFORM_START_METHOD") != "spawn":
        return ForkLauncher(modules)
    return SpawnLauncher(modules)
