"""The fork server: a process with Rayform already imported, from which a worker forks in milliseconds.

One *base* server lives as long as the orchestrator. For each run it forks a *run* server, which imports the
person's code once, so that twenty workers don't import scikit-learn twenty times. Both speak the same
protocol over a Unix socket: a frame per request, with file descriptors sent beside it (`SCM_RIGHTS`).

Forking happens only here, in a process with one thread; the person's own process is never forked, since it
may hold threads and locks. A library that starts Python threads when it is imported makes the run server
refuse to serve, and its workers fork from the base server and import by themselves.

Requests: `("worker", slot, environment)` with two descriptors (task socket, output pipe); `("server",
environment, code_root, import_paths, sources)` with two (control socket, output pipe); `("quit",)`.
Answers: `("ready", may_fork, why)`; `("server", pid)`; `("started", slot, pid)`; `("ended", slot, pid, wait status)`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from rayform_core.startup import without_pydantic_plugins
from rayform_runtime.processes.death import (
    die_with_parent,
    kill_group,
    kill_rest_of_group,
    leave_terminal,
)
from rayform_runtime.processes.framing import FrameReader, send
from rayform_runtime.usercode.scripts import enter_worker_process

__all__ = ["main", "serve"]

_UNSAFE_AFTER_IMPORT = ("jax", "tensorflow", "grpc", "cupy", "numba.cuda")
"""Packages that warn against forking once they are imported."""

GRACE_SECONDS = 3.0

_WORKERS_MODULES = (
    "blake3",
    "rayform_runtime.execution.local.worker_process",
    "rayform_runtime.artifacts.stores.config",
    "rayform_runtime.artifacts.stores.local",
    "rayform_runtime.artifacts.materializers.json_values",
    "rayform_runtime.artifacts.materializers.text",
    # What a person's module imports for `Resources` and the like: 13 ms of each run, if each imported it.
    "rayform_runtime.spec",
)
"""What nearly every worker needs, imported once for all."""


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.may_fork = True
        self.workers: dict[int, int] = {}
        self.servers: set[int] = set()
        self.descriptors: list[int] = []
        self.wakeup_read, self.wakeup_write = os.pipe()
        os.set_blocking(self.wakeup_read, False)
        os.set_blocking(self.wakeup_write, False)

    def install_signals(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wakeup_write, warn_on_full_buffer=False)

    def reset_after_fork(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self.wakeup_read)
        os.close(self.wakeup_write)
        self.control.close()

    def reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.wakeup_read, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.servers.discard(pid)
            slot = self.workers.pop(pid, None)
            if slot is not None:
                kill_rest_of_group(pid)
                with contextlib.suppress(OSError):
                    send(self.control, ("ended", slot, pid, status))

    def fork_worker(self, slot: int, environment: dict[str, str], task_fd: int, output_fd: int) -> None:
        parent = os.getpid()
        pid = os.fork() if self.may_fork else spawn_worker(task_fd, output_fd, environment)
        if pid == 0:
            try:
                self.reset_after_fork()
                die_with_parent(parent)
                from rayform_runtime.execution.local.worker_process import run_worker

                run_worker(task_fd, output_fd, environment)
            finally:
                os._exit(70)
        os.close(task_fd)
        os.close(output_fd)
        self.workers[pid] = slot
        send(self.control, ("started", slot, pid))

    def fork_server(self, request: tuple[Any, ...], control_fd: int, output_fd: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self.reset_after_fork()
                die_with_parent(parent)
                _, environment, code_root, import_paths, sources = request
                serve_run(control_fd, output_fd, environment, code_root, import_paths, sources)
            finally:
                os._exit(70)
        os.close(control_fd)
        os.close(output_fd)
        self.servers.add(pid)
        send(self.control, ("server", pid))

    def handle(self, request: tuple[Any, ...]) -> bool:
        if request[0] == "quit":
            return False
        task_fd, output_fd = self.descriptors[:2]
        del self.descriptors[:2]
        if request[0] == "worker":
            self.fork_worker(request[1], request[2], task_fd, output_fd)
        else:
            self.fork_server(request, task_fd, output_fd)
        return True

    def end_children(self) -> None:
        """Let workers whose socket closed end by themselves for a moment, then kill what is left."""
        deadline = time.monotonic() + GRACE_SECONDS
        self.reap()
        while (self.workers or self.servers) and (left := deadline - time.monotonic()) > 0:
            select.select([self.wakeup_read], [], [], left)
            self.reap()
        for pid in self.workers:
            kill_group(pid)
        for pid in self.servers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_workers(self) -> None:
        for pid in self.workers:
            kill_group(pid)


def spawn_worker(task_fd: int, output_fd: int, environment: dict[str, str]) -> int:
    """Start a worker as an interpreter of its own, from a process that mustn't fork; return its process ID."""
    code = (
        "import sys; sys.path[:] = sys.argv[4].split('\\n')\n"
        "from rayform_runtime.execution.local.worker_process import main\n"
        "main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), [])"
    )
    os.set_inheritable(task_fd, True)
    os.set_inheritable(output_fd, True)
    path = "\n".join(p for p in sys.path if p)
    arguments = [sys.executable, "-c", code, str(task_fd), str(output_fd), str(os.getpid()), path]
    return os.posix_spawn(sys.executable, arguments, {**os.environ, **environment})


def serve(control: socket.socket, *, may_fork: bool = True) -> NoReturn:
    """Answer requests until the other end says quit or is gone; then end all children and exit.

    Where `may_fork` is false, workers that were asked for before that was known are spawned.

    An end of file without `quit` means that the run's process died: workers are killed at once, together
    with the processes that their steps started.
    """
    server = _Server(control)
    server.may_fork = may_fork
    server.install_signals()
    gc.freeze()  # keeps the collector from touching, and so copying, pages shared with the workers
    gc.enable()
    reader = _DescriptorReader(control, server.descriptors)
    said_quit = False
    while not said_quit:
        wanted: list[Any] = [control, server.wakeup_read]
        readable, _, _ = select.select(wanted, [], [])
        if server.wakeup_read in readable:
            server.reap()
        if control in readable:
            for request in reader.read():
                said_quit = not server.handle(request) or said_quit
            if reader.ended:
                break
    if not said_quit:
        server.kill_workers()
    server.end_children()
    os._exit(0)


class _DescriptorReader(FrameReader):
    """A `FrameReader` that also collects the file descriptors sent beside the frames."""

    def __init__(self, sock: socket.socket, descriptors: list[int]) -> None:
        super().__init__(_DescriptorSocket(sock, descriptors))  # type: ignore[arg-type]


class _DescriptorSocket:
    def __init__(self, sock: socket.socket, descriptors: list[int]) -> None:
        self._sock = sock
        self._descriptors = descriptors

    def recv(self, size: int, flags: int) -> bytes:
        data, descriptors, _, _ = socket.recv_fds(self._sock, size, 16, flags)
        self._descriptors += descriptors
        return data


def serve_run(
    control_fd: int,
    output_fd: int,
    environment: dict[str, str],
    code_root: str | None,
    import_paths: list[str],
    sources: list[dict[str, Any]],
) -> NoReturn:
    """Import a run's code, say whether workers may be forked from here, and serve."""
    control = socket.socket(fileno=control_fd)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.close(output_fd)
    os.environ.update(environment)
    may_fork, why = _preload(code_root, import_paths, sources)
    sys.stdout.flush()
    sys.stderr.flush()
    send(control, ("ready", may_fork, why))
    serve(control, may_fork=may_fork)


def _preload(
    code_root: str | None, import_paths: list[str], sources: list[dict[str, Any]]
) -> tuple[bool, str]:
    from rayform_runtime.usercode.code_ref import CodeRef
    from rayform_runtime.usercode.loading import add_code_root, load_source

    add_code_root(code_root, import_paths)
    try:
        for source in sources:
            load_source(CodeRef(**source))
    except BaseException as error:  # noqa: BLE001 - the worker meets it again and reports it with its step
        return False, f"importing the code failed ({type(error).__name__})"
    if threading.active_count() > 1:
        names = ", ".join(t.name for t in threading.enumerate() if t is not threading.main_thread())
        return False, f"importing the code started threads ({names})"
    if native := _unsafe_native_threads():
        return False, f"importing the code started threads of native libraries ({', '.join(native)})"
    unsafe = [name for name in _UNSAFE_AFTER_IMPORT if name in sys.modules]
    if unsafe:
        return False, f"the code imports {', '.join(unsafe)}"
    return True, ""


_SAFE_THREADS = ("jemalloc_bg_thd",)
"""Native threads that their library starts anew in a forked child."""


def _unsafe_native_threads() -> list[str]:
    """Return the names of this process's threads that a forked child would miss.

    A library whose pool of threads isn't there any more waits for it for ever (Polars, OpenMP after its first
    parallel region). OpenBLAS, which NumPy and SciPy each bring, has threads from its import on and mends itself in
    a child (`pthread_atfork`): one fewer than there are CPUs, for each copy of it.
    """
    try:
        tasks = [task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
        names = [(task / "comm").read_text().strip() for task in tasks]
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return []
    mine = Path("/proc/self/comm").read_text().strip()
    others = [name for name in names if name not in _SAFE_THREADS]
    copies = {line.rpartition(" ")[2] for line in maps.splitlines() if "openblas" in line}
    expected = len(copies) * (len(os.sched_getaffinity(0)) - 1)
    if others.count(mine) > expected:
        return others
    return [name for name in others if name != mine]


def main(control_fd: int, parent: int, modules: list[str]) -> NoReturn:
    """Run the base server: the entry point of `python -c` in `fork_launcher`."""
    gc.disable()  # nothing that is imported is garbage
    leave_terminal()
    if parent:
        die_with_parent(parent)
    enter_worker_process()
    control = socket.socket(fileno=control_fd)
    with without_pydantic_plugins():
        for name in (*_WORKERS_MODULES, *modules):
            # What only this release's laptop has is no reason not to serve.
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    send(control, ("ready", True, ""))
    serve(control)
