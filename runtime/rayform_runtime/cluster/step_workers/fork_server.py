"""Makes Ray's workers of one step image by forking.

Run as `python -m rayform_runtime.cluster.step_workers.fork_server SOCKET`.

One such process runs in each step image's container on a node. It has imported Ray and Rayform and has a single
thread. For each worker, `stand_in` connects once and sends a request: four bytes with its length, then fields between
NULs (the worker's name, the number of arguments, the arguments, `NAME=value` for each variable). The three standard
streams go along as descriptors (`SCM_RIGHTS`). Answers are lines: `P<pid>`, then `E<exit code>` when the worker has
ended; or `R` if this process can't fork, because a library has started a thread or the node has no room for a process.
When a connection closes, its worker and all that the worker started are killed.

The server ends once it has no worker and was idle for a while, its socket's file is gone or replaced, or the raylet
that it was started for is gone.

The local fork server (`execution.local.fork_server`) speaks another protocol, and shares only reaping, process identity
and the rules for forking (`processes`). Its frames are pickles on an unnamed socket. This server's socket has a name,
and its clients start once per worker: a stand-in costs some 15 ms of CPU (ADR 42, 43), and the imports that frames
need would add 8 ms to each. Pickle would also run what a connecting process sends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rayform_runtime.processes.death import die_with_parent, kill_group
from rayform_runtime.processes.fork_safety import freeze_heap, is_single_threaded
from rayform_runtime.processes.identity import ProcessIdentity
from rayform_runtime.processes.reaping import ChildWatch, adopt_orphans, children, variable_of

__all__ = ["main"]

IDLE_SECONDS = 60.0
"""As long as Ray keeps an idle worker. A server belongs to one job: nobody asks for it after the job's end."""
_CHECK_SECONDS = 2.0
"""How often the server looks whether its raylet and its socket's file are still there."""
_GRACE_SECONDS = 10.0
"""How long workers may outlive their raylet."""
_BREATH_SECONDS = 0.05
_LARGEST_REQUEST = 1 << 24
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
"""Modules that nearly every step needs. The server also serves if an image lacks some of them."""


@dataclass(frozen=True, slots=True)
class Request:
    """How to start a worker: its own name, the arguments after `python`, and its variables."""

    name: str
    arguments: list[str]
    variables: dict[str, str]

    @classmethod
    def read(cls, body: bytes) -> Request:
        """Read a request's fields.

        Raises:
            ValueError: these are not the fields of a request.
        """
        name, count, *rest = (os.fsdecode(part) for part in body.split(b"\0"))
        arguments, pairs = rest[: int(count)], rest[int(count) :]
        if len(arguments) != int(count) or not all("=" in pair for pair in pairs):
            raise ValueError("the fields of the request don't match their number")
        return cls(name, arguments, dict(pair.split("=", 1) for pair in pairs))


@dataclass(slots=True)
class _StandIn:
    """One connection, and the worker that was forked for it."""

    connection: socket.socket
    data: bytes = b""
    """The part of its request that has arrived."""
    streams: list[int] = field(default_factory=list)
    """Standard streams for its worker, until the fork."""
    name: str = ""
    worker: int | None = None
    """Process ID of its worker, from the fork on."""

    def drop_streams(self) -> None:
        for stream in self.streams:
            os.close(stream)
        self.streams.clear()


class _Server:
    def __init__(self, path: Path, idle_seconds: float) -> None:
        # The path of the named socket; constant.
        self.path = path
        # How long the server stays without a worker; constant.
        self.idle_seconds = idle_seconds
        # Open connections, by descriptor.
        self.stand_ins: dict[int, _StandIn] = {}
        # The connections whose worker lives, by the worker's process ID.
        self.workers: dict[int, _StandIn] = {}
        # When the last connection closed.
        self.idle_since = time.monotonic()
        # The raylet on this node; constant.
        self.raylet = _raylet()
        # Since when the raylet is gone; set once.
        self.raylet_lost: float | None = None
        # The listener of the named socket. Its inode tells its file from the file of a later server.
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        path.chmod(0o600)
        self.inode = path.stat().st_ino
        self.listener.listen(1024)
        self.listener.setblocking(False)
        # The ends of children, and what `serve` waits on: these, the listener, and each connection.
        self.ends = ChildWatch()
        adopt_orphans()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.ends, selectors.EVENT_READ)

    def serve(self) -> Request | None:
        """Serve until it is time to end. Return `None` then; in a forked worker, return the worker's request."""
        while not self.is_over():
            for key, _ in self.selector.select(_CHECK_SECONDS):
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj is self.ends:
                    self.reap()
                elif (stand_in := self.stand_ins.get(key.fd)) is not None:
                    request = self.receive(stand_in)
                    if request is not None:
                        return request
        return None

    def is_over(self) -> bool:
        """Return whether it is time to end; kill workers whose raylet is gone."""
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
        # Serve clients that connected before the name was removed; later ones start another server.
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
                # Out of descriptors or memory. Let the client wait: raising here would kill every running worker.
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
        """Read what a stand-in sent. In the worker that was forked for it, return its request."""
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
            worker = os.fork() if len(stand_in.streams) == 3 and is_single_threaded() else None
        except OSError:
            worker = (
                None  # No room for a process or a descriptor; raising here would kill every running worker.
            )
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
        """Close the server's descriptors in a forked worker."""
        self.ends.leave()
        self.selector.close()
        self.listener.close()
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
        """Report the workers that ended, and kill the processes that they left behind."""
        for pid, status in self.ends.reap(self.workers):
            stand_in = self.workers.pop(pid, None)
            if stand_in is not None and stand_in.connection.fileno() != -1:
                code = os.waitstatus_to_exitcode(status)
                self.answer(stand_in, f"E{code if code >= 0 else 128 - code}")
        self.kill_orphans()

    def kill_orphans(self) -> None:
        """Kill processes that left their worker's group and outlived it; this process has adopted them."""
        names = {stand_in.name for stand_in in self.workers.values()}
        for child in children():
            if child in self.workers:
                continue
            owner = variable_of(child, _NAME)
            # A process that forked without exec shows the server's own variables, which name no worker.
            if (owner is None and not names) or (owner is not None and owner not in names):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)


def _raylet() -> ProcessIdentity | None:
    """Return the raylet that Ray names to its workers, or `None` if this process can't see it."""
    try:
        return ProcessIdentity.of(int(os.environ.get("RAY_RAYLET_PID", "")))
    except (OSError, ValueError):
        return None


def _preload() -> None:
    importlib.import_module(_WORKER)
    # `runpy` runs it as `__main__` in each worker, and warns if it is imported already.
    del sys.modules[_WORKER]
    for name in _PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # Ignore failures: a step that needs what is missing reports it. Credentials may be missing, or AWS's library may
    # refuse a variable or a file.
    with contextlib.suppress(Exception):
        from rayform_runtime.cluster.step_workers.fork_preparation import prepare_for_forks

        if prepare_for_forks():
            return
    with contextlib.suppress(Exception):
        from rayform_runtime.artifacts.stores.aws_sessions import read_descriptions

        read_descriptions("s3")


def _run(request: Request, surroundings: dict[str, str]) -> None:
    """Run what `python ARGUMENTS...` would run, with the image's variables and those of the request."""
    os.environ.clear()
    os.environ.update(surroundings)
    os.environ.update(request.variables)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()  # the standard library seeds its own generator again after a fork
    first, *rest = request.arguments
    module, rest = (rest[0], rest[1:]) if first == "-m" else (first.removeprefix("-m"), rest)
    sys.argv[:] = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main(path: Path, idle_seconds: float = IDLE_SECONDS) -> None:
    """Serve at a path until it is time to end. Forked workers return to here too, and run from here."""
    surroundings = {k: v for k, v in os.environ.items() if k != _NAME}
    gc.disable()  # imports leave no garbage
    _preload()
    if not is_single_threaded():
        sys.exit("importing what a step needs started a thread in this image, so that workers can't fork")
    freeze_heap()
    server = _Server(path, idle_seconds)
    request = server.serve()
    if request is not None:
        _run(request, surroundings)
    elif server.owns_path():
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(float(seconds) for seconds in sys.argv[2:3]))
