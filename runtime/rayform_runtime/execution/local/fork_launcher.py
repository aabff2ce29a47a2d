"""Starts workers by forking from a prepared server process (Linux); the server itself is `fork_server`."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from rayform_core.errors import PrerequisiteError
from rayform_runtime.execution.local.fork_protocol import (
    Answer,
    Quit,
    Ready,
    Request,
    RunServerRequest,
    RunServerStarted,
    WorkerEnded,
    WorkerRequest,
    WorkerStarted,
)
from rayform_runtime.execution.local.launcher import Launcher, RunCode, WorkerProcess, slots, socket_and_pipe
from rayform_runtime.processes.death import kill_group
from rayform_runtime.processes.framing import FrameReader, FrameWriter

__all__ = ["ForkLauncher"]

_MOST_RESTARTS = 3
_SECONDS_TO_END = 0.9
"""Seconds to wait for the exit code of a server that closed its socket; then its workers are reported without one."""


class _ServerConnection:
    """One fork server, base or run, seen from the run's process."""

    def __init__(self, sock: socket.socket, output: int = -1) -> None:
        # The control socket.
        self.sock = sock
        self.answers: FrameReader[Answer] = FrameReader(sock)
        self.requests = FrameWriter(sock)
        # Reads what the server prints while it imports the user's code; -1 if there is nothing to read any more.
        self.output = output
        # Workers that were asked for and haven't ended, by slot.
        self.workers: dict[int, WorkerProcess] = {}
        # Whether workers may fork from this server; `None` while it imports.
        self.may_fork: bool | None = None
        # When the connection broke.
        self.lost_at: float | None = None
        # Process ID of the run server that this base server forked last.
        self.run_server_pid: int | None = None

    @property
    def is_lost(self) -> bool:
        return self.lost_at is not None

    def request(self, message: Request, descriptors: Sequence[int] = ()) -> None:
        """Send a request, or keep it until the server reads; the descriptors are the connection's now."""
        try:
            self.requests.send(message, descriptors)
        except OSError:
            self._lose()

    def _lose(self) -> None:
        self.requests.drop()
        if self.lost_at is None:
            self.lost_at = time.monotonic()

    def descriptors(self) -> dict[int, int]:
        """Return what to wait on, with events as in `selectors`."""
        if self.is_lost:
            return {}
        writing = 0 if self.requests.is_done else selectors.EVENT_WRITE
        events = {self.sock.fileno(): selectors.EVENT_READ | writing}
        if self.output >= 0:
            events[self.output] = selectors.EVENT_READ
        return events

    def take(self) -> list[WorkerProcess]:
        """Send waiting requests and process answers; return the workers that ended."""
        ended = []
        try:
            self.requests.flush()
        except OSError:
            self._lose()
        for answer in self.answers.read():
            if isinstance(answer, WorkerEnded):
                if (worker := self.workers.pop(answer.slot, None)) is not None:
                    worker.pid = answer.pid
                    worker.exit_status = os.waitstatus_to_exitcode(answer.status)
                    ended.append(worker)
            else:
                self._note(answer)
        if self.answers.ended:
            self._lose()
        if self.is_lost:
            for worker in self.workers.values():
                if worker.pid is not None:
                    kill_group(worker.pid)
                worker.exit_status = -signal.SIGKILL
                ended.append(worker)
            self.workers.clear()
        return ended

    def _note(self, answer: Ready | RunServerStarted | WorkerStarted) -> None:
        if isinstance(answer, Ready):
            self.may_fork = answer.obstacle is None
        elif isinstance(answer, RunServerStarted):
            self.run_server_pid = answer.pid
        elif (worker := self.workers.get(answer.slot)) is not None:
            worker.pid = answer.pid

    def read_output(self) -> str:
        """Return what the server has printed since the last call."""
        if self.output < 0:
            return ""
        try:
            data = os.read(self.output, 1 << 16)
        except BlockingIOError:
            return ""
        if not data:
            self._close_output()
        return data.decode(errors="replace")

    def _close_output(self) -> None:
        if self.output >= 0:
            os.close(self.output)
            self.output = -1

    def close(self) -> None:
        """Close this side; the server then kills the workers that still run, and ends."""
        self.requests.drop()
        self.sock.close()
        self._close_output()


class ForkLauncher(Launcher):
    """Forks workers from a fork server. Linux only.

    Frameworks of macOS aren't safe to use after a fork without exec, so macOS takes `SpawnLauncher`.

    Args:
        modules: what the server imports in addition to the worker's own modules.
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self._modules = list(modules)
        # The base server: its process, its connection, and what it prints if it can't start. Replaced by `start`.
        self._process: subprocess.Popen[bytes] | None = None
        self._base: _ServerConnection | None = None
        self._errors: BinaryIO | None = None
        # The run server of the run that was prepared last, and that run's variables.
        self._run: _ServerConnection | None = None
        self._environment: Mapping[str, str] = {}
        # How often a base server was killed before it served.
        self._restarts = 0
        # Workers that ended with a base server whose own end isn't known yet.
        self._held: list[WorkerProcess] = []
        self.start()

    def start(self) -> None:
        """Start the base server if none lives; returns before it is up."""
        if (
            self._process is not None
            and self._process.poll() is None
            and self._base
            and not self._base.is_lost
        ):
            return
        self._discard_base()
        ours, theirs = socket.socketpair()
        # A file in memory, since `tempfile` takes long to import.
        self._errors = os.fdopen(os.memfd_create("rayform-fork-server"), "w+b")
        code = (
            "import sys; sys.path[:] = sys.argv[3].split('\\n')\n"
            "from rayform_runtime.execution.local.fork_server import main\n"
            "main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[4].split())"
        )
        # The kernel's signal comes when the *thread* that made the process ends, and only the main thread lasts.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        command = [sys.executable, "-c", code, str(theirs.fileno()), str(parent)]
        self._process = subprocess.Popen(
            [*command, "\n".join(p for p in sys.path if p), " ".join(self._modules)],
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            pass_fds=[theirs.fileno()],
            # In a session of its own from the first moment: Ctrl-C would end an interpreter that is just starting.
            start_new_session=True,
        )
        theirs.close()
        self._base = _ServerConnection(ours)

    def _discard_base(self) -> None:
        if self._base is not None:
            self._base.close()
            self._base = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def prepare(self, code: RunCode) -> None:
        self.start()
        assert self._base is not None
        self._close_run(kill=True)
        ours, theirs, output_read, output_write = socket_and_pipe()
        self._base.request(RunServerRequest(code), [theirs.detach(), output_write])
        self._run = _ServerConnection(ours, output_read)
        self._environment = code.environment

    def launch(self, environment: Mapping[str, str], *, preloaded: bool) -> WorkerProcess:
        server = self._run if preloaded else self._base
        if server is None or server.is_lost or server.may_fork is False:
            server = self._base
        if server is None or (server.is_lost and not self._is_base_ending()):
            self.start()
            server = self._base
        assert server is not None
        ours, theirs, output_read, output_write = socket_and_pipe()
        worker = WorkerProcess(next(slots), ours, output_read)
        # While the run server still imports, it holds the request and answers it afterwards.
        server.workers[worker.slot] = worker
        request = WorkerRequest(worker.slot, {**self._environment, **environment})
        server.request(request, [theirs.detach(), output_write])
        return worker

    def descriptors(self) -> dict[int, int]:
        base = self._base.descriptors() if self._base is not None else {}
        return {**base, **self._run.descriptors()} if self._run is not None else base

    def collect(self) -> tuple[list[WorkerProcess], str]:
        ended, self._held = self._held, []
        printed = ""
        for server in (self._base, self._run):
            if server is not None:
                ended += server.take()
                printed += server.read_output()
        if self._is_base_ending():
            ended, self._held = [], ended
        return ended, printed

    def _is_base_ending(self) -> bool:
        """Return whether a base server that never served has closed its socket, and its exit code isn't known yet.

        A server that was killed is started again with the next worker. One that ended by itself isn't: it can't start.

        Raises:
            PrerequisiteError: it ended by itself before it served.
        """
        base = self._base
        if (
            base is None
            or base.lost_at is None
            or base.may_fork
            or self._errors is None
            or self._process is None
        ):
            return False
        code = self._process.poll()
        if code is None:
            return time.monotonic() - base.lost_at < _SECONDS_TO_END
        if code < 0 and self._restarts < _MOST_RESTARTS:
            self._restarts += 1
            self._errors.close()
            self._errors = None
            return False
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        raise PrerequisiteError(
            "Worker processes can't be started.",
            why=lines[-1] if lines else f"The process that starts them ended with code {code}.",
            hint="Check that Rayform is installed in this interpreter's environment, and that memory is free.",
        )

    def _close_run(self, *, kill: bool) -> None:
        """Release the run's workers, without waiting for their end.

        Idle workers end by themselves once their sockets close. The base server kills those that haven't ended after a
        moment; `shutdown` waits for it.
        """
        for server in (self._run, self._base):
            if server is None:
                continue
            server.take()
            for worker in server.workers.values():
                if kill and worker.pid is not None:
                    kill_group(worker.pid)
                worker.close()
            server.workers.clear()
        if self._run is None:
            return
        if not kill:
            self._run.request(Quit())
        # With `kill`, the end of file alone makes the server kill its workers. A server that still imports the user's
        # code doesn't notice it.
        elif not self._run.may_fork and self._base is not None and self._base.run_server_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._base.run_server_pid, signal.SIGKILL)
        self._run.close()
        self._run = None

    def close(self, *, kill: bool) -> None:
        self._close_run(kill=kill)

    def shutdown(self) -> None:
        self._close_run(kill=True)
        process, self._process = self._process, None
        if process is None:
            return
        if self._base is not None:
            self._base.request(Quit())
            self._base.close()
        try:
            process.wait(timeout=4)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            process.kill()
            process.wait()
            if isinstance(error, KeyboardInterrupt):
                raise
        self._discard_base()
