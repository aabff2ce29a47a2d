"""Starts workers by forking from a prepared server process (Linux); the server itself is `fork_server`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from rayform_core.errors import PrerequisiteError
from rayform_runtime.execution.local.launcher import Launcher, WorkerProcess, slots, socket_and_pipe
from rayform_runtime.processes.death import kill_group
from rayform_runtime.processes.framing import FrameReader, pack

__all__ = ["ForkLauncher"]

_MOST_RESTARTS = 3


class _ServerConnection:
    """One fork server, base or run, as the run's process sees it."""

    def __init__(self, sock: socket.socket, output: int = -1) -> None:
        self.sock = sock
        self.output = output
        self.frames = FrameReader(sock)
        self.workers: dict[int, WorkerProcess] = {}
        self.ready: bool | None = None
        self.why = ""
        self.lost = False
        self.server_pid: int | None = None
        """The run server that this base server forked last."""

    def request(self, message: tuple[Any, ...], descriptors: Sequence[int] = ()) -> None:
        data = pack(message)
        try:
            sent = socket.send_fds(self.sock, [data], descriptors) if descriptors else self.sock.send(data)
            if sent < len(data):
                self.sock.sendall(data[sent:])
        except OSError:
            self.lost = True

    def take(self) -> list[WorkerProcess]:
        """Process answers; return the workers that ended."""
        ended = []
        for message in self.frames.read():
            if message[0] == "ready":
                self.ready, self.why = message[1], message[2]
            elif message[0] == "started":
                if (worker := self.workers.get(message[1])) is not None:
                    worker.pid = message[2]
            elif message[0] == "server":
                self.server_pid = message[1]
            elif (worker := self.workers.pop(message[1], None)) is not None:
                worker.pid = message[2]
                worker.exit_status = os.waitstatus_to_exitcode(message[3])
                ended.append(worker)
        if self.frames.ended and not self.lost:
            self.lost = True
        if self.lost and self.workers:
            for worker in self.workers.values():
                if worker.pid is not None:
                    kill_group(worker.pid)
                worker.exit_status = -signal.SIGKILL
                ended.append(worker)
            self.workers.clear()
        return ended

    def read_output(self) -> str:
        if self.output < 0:
            return ""
        try:
            data = os.read(self.output, 1 << 16)
        except BlockingIOError:
            return ""
        if not data:
            os.close(self.output)
            self.output = -1
        return data.decode(errors="replace")

    def close(self) -> None:
        self.sock.close()
        if self.output >= 0:
            os.close(self.output)
            self.output = -1


class ForkLauncher(Launcher):
    """Forks workers from a fork server. Linux only.

    macOS frameworks aren't safe to use after a fork without exec, so that macOS takes `SpawnLauncher`.

    Args:
        modules: further modules that the server imports once, beside those of the worker itself.
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self._modules = list(modules)
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: Any = None
        self._base: _ServerConnection | None = None
        self._run: _ServerConnection | None = None
        self._environment: dict[str, str] = {}
        self._restarts = 0
        self.start()

    def start(self) -> None:
        """Start the base server where none lives; returns before it is up."""
        if self._process is not None and self._process.poll() is None and self._base and not self._base.lost:
            return
        self._discard_base()
        ours, theirs = socket.socketpair()
        # What it says when it can't start; a file in memory, since `tempfile` takes long to import.
        self._errors = os.fdopen(os.memfd_create("rayform-fork-server"), "w+b")
        code = (
            "import sys; sys.path[:] = sys.argv[3].split('\\n')\n"
            "from rayform_runtime.execution.local.fork_server import main\n"
            "main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[4].split())"
        )
        # The kernel's signal comes when the *thread* that made the process ends, which only the main thread outlives.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        command = [sys.executable, "-c", code, str(theirs.fileno()), str(parent)]
        self._process = subprocess.Popen(
            [*command, "\n".join(p for p in sys.path if p), " ".join(self._modules)],
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            pass_fds=[theirs.fileno()],
            # From its first moment: Ctrl-C would end an interpreter that is just starting.
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

    def prepare(
        self,
        environment: Mapping[str, str],
        code_root: str | None,
        import_paths: Sequence[str],
        sources: Sequence[Mapping[str, Any]],
    ) -> None:
        self.start()
        assert self._base is not None
        self._close_run(kill=True)
        ours, theirs, output_read, output_write = socket_and_pipe()
        self._base.request(
            ("server", dict(environment), code_root, list(import_paths), [dict(s) for s in sources]),
            [theirs.fileno(), output_write],
        )
        theirs.close()
        os.close(output_write)
        self._run = _ServerConnection(ours, output_read)
        self._environment = dict(environment)

    def launch(self, environment: Mapping[str, str], *, preloaded: bool) -> WorkerProcess:
        server = self._run if preloaded else self._base
        if server is self._run and (server is None or server.lost or server.ready is False):
            server = self._base
        if server is None or server.lost:
            self.start()
            server = self._base
        assert server is not None
        ours, theirs, output_read, output_write = socket_and_pipe()
        worker = WorkerProcess(next(slots), ours, output_read)
        # While the run server still imports, it holds the request and answers it afterwards.
        server.workers[worker.slot] = worker
        wanted = {**self._environment, **environment}
        server.request(("worker", worker.slot, wanted), [theirs.fileno(), output_write])
        theirs.close()
        os.close(output_write)
        return worker

    def descriptors(self) -> list[int]:
        found = []
        for server in (self._base, self._run):
            if server is not None and not server.lost:
                found.append(server.sock.fileno())
                if server.output >= 0:
                    found.append(server.output)
        return found

    def collect(self) -> tuple[list[WorkerProcess], str]:
        ended: list[WorkerProcess] = []
        printed = ""
        for server in (self._base, self._run):
            if server is not None:
                ended += server.take()
                printed += server.read_output()
        if self._base is not None and self._base.lost:
            self._raise_if_it_never_started()
        return ended, printed

    def _raise_if_it_never_started(self) -> None:
        """A server that was killed is started again when the next worker is wanted; one that can't start isn't.

        Raises:
            PrerequisiteError: it ended by itself before it served.
        """
        if self._base is None or self._base.ready or self._errors is None or self._process is None:
            return
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return
        if code < 0 and self._restarts < _MOST_RESTARTS:
            self._restarts += 1
            return
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        raise PrerequisiteError(
            "Worker processes can't be started.",
            why=said.splitlines()[-1] if said else f"The process that starts them ended with code {code}.",
            hint="Check that Rayform is installed in this interpreter's environment, and that memory is free.",
        )

    def _close_run(self, *, kill: bool) -> None:
        """Let the run's workers go; doesn't wait for them.

        Idle workers end by themselves once their sockets close, and the base server kills what hasn't ended
        after a moment; `shutdown` waits for it.
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
            self._run.request(("quit",))
        # With `kill` the end of file alone tells the server to kill its workers; one that still imports the
        # person's code doesn't hear it.
        elif not self._run.ready and self._base is not None and self._base.server_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._base.server_pid, signal.SIGKILL)
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
            self._base.request(("quit",))
            self._base.sock.close()
        try:
            process.wait(timeout=4)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            process.kill()
            process.wait()
            if isinstance(error, KeyboardInterrupt):
                raise
        self._discard_base()
