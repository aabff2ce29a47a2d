"""The fork server: a process with Rayform already imported, from which a worker forks in milliseconds.

One *base* server lives as long as the orchestrator. For each run it forks a *run* server, which imports the user's
code once, so that twenty workers don't import scikit-learn twenty times. Both speak the same protocol
(`fork_protocol`) over a Unix socket: one frame per request, and file descriptors along with it (`SCM_RIGHTS`).

Only these processes fork, since they have one thread each. The user's own process is never forked: it may hold threads
and locks. If importing the user's code starts threads, workers fork from the base server and import the code by
themselves (ADR 21).

The fork server of step images (`cluster.step_workers.fork_server`) speaks another protocol, and shares only reaping
and the rules for forking (`processes`). Frames would cost each of its clients 8 ms of imports, on top of 15 ms; here
the run's process has imported them anyway.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import NoReturn

from rayform_core.startup import without_pydantic_plugins
from rayform_runtime.execution.local.fork_protocol import (
    Quit,
    Ready,
    Request,
    RunServerRequest,
    RunServerStarted,
    WorkerEnded,
    WorkerRequest,
    WorkerStarted,
)
from rayform_runtime.execution.local.launcher import RunCode, worker_command
from rayform_runtime.processes.death import die_with_parent, kill_group, leave_terminal
from rayform_runtime.processes.fork_safety import freeze_heap, reason_not_to_fork
from rayform_runtime.processes.framing import FrameReader, send
from rayform_runtime.processes.reaping import ChildWatch
from rayform_runtime.usercode.scripts import enter_worker_process

__all__ = ["main"]

_GRACE_SECONDS = 3.0
"""Seconds that idle workers have to end by themselves."""

_WORKERS_MODULES = (
    "blake3",
    "rayform_runtime.execution.local.worker_process",
    "resource",
    "rayform_runtime.artifacts.stores.config",
    "rayform_runtime.artifacts.stores.local",
    "rayform_runtime.artifacts.materializers.json_values",
    "rayform_runtime.artifacts.materializers.text",
    # Users' modules import it for `Resources` and the like. Without this each run would spend 13 ms on it.
    "rayform_runtime.spec",
)
"""What nearly every worker needs, imported once for all."""


class _Server:
    def __init__(self, control: socket.socket, *, may_fork: bool) -> None:
        self.control = control
        self.may_fork = may_fork
        # Slots of living workers by process ID, and process IDs of living run servers.
        self.workers: dict[int, int] = {}
        self.run_servers: set[int] = set()
        # Descriptors that have arrived, in the order of the requests that they belong to.
        self.descriptors: list[int] = []
        self.requests: FrameReader[Request] = FrameReader(_DescriptorSocket(control, self.descriptors))
        self.ends = ChildWatch()

    def reset_after_fork(self) -> None:
        """Close the server's descriptors in a forked child."""
        self.ends.leave()
        self.control.close()

    def reap(self) -> None:
        """Report the workers that ended."""
        for pid, status in self.ends.reap(self.workers):
            self.run_servers.discard(pid)
            slot = self.workers.pop(pid, None)
            if slot is not None:
                with contextlib.suppress(OSError):
                    send(self.control, WorkerEnded(slot, pid, status))

    def start_worker(self, request: WorkerRequest, task_fd: int, output_fd: int) -> None:
        parent = os.getpid()
        pid = os.fork() if self.may_fork else spawn_worker(task_fd, output_fd, request.environment)
        if pid == 0:
            try:
                self.reset_after_fork()
                die_with_parent(parent)
                from rayform_runtime.execution.local.worker_process import run_worker

                run_worker(task_fd, output_fd, request.environment)
            finally:
                os._exit(70)
        os.close(task_fd)
        os.close(output_fd)
        self.workers[pid] = request.slot
        send(self.control, WorkerStarted(request.slot, pid))

    def fork_run_server(self, request: RunServerRequest, control_fd: int, output_fd: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self.reset_after_fork()
                die_with_parent(parent)
                serve_run(control_fd, output_fd, request.code)
            finally:
                os._exit(70)
        os.close(control_fd)
        os.close(output_fd)
        self.run_servers.add(pid)
        send(self.control, RunServerStarted(pid))

    def handle(self, request: WorkerRequest | RunServerRequest) -> None:
        first_fd, output_fd = self.descriptors[:2]
        del self.descriptors[:2]
        if isinstance(request, WorkerRequest):
            self.start_worker(request, first_fd, output_fd)
        else:
            self.fork_run_server(request, first_fd, output_fd)

    def end_children(self) -> None:
        """Let workers whose socket closed end by themselves for a moment, then kill what is left."""
        deadline = time.monotonic() + _GRACE_SECONDS
        self.reap()
        while (self.workers or self.run_servers) and (left := deadline - time.monotonic()) > 0:
            select.select([self.ends], [], [], left)
            self.reap()
        self.kill_workers()
        for pid in self.run_servers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_workers(self) -> None:
        for pid in self.workers:
            kill_group(pid)


class _DescriptorSocket:
    """Reads a socket for a `FrameReader`, and collects the descriptors that arrive with the frames."""

    def __init__(self, sock: socket.socket, descriptors: list[int]) -> None:
        self._sock = sock
        self._descriptors = descriptors

    def recv(self, size: int, flags: int, /) -> bytes:
        data, descriptors, _, _ = socket.recv_fds(self._sock, size, 16, flags)
        self._descriptors += descriptors
        return data


def spawn_worker(task_fd: int, output_fd: int, environment: Mapping[str, str]) -> int:
    """Start a worker as an interpreter of its own, from a process that must not fork; return its process ID."""
    os.set_inheritable(task_fd, True)
    os.set_inheritable(output_fd, True)
    command = worker_command(task_fd, output_fd)
    return os.posix_spawn(command[0], command, {**os.environ, **environment})


def serve(control: socket.socket, *, may_fork: bool = True) -> NoReturn:
    """Answer requests until the other end quits or is gone; then end all children and exit.

    An end of file without `Quit` means that the run's process died: workers are killed at once, together with the
    processes that their steps started.

    Args:
        control: where requests come from.
        may_fork: if false, workers are spawned instead; the other end may request some before it reads `Ready`.
    """
    server = _Server(control, may_fork=may_fork)
    freeze_heap()
    sources: list[socket.socket | ChildWatch] = [control, server.ends]
    quits = False
    while not quits:
        readable, _, _ = select.select(sources, [], [])
        if server.ends in readable:
            server.reap()
        if control in readable:
            for request in server.requests.read():
                if isinstance(request, Quit):
                    quits = True
                else:
                    server.handle(request)
            if server.requests.ended:
                break
    if not quits:
        server.kill_workers()
    server.end_children()
    os._exit(0)


def serve_run(control_fd: int, output_fd: int, code: RunCode) -> NoReturn:
    """Import a run's code, report whether workers may be forked from here, and serve."""
    control = socket.socket(fileno=control_fd)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.close(output_fd)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)
    os.environ.update(code.environment)
    obstacle = _preload(code)
    sys.stdout.flush()
    sys.stderr.flush()
    send(control, Ready(obstacle))
    serve(control, may_fork=obstacle is None)


def _preload(code: RunCode) -> str | None:
    """Import the user's code; return why workers can't be forked from here, or `None` if they can."""
    from rayform_runtime.execution.worker.seeds import noticing_seeds
    from rayform_runtime.usercode.loading import add_code_root, load_source
    from rayform_runtime.usercode.program import enter_program

    enter_program(code.program)
    add_code_root(code.code_root, code.import_paths)
    try:
        with noticing_seeds():
            for source in code.sources:
                load_source(source)
    except BaseException as error:  # noqa: BLE001 - the worker meets it again and reports it with its step
        return f"importing the code failed ({type(error).__name__})"
    return reason_not_to_fork()


def main(control_fd: int, parent: int, modules: list[str]) -> NoReturn:
    """Run the base server: the entry point of `python -c` in `fork_launcher`."""
    gc.disable()  # imports leave no garbage
    leave_terminal()
    if parent:
        die_with_parent(parent)
    enter_worker_process()
    control = socket.socket(fileno=control_fd)
    with without_pydantic_plugins():
        for name in (*_WORKERS_MODULES, *modules):
            # The server also serves if some of these modules are missing.
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    send(control, Ready(None))
    serve(control)
