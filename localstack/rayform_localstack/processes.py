"""The cloud's two processes: each outlives its caller, reports when it is ready, and is known by its start time."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from rayform_core.errors import PrerequisiteError
from rayform_core.process_start import start_since_boot

__all__ = ["Starting", "alive", "start", "started", "stop", "with_argument"]

_PF_EXITING = 0x4

_started: dict[int, subprocess.Popen[bytes]] = {}
"""The processes that this one has started and that outlive it. They are kept, since a collected `Popen` warns about
its running process, and polled, so that one that has ended doesn't stay as a zombie."""


@dataclass
class Starting:
    """A process that was started and hasn't reported yet that it is ready."""

    name: str
    process: subprocess.Popen[bytes]
    ready: int
    log: Path

    def wait(self, seconds: float) -> tuple[int, float]:
        """Return (process ID, start time) once it is ready.

        Raises:
            PrerequisiteError: it ended, or reported why it can't start; the message has its last lines.
        """
        try:
            readable, _, _ = select.select([self.ready], [], [], seconds)
            report = os.read(self.ready, 4096).decode(errors="replace").strip() if readable else ""
        finally:
            os.close(self.ready)
        if report == "ready":
            return self.process.pid, started(self.process.pid)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        tail = " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-5:])
        raise PrerequisiteError(
            f"The emulated cloud's {self.name} did not start.",
            why=report.removeprefix("error: ") or tail or "It printed nothing.",
            hint=f"Its log is {self.log}.",
        )


def start(name: str, command: list[str], log: Path, environment: dict[str, str] | None = None) -> Starting:
    """Start a process in a session of its own; its output goes to `log`.

    Args:
        name: its name in error messages.
        command: words of the command; a file descriptor for its report is added as the last word.
        log: file that its output is appended to.
        environment: its environment; by default this process's own.
    """
    receive, send = os.pipe()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            [*command, str(send)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            pass_fds=[send],
            env=environment,
            cwd="/",
        )
    finally:
        os.close(descriptor)
        os.close(send)
    _started[process.pid] = process
    return Starting(name, process, receive, log)


def started(pid: int) -> float:
    """Return when a process started, by a clock that a change of the wall clock doesn't move.

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    if not psutil.LINUX:
        return psutil.Process(pid).create_time()
    since_boot = start_since_boot(pid)
    if since_boot is None:
        raise psutil.NoSuchProcess(pid)
    return since_boot


def alive(identity: tuple[int, float] | None) -> bool:
    """Return whether the process with this ID and start time still runs, and isn't being killed at this moment."""
    return identity is not None and _exists(identity) and not _is_dying(identity[0])


def _exists(identity: tuple[int, float]) -> bool:
    if identity[0] in _started and _started[identity[0]].poll() is not None:
        return False
    try:
        process = psutil.Process(identity[0])
        return abs(started(identity[0]) - identity[1]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_dying(pid: int) -> bool:
    """Return whether a process was killed and has yet to end: the kernel takes milliseconds to free its memory.

    On Linux, `/proc/PID/status` has the pending SIGKILL and `/proc/PID/stat` the flag PF_EXITING
    (proc_pid_stat(5)). On other systems nothing shows it, and such a process counts as alive.
    """
    folder = Path("/proc") / str(pid)
    try:
        pending = [
            line.split()[1]
            for line in (folder / "status").read_text().splitlines()
            if line.startswith(("SigPnd:", "ShdPnd:"))
        ]
        flags = int((folder / "stat").read_text().rpartition(")")[2].split()[6])
    except (OSError, ValueError, IndexError):
        return False
    return bool(flags & _PF_EXITING) or any(int(mask, 16) >> (signal.SIGKILL - 1) & 1 for mask in pending)


def stop(identity: tuple[int, float] | None, patience: float = 3.0) -> None:
    """End the process with this ID and start time: by request first, then by force. A reused ID is left alone."""
    if identity is None or not _exists(identity):
        return
    try:
        process = psutil.Process(identity[0])
        children = process.children(recursive=True)
        process.terminate()
        if not _ended(identity, patience):
            process.kill()
            _ended(identity, 5.0)
    except psutil.NoSuchProcess:
        return
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def _ended(identity: tuple[int, float], seconds: float) -> bool:
    """Wait for a process to end. A zombie has ended: its parent may take a while to collect it."""
    deadline = time.monotonic() + seconds
    while _exists(identity):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def with_argument(argument: str) -> list[tuple[int, float]]:
    """Return (process ID, start time) of Rayform's processes whose command line has this argument."""
    identities = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if argument in words and any(word.startswith("rayform_localstack.") for word in words):
            with contextlib.suppress(psutil.NoSuchProcess):
                identities.append((process.pid, started(process.pid)))
    return identities
