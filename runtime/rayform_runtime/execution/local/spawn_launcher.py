"""Starts each worker as an interpreter of its own: slower than forking, and safe on every system."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rayform_runtime.execution.local.launcher import Launcher, WorkerProcess, slots, socket_and_pipe
from rayform_runtime.processes.death import kill_group, kill_rest_of_group

__all__ = ["SpawnLauncher"]


class SpawnLauncher(Launcher):
    """Starts each worker as an interpreter of its own: slower, and safe everywhere."""

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self._modules = list(modules)
        self._environment: dict[str, str] = {}
        self._processes: dict[int, tuple[WorkerProcess, subprocess.Popen[bytes]]] = {}

    def prepare(
        self,
        environment: Mapping[str, str],
        code_root: str | None,
        import_paths: Sequence[str],
        sources: Sequence[Mapping[str, Any]],
    ) -> None:
        self._environment = dict(environment)

    def launch(self, environment: Mapping[str, str], *, preloaded: bool) -> WorkerProcess:
        ours, theirs, output_read, output_write = socket_and_pipe()
        code = (
            "import sys; sys.path[:] = sys.argv[4].split('\\n')\n"
            "from rayform_runtime.execution.local.worker_process import main\n"
            "main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[5].split())"
        )
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", code, str(theirs.fileno()), str(output_write), str(os.getpid())),
                *("\n".join(p for p in sys.path if p), " ".join(self._modules)),
            ],
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

    def descriptors(self) -> list[int]:
        return []  # a worker's end shows as the end of file on its own socket

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
