"""What runs inside a Ray worker: one step, whose output is passed on while it runs.

Ray ships `run_task` by reference: a step's image holds the same Rayform as the head.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from io import TextIOWrapper
from pathlib import Path
from typing import cast

from rayform_runtime.execution.interface import StepResult, StepTask, Task
from rayform_runtime.execution.on_ray.channel import ChannelAddress, ChannelClient
from rayform_runtime.execution.on_ray.failures import ContainerEnd
from rayform_runtime.execution.on_ray.messages import (
    Exiting,
    NoMoreOutput,
    Started,
    StepTry,
    WorkerMessage,
)
from rayform_runtime.execution.on_ray.output import OutputPassing
from rayform_runtime.execution.worker.forked_children import end_on_sigterm

__all__ = ["CodeBundleRef", "Order", "container_end", "run_task"]

_clients: dict[tuple[str, int], ChannelClient] = {}


@dataclass(frozen=True, slots=True)
class CodeBundleRef:
    """A project's code in the stack's bucket: its key, and the digest that it must have."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Order:
    """What the scheduler sends to a Ray worker.

    It travels pickled, and so does the result: Ray takes bytes as they are, while five arguments would cost a
    third of a millisecond a step.

    Args:
        task: what to run.
        entry: import path (`module:name`) of the worker function; `None` if the function itself is sent.
        line: the scheduler's end of the live line.
        code: the project's code; `None` if it is on this machine.
        try_number: which of the executor's tries this is.
    """

    task: Task
    entry: str | None
    line: ChannelAddress | None
    code: CodeBundleRef | None
    try_number: int = 1

    @property
    def about(self) -> StepTry:
        """Which try of which step run this is, for its messages."""
        return StepTry(self.task.step_run_id, self.try_number)


def run_task(packed: bytes, entry: Callable[[Task], StepResult] | None = None) -> bytes:
    """Run one step in this Ray worker.

    Args:
        packed: a pickled `Order`.
        entry: the worker function, if the order names none.

    Returns:
        a pickled `(result, messages)`: the step's result, and how many messages with its output are on the line. The
        scheduler waits for that many. A last message on the line instead would cost a local step a third of a
        millisecond.
    """
    end_on_sigterm()
    order: Order = pickle.loads(packed)  # noqa: S301 - from the scheduler, as all that Ray sends here
    answer = _run(order, entry or _resolve(order.entry or ""))
    try:
        return pickle.dumps(answer, 5)
    except Exception:  # noqa: BLE001 - metadata of a class that only Ray's own pickler takes, by value
        by_value: Callable[[object], bytes] = importlib.import_module("ray.cloudpickle").dumps
        try:
            return by_value(answer)
        except BaseException:
            _send_end(order)
            raise


def _send_end(order: Order) -> None:
    """Report that no more output comes; needed when Ray carries an error, and so no number of messages."""
    _client(order.line).send(WorkerMessage(order.about, NoMoreOutput()))


def _run(order: Order, entry: Callable[[Task], StepResult]) -> tuple[StepResult, int]:
    task, code = order.task, order.code
    client = _client(order.line)
    start = Started(_node_id(), os.getpid(), os.environ.get("RAYFORM_STEP_CONTAINER"))
    client.send(WorkerMessage(order.about, start))
    if isinstance(task, StepTask) and not client.is_open:
        task = replace(task, awaits_record=False)  # the scheduler learns of it only when it ends
    passing = OutputPassing.of_this_process() if client.is_open else None
    try:
        with (
            _output_passed_on(passing, client, order.about),
            _exit_code_reported(passing, client, order.about),
        ):
            if code is not None:
                from rayform_runtime.usercode.bundle import fetch_bundle

                root = fetch_bundle(json.loads(task.stack), code.key, code.digest)
                step = task.step.moved(task.code_root or "", root)
                program = task.pipeline.program.moved(task.code_root or "", root)
                pipeline = task.pipeline._replace(program=program)
                task = replace(task, code_root=str(root), step=step, pipeline=pipeline)
                os.chdir(root)  # as on the laptop, where a step starts in the project
            result = entry(task)
    except BaseException:
        _send_end(order)
        raise
    return result, passing.sent if passing is not None else 0


def container_end(name: str, patience: float = 3.0) -> ContainerEnd | None:
    """Return how a step's container on this node ended, by the file that `step_container.sh` wrote.

    Runs as a Ray task on that node, outside of any image.
    """
    path = Path(os.environ.get("RAYFORM_STEP_EXITS", "/tmp/ray/rayform/exits")) / f"{Path(name).name}.json"  # noqa: S108 - Ray's own folder
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if path.exists():
            facts = json.loads(path.read_text())
            code = facts.get("exit_code")
            return ContainerEnd(None if code is None else int(code), bool(facts.get("oom_killed")))
        time.sleep(0.05)
    return None


def _client(line: ChannelAddress | None) -> ChannelClient:
    if line is None:
        return _Mute()
    client = _clients.get((line.host, line.port))
    if client is None or not client.is_open:
        _clients.clear()  # A worker serves one scheduler at a time; lines to earlier ones are dead.
        client = _clients[line.host, line.port] = ChannelClient(line)
    return client


class _Mute(ChannelClient):
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = None


def _resolve(entry: str) -> Callable[[Task], StepResult]:
    module, _, name = entry.partition(":")
    return cast("Callable[[Task], StepResult]", getattr(importlib.import_module(module), name))


@cache
def _node_id() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


@contextlib.contextmanager
def _exit_code_reported(
    passing: OutputPassing | None, client: ChannelClient, about: StepTry
) -> Iterator[None]:
    """Report the code with which a step ends its process by `os._exit`; Ray only sees a broken connection."""
    leave, worker = os._exit, os.getpid()

    def report_and_leave(status: int) -> None:
        # A child that the step forked ends itself alone, and a thread may have held the line when it was forked.
        if os.getpid() == worker:
            if passing is not None:
                passing.end()
            client.send(WorkerMessage(about, Exiting(status)))
        leave(status)

    os._exit = report_and_leave  # type: ignore[assignment] # typed as never returning
    try:
        yield
    finally:
        os._exit = leave


@contextlib.contextmanager
def _output_passed_on(passing: OutputPassing | None, client: ChannelClient, about: StepTry) -> Iterator[None]:
    """Send all that is written to descriptors 1 and 2 meanwhile, by Python or by any library or child."""
    if passing is None:
        yield
        return
    saved = [(fd, os.dup(fd)) for fd in (1, 2)]
    _flush()
    passing.begin(client, about)
    streams = _line_buffered()
    try:
        yield
    finally:
        _flush()
        for fd, before in saved:
            os.dup2(before, fd)
            os.close(before)
        for stream, buffered in streams:
            with contextlib.suppress(OSError, ValueError):  # the step may have closed it
                stream.reconfigure(line_buffering=buffered)
        passing.end()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or `None`
            stream.flush()


def _line_buffered() -> list[tuple[TextIOWrapper, bool]]:
    """Let Python's streams pass each line on at once; return them with their setting before."""
    changed = []
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and not stream.closed:
            text = cast(TextIOWrapper, stream)
            changed.append((text, bool(getattr(stream, "line_buffering", False))))
            text.reconfigure(line_buffering=True)
    return changed
