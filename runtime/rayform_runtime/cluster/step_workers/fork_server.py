"""Makes Ray's workers of one step image by forking.

Run as `python -m rayform_runtime.cluster.step_workers.fork_server SOCKET`.

One such process runs in each step image's container on a node, with Ray and Rayform imported and a single thread.
`stand_in` connects once per worker and sends a request: four bytes with its length, then fields between NULs
(the worker's name, how many arguments, the arguments, `NAME=value` for each variable), and beside it the three
standard streams (`SCM_RIGHTS`). Answers are lines: `P<pid>`, then `E<exit code>` when the worker ended, or `R` where
this process can't fork: some library started a thread, or the node has no room for a process. A connection that closes
kills its worker and what that started.

It ends by itself once it has no worker and was idle for a while, its socket's file is another's or gone, or the raylet
that it was started for is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from rayform_runtime.processes.death import die_with_parent, kill_group, kill_rest_of_group

__all__ = ["main"]

IDLE_SECONDS = 60.0
"""As long as Ray keeps an idle worker. A server is of one job, so that nothing will ask for it once that ended."""
_CHECK_SECONDS = 2.0
_GRACE_SECONDS = 10.0
_BREATH_SECONDS = 0.05
_LARGEST_REQUEST = 1 << 24
_PR_SET_CHILD_SUBREAPER = 36
_NAME = "RAYFORM_STEP_CONTAINER"
_WORKER = "ray._private.workers.default_worker"
_PRELOADED = (
    "rayform_runtime.execution.on_ray.worker",
    "rayform_runtime.execution.worker.step_runner",
    "rayform_runtime.usercode.bundle",
    "rayform_runtime.artifacts.stores.config",
    "rayform_runtime.artifacts.stores.s3",
    "rayform_runtime.artifacts.materializers.json_values",
    "rayform_runtime.artifacts.materializers.text",
)
"""What nearly every step needs; what an image lacks of it is no reason not to serve."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a worker is started with: a name of its own, arguments as after `python`, and variables."""

    name: str
    arguments: list[str]
    variables: dict[str, str]

    @classmethod
    def read(cls, body: bytes) -> Request:
        """Read a request's fields.

        Raises:
            ValueError: the fields aren't those of a request.
        """
        name, count, *rest = (os.fsdecode(part) for part in body.split(b"\0"))
        arguments, pairs = rest[: int(count)], rest[int(count) :]
        if len(arguments) != int(count) or not all("=" in pair for pair in pairs):
            raise ValueError("a request's fields don't fit together")
        return cls(name, arguments, dict(pair.split("=", 1) for pair in pairs))


@dataclass(slots=True)
class _StandIn:
    connection: socket.socket
    data: bytes = b""
    streams: list[int] = field(default_factory=list)
    name: str = ""
    worker: int | None = None

    def drop_streams(self) -> None:
        for stream in self.streams:
            os.close(stream)
        self.streams.clear()


class _Server:
    def __init__(self, path: Path, idle_seconds: float) -> None:
        self.path = path
        self.idle_seconds = idle_seconds
        self.stand_ins: dict[int, _StandIn] = {}
        self.workers: dict[int, _StandIn] = {}
        self.idle_since = time.monotonic()
        self.raylet = _Raylet.of_this_worker()
        self.raylet_lost: float | None = None
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        path.chmod(0o600)
        self.inode = path.stat().st_ino
        self.listener.listen(1024)
        self.listener.setblocking(False)
        self.wakeup_read, self.wakeup_write = os.pipe()
        os.set_blocking(self.wakeup_read, False)
        os.set_blocking(self.wakeup_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wakeup_write, warn_on_full_buffer=False)
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.wakeup_read, selectors.EVENT_READ)

    def serve(self) -> Request | None:
        """Serve until it is time to end; return None then, and in each forked worker its request."""
        while not self.is_over():
            for key, _ in self.selector.select(_CHECK_SECONDS):
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fd == self.wakeup_read:
                    self.reap()
                elif (stand_in := self.stand_ins.get(key.fd)) is not None:
                    request = self.receive(stand_in)
                    if request is not None:
                        return request
        return None

    def is_over(self) -> bool:
        now = time.monotonic()
        if self.raylet is not None and not self.raylet.lives():
            self.raylet_lost = self.raylet_lost or now
            if now - self.raylet_lost > _GRACE_SECONDS:
                for worker in self.workers:
                    kill_group(worker)
        if self.workers or self.stand_ins:
            self.idle_since = now
            return False
        if self.raylet_lost is not None or not self.owns_path():
            return True
        if now - self.idle_since < self.idle_seconds:
            return False
        # Who connected before the name was gone is still served; later ones start another server.
        self.path.unlink(missing_ok=True)
        self.accept()
        return not self.stand_ins

    def owns_path(self) -> bool:
        try:
            return self.path.stat().st_ino == self.inode
        except OSError:
            return False

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                return
            except OSError:
                # Out of descriptors or memory. Who knocks waits; an error here would end all that work.
                time.sleep(_BREATH_SECONDS)
                return
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            if struct.unpack("3i", credentials)[1] != os.getuid():
                connection.close()
                continue
            connection.setblocking(False)
            self.stand_ins[connection.fileno()] = _StandIn(connection)
            self.selector.register(connection, selectors.EVENT_READ)

    def receive(self, stand_in: _StandIn) -> Request | None:
        """Take in what a stand-in sent; return its request in the worker that was forked for it."""
        try:
            data, streams, _, _ = socket.recv_fds(stand_in.connection, 65536, 3)
        except BlockingIOError:
            return None
        except OSError:
            data, streams = b"", []
        stand_in.streams += streams
        stand_in.data += data
        if not data or (stand_in.worker is not None):
            self.close(stand_in)
            return None
        length = int.from_bytes(stand_in.data[:4], "big")
        if length > _LARGEST_REQUEST:
            self.close(stand_in)
            return None
        if len(stand_in.data) < 4 or len(stand_in.data) < 4 + length:
            return None
        try:
            request = Request.read(stand_in.data[4 : 4 + length])
        except ValueError:
            self.close(stand_in)
            return None
        return self.fork(stand_in, request)

    def fork(self, stand_in: _StandIn, request: Request) -> Request | None:
        parent = os.getpid()
        try:
            worker = os.fork() if len(stand_in.streams) == 3 and may_fork() else None
        except OSError:
            worker = None  # No room for a process or a descriptor; an error here would end all that work.
        if worker is None:
            self.answer(stand_in, "R")
            return None
        if worker == 0:
            streams, stand_in.streams = stand_in.streams, []
            self.leave()
            os.setsid()
            die_with_parent(parent)
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            for stream in streams:
                if stream > 2:
                    os.close(stream)
            return request
        stand_in.drop_streams()
        stand_in.data = b""
        stand_in.name, stand_in.worker = request.name, worker
        self.workers[worker] = stand_in
        self.answer(stand_in, f"P{worker}")
        return None

    def leave(self) -> None:
        """Forget, in a forked worker, all that is the server's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.selector.close()
        self.listener.close()
        os.close(self.wakeup_read)
        os.close(self.wakeup_write)
        for stand_in in self.stand_ins.values():
            stand_in.connection.close()
            stand_in.drop_streams()

    def answer(self, stand_in: _StandIn, text: str) -> None:
        with contextlib.suppress(OSError):
            stand_in.connection.send(text.encode() + b"\n")

    def close(self, stand_in: _StandIn) -> None:
        if stand_in.worker is not None and stand_in.worker in self.workers:
            kill_group(stand_in.worker)
        stand_in.drop_streams()
        if self.stand_ins.pop(stand_in.connection.fileno(), None) is not None:
            self.selector.unregister(stand_in.connection)
            stand_in.connection.close()

    def reap(self) -> None:
        """Note which workers ended, and kill what they left behind, as the end of a container would."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wakeup_read, 4096)
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is None:
                break
            stand_in = self.workers.pop(found.si_pid, None)
            if stand_in is not None:
                kill_rest_of_group(found.si_pid)  # not yet waited for: the group's number is still its own
            _, status = os.waitpid(found.si_pid, 0)
            if stand_in is not None and stand_in.connection.fileno() != -1:
                code = os.waitstatus_to_exitcode(status)
                self.answer(stand_in, f"E{code if code >= 0 else 128 - code}")
        self.kill_orphans()

    def kill_orphans(self) -> None:
        """Kill processes that left their worker's group and outlived it: they are this process's children then."""
        tasks = Path("/proc/self/task")
        try:
            children = [int(p) for p in (tasks / str(os.getpid()) / "children").read_text().split()]
        except OSError:
            return
        alive = {stand_in.name for stand_in in self.workers.values()}
        for child in children:
            if child in self.workers:
                continue
            owner = _variable_of(child, _NAME)
            # A fork without exec shows this server's own variables; whose it is can't be told.
            if (owner is None and not alive) or (owner is not None and owner not in alive):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class _Raylet:
    pid: int
    started: str

    @classmethod
    def of_this_worker(cls) -> _Raylet | None:
        """Return the raylet that Ray names to its workers, where this process sees it."""
        try:
            pid = int(os.environ.get("RAY_RAYLET_PID", ""))
            return cls(pid, _start_of(pid))
        except (OSError, ValueError):
            return None

    def lives(self) -> bool:
        try:
            return _start_of(self.pid) == self.started
        except (FileNotFoundError, ProcessLookupError):
            return False
        except OSError:
            return True  # It can't be told for want of a descriptor, which is no reason to kill its workers.


def _start_of(pid: int) -> str:
    # After the command in brackets, which may hold blanks: state is field 3 and the start is field 22 of proc(5).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        raise ProcessLookupError(pid)
    return fields[19]


def _variable_of(pid: int, name: str) -> str | None:
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = os.fsencode(name) + b"="
    return next((os.fsdecode(p[len(prefix) :]) for p in pairs if p.startswith(prefix)), None)


def may_fork() -> bool:
    """Return whether this process has one thread, by Python's count and by the kernel's."""
    return threading.active_count() == 1 and len(list(Path("/proc/self/task").iterdir())) == 1


def _preload() -> None:
    importlib.import_module(_WORKER)
    # `runpy` runs it as __main__ in each worker, and warns about one that is there already.
    del sys.modules[_WORKER]
    for name in _PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # What can't be prepared is for the step that uses it to tell, where one does: missing credentials, a variable or
    # a file of the cloud's that its library refuses.
    with contextlib.suppress(Exception):
        from rayform_runtime.cluster.step_workers.fork_preparation import prepare_for_forks

        if prepare_for_forks():
            return
    with contextlib.suppress(Exception):
        from rayform_runtime.artifacts.stores.aws_sessions import read_descriptions

        read_descriptions("s3")


def _run(request: Request, surroundings: dict[str, str]) -> None:
    """Be the worker: what `python ARGUMENTS...` would run, with the image's variables and the request's."""
    os.environ.clear()
    os.environ.update(surroundings)
    os.environ.update(request.variables)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()  # the standard library's generator seeds itself anew
    first, *rest = request.arguments
    module, rest = (rest[0], rest[1:]) if first == "-m" else (first.removeprefix("-m"), rest)
    sys.argv[:] = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main(path: Path, idle_seconds: float = IDLE_SECONDS) -> None:
    """Serve at a path until it is time to end; forked workers run, and leave, through here too."""
    surroundings = {k: v for k, v in os.environ.items() if k != _NAME}
    gc.disable()  # nothing that is imported is garbage
    _preload()
    if not may_fork():
        sys.exit("importing what a step needs started a thread in this image, so that workers can't fork")
    gc.freeze()  # keeps the collector from touching, and so copying, pages shared with the workers
    gc.enable()
    server = _Server(path, idle_seconds)
    request = server.serve()
    if request is not None:
        _run(request, surroundings)
    elif server.owns_path():
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(float(seconds) for seconds in sys.argv[2:3]))
