"""A local worker process: runs one step task after another until its socket closes."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import sys
from typing import NoReturn

from rayform_runtime.execution.interface import StepResult, Task
from rayform_runtime.execution.worker.step_runner import close_stacks, failed_result, run_step
from rayform_runtime.processes.death import die_with_parent, leave_terminal
from rayform_runtime.processes.framing import pack, receive
from rayform_runtime.usercode.scripts import enter_worker_process

__all__ = ["main", "run_worker"]


def run_worker(task_fd: int, output_fd: int, environment: dict[str, str]) -> NoReturn:
    """Run the tasks that arrive on a socket, until it closes.

    Args:
        task_fd: the socket: tasks in, results out.
        output_fd: the pipe for all that is printed.
        environment: variables to set.
    """
    leave_terminal()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    if output_fd > 2:
        os.close(output_fd)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    # Line by line, so that users see output while the step runs, and a killed worker loses none of it.
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = open(  # noqa: SIM115
            descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.update(environment)
    os.set_inheritable(task_fd, False)
    _show_where_on_signal()
    tasks = socket.socket(fileno=task_fd)
    while True:
        try:
            task = receive(tasks)
        except OSError:
            task = None
        if task is None:
            break
        result = _run(task)
        with contextlib.suppress(ValueError, OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        try:
            answer = pack(result)
        except Exception as error:  # noqa: BLE001 - a class of the user's that can't be pickled
            answer = pack(failed_result(task, error))
        try:
            tasks.sendall(answer)
        except OSError:
            break
    close_stacks()
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    os._exit(0)


def _run(task: Task) -> StepResult:
    try:
        return run_step(task)
    except BaseException as error:  # noqa: BLE001 - `sys.exit()` in a step must not end the worker
        return failed_result(task, error)


def _show_where_on_signal() -> None:
    """Print the stack on SIGUSR1, so that the log shows where a step that timed out stood."""
    import faulthandler

    with contextlib.suppress(Exception):
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=False, chain=False)


def main(task_fd: int, output_fd: int, parent: int, modules: list[str]) -> NoReturn:
    """Run a worker that was spawned rather than forked: the entry point of `launcher.worker_command`."""
    import importlib

    enter_worker_process()
    die_with_parent(parent)
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    run_worker(task_fd, output_fd, {})
