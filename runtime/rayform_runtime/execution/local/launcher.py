"""What starts worker processes: the interface of launchers, and what they share."""

from __future__ import annotations

import abc
import itertools
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from rayform_runtime.processes.framing import FrameReader, FrameWriter
from rayform_runtime.usercode.program import NO_PROGRAM, Program

if TYPE_CHECKING:
    from rayform_runtime.execution.interface import StepResult
    from rayform_runtime.usercode.code_ref import CodeRef

__all__ = ["Launcher", "RunCode", "WorkerProcess", "slots", "socket_and_pipe", "worker_command"]

slots = itertools.count(1)
"""Numbers of workers, unique among all launchers of this process."""


class RunCode(NamedTuple):
    """The user's code of one run, as workers import it.

    Args:
        environment: variables for all steps, set before the code is imported.
        code_root, import_paths: where the code is; see `PipelineSpec`.
        sources: functions whose modules are worth importing once for all workers.
        program: what `__main__` and `sys.argv` are.
    """

    environment: Mapping[str, str]
    code_root: str | None
    import_paths: Sequence[str]
    sources: Sequence[CodeRef]
    program: Program = NO_PROGRAM


@dataclass(eq=False, slots=True)
class WorkerProcess:
    """A worker process, seen from its parent."""

    slot: int
    tasks: socket.socket
    output: int
    """Reads what the worker prints, without blocking; -1 once it is closed."""
    pid: int | None = None
    """Set as soon as it is known: a fork server reports it."""
    exit_status: int | None = None
    """As `subprocess.Popen.returncode`: negative for a signal; `None` while it runs."""
    results: FrameReader[StepResult] = field(init=False)
    writer: FrameWriter = field(init=False)

    def __post_init__(self) -> None:
        self.results = FrameReader(self.tasks, _unreadable)
        self.writer = FrameWriter(self.tasks)

    def close(self) -> None:
        """Close this side's descriptors; an idle worker then ends by itself."""
        self.tasks.close()
        if self.output >= 0:
            os.close(self.output)
            self.output = -1


def _unreadable(error: Exception) -> StepResult:
    """Return the result of a task whose own can't be read; it names no step run, which the executor knows."""
    from rayform_runtime.catalog.entities import StepError, StepStatus
    from rayform_runtime.execution.interface import StepResult

    message = f"The answer of the step's worker can't be read: {type(error).__name__}: {error}"
    return StepResult(
        "", StepStatus.FAILED, error=StepError("IntegrityError", message, message), retryable=False
    )


class Launcher(abc.ABC):
    """Starts and reaps the workers of one orchestrator. Used from one thread; only `close` and `shutdown` wait."""

    @abc.abstractmethod
    def prepare(self, code: RunCode) -> None:
        """Get ready for a run's workers."""

    @abc.abstractmethod
    def launch(self, environment: Mapping[str, str], *, preloaded: bool) -> WorkerProcess:
        """Start a worker.

        Args:
            environment: variables set before the user's code is imported.
            preloaded: the code may have been imported before these variables were set.
        """

    @abc.abstractmethod
    def descriptors(self) -> dict[int, int]:
        """Return what to wait on besides the workers' own sockets, with events as in `selectors`."""

    @abc.abstractmethod
    def collect(self) -> tuple[list[WorkerProcess], str]:
        """Return the workers that have ended, with their exit status, and what importing the code printed.

        Raises:
            PrerequisiteError: workers can't be started.
        """

    @abc.abstractmethod
    def close(self, *, kill: bool) -> None:
        """End all workers of the run. Idempotent."""

    @abc.abstractmethod
    def shutdown(self) -> None:
        """End everything, a fork server included. Idempotent."""


def socket_and_pipe() -> tuple[socket.socket, socket.socket, int, int]:
    """Return both ends of a worker's task socket (the parent's first), and of its output pipe (reading, writing)."""
    ours, theirs = socket.socketpair()
    output_read, output_write = os.pipe()
    os.set_blocking(output_read, False)
    return ours, theirs, output_read, output_write


def worker_command(task_fd: int, output_fd: int, modules: Sequence[str] = ()) -> list[str]:
    """Return the command that starts a worker as an interpreter of its own.

    Args:
        task_fd, output_fd: descriptors that it inherits.
        modules: what it imports first.
    """
    code = (
        "import sys; sys.path[:] = sys.argv[4].split('\\n')\n"
        "from rayform_runtime.execution.local.worker_process import main\n"
        "main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[5].split())"
    )
    path = "\n".join(entry for entry in sys.path if entry)
    numbers = [str(task_fd), str(output_fd), str(os.getpid())]
    return [sys.executable, "-c", code, *numbers, path, " ".join(modules)]
