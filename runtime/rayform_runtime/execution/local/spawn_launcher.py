"""Starts each worker as an interpreter of its own: slower than forking, and safe on every system."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence

from rayform_runtime.execution.local.launcher import (
    Launcher,
    RunCode,
    WorkerProcess,
    slots,
    socket_and_pipe,
    worker_command,
)
from rayform_runtime.processes.death import kill_group, kill_rest_of_group

__all__ = ["SpawnLauncher"]


class SpawnLauncher(Launcher):
    """Starts each worker as an interpreter of its own.

    Args:
        modules: what workers import in addition to the worker's own modules.
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self._modules = list(modules)
        self._environment: Mapping[str, str] = {}
        self._processes: dict[int, tuple[WorkerProcess, subprocess.Popen[bytes]]] = {}

    def prepare(self, code: RunCode) -> None:
        self._environment = code.environment

    def launch(self, environment: Mapping[str, str], *, preloaded: bool) -> WorkerProcess:
        ours, theirs, output_read, output_write = socket_and_pipe()
        process = subprocess.Popen(
            worker_command(theirs.fileno(), output_write, self._modules),
            env={**os.environ, **self._environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output_write,
            stderr=output_write,
            pass_fds=[theirs.fileno(), output_write],
            start_new_session=True,
        )
        theirs.close()
        os.close(output_write)
        worker = WorkerProcess(next(slots), ours, output_read, pid=process.pid)
        self._processes[worker.slot] = (worker, process)
        return worker

    def descriptors(self) -> dict[int, int]:
        return {}  # a worker's end shows as the end of file on its own socket

    def collect(self) -> tuple[list[WorkerProcess], str]:
        ended = []
        for slot, (worker, process) in list(self._processes.items()):
            status = process.poll()
            if status is not None:
                kill_rest_of_group(process.pid)
                worker.exit_status = status
                del self._processes[slot]
                ended.append(worker)
        return ended, ""

    def close(self, *, kill: bool) -> None:
        processes, self._processes = self._processes, {}
        for worker, process in processes.values():
            if kill:
                kill_group(process.pid)
            with contextlib.suppress(OSError):
                worker.close()
        deadline = time.monotonic() + 3.0
        for _, process in processes.values():
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
                kill_rest_of_group(process.pid)
            except subprocess.TimeoutExpired:
                kill_group(process.pid)
                process.wait()

    def shutdown(self) -> None:
        self.close(kill=True)
