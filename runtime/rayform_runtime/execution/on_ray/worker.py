"""What runs inside a Ray worker: one step, with its output passed on while it runs.

`run_task` is the function that Ray ships, by reference: a step's image holds the same Rayform as the head.
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
from pathlib import Path
from typing import Any

from rayform_runtime.execution.interface import StepResult, StepTask, Task
from rayform_runtime.execution.on_ray.channel import ChannelAddress, ChannelClient
from rayform_runtime.execution.on_ray.output import OutputPassing

__all__ = ["CodeBundleRef", "Order", "container_end", "run_task"]

_clients: dict[tuple[str, int], ChannelClient] = {}


@dataclass(frozen=True, slots=True)
class CodeBundleRef:
    """A project's code in the stack's bucket: where it lies, and the digest that it must have."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Order:
    """What the scheduler sends to a Ray worker.

    It travels as bytes of its own pickling, and the result too: Ray takes bytes as they are, where five arguments
    cost a third of a millisecond a step.

    Args:
        task: what to run.
        entry: import path (`module:name`) of the worker function; `None` where the function itself is sent.
        line: the scheduler's end of the live line.
        code: the project's code, where it isn't on this machine.
        try_number: which of the executor's tries this is, for its messages.
    """

    task: Task
    entry: str | None
    line: ChannelAddress | None
    code: CodeBundleRef | None
    try_number: int = 1


def run_task(packed: bytes, entry: Callable[[Task], StepResult] | None = None) -> bytes:
    """Run one step in this Ray worker.

    Args:
        packed: a pickled `Order`.
        entry: the worker function, where the order names none.

    Returns:
        a pickled `(result, messages)`: the step's result, and how many messages with its output are on the line. The
        scheduler waits for those; telling it their end there, too, cost a step on one machine a third of a millisecond.
    """
    order: Order = pickle.loads(packed)  # noqa: S301 - from the scheduler, as all that Ray sends here
    answer = _run(order, entry or _resolve(order.entry or ""))
    try:
        return pickle.dumps(answer, 5)
    except Exception:  # noqa: BLE001 - metadata of a class that only Ray's own pickler takes, by value
        import ray.cloudpickle

        by_value: Any = ray.cloudpickle
        try:
            answer_bytes: bytes = by_value.dumps(answer)
        except BaseException:
            _client(order.line).send(_end_of(order))
            raise
        return answer_bytes


def _told_of(order: Order) -> dict[str, Any]:
    return {"step": order.task.step_run_id, "try": order.try_number}


def _end_of(order: Order) -> dict[str, Any]:
    """Return the message that no more output comes, for where Ray carries an error and so no number."""
    return {**_told_of(order), "kind": "end"}


def _run(order: Order, entry: Callable[[Task], StepResult]) -> tuple[StepResult, int]:
    task, code = order.task, order.code
    client = _client(order.line)
    told = _told_of(order)
    container = os.environ.get("RAYFORM_STEP_CONTAINER")
    start = {
        "kind": "start",
        "at": time.time(),
        "pid": os.getpid(),
        "node": _node_id(),
        "container": container,
    }
    client.send({**told, **start})
    if isinstance(task, StepTask) and not client.is_open:
        task = replace(task, awaits_record=False)  # the scheduler hears of it only when it ends
    passing = OutputPassing.of_this_process() if client.is_open else None
    try:
        with _passed_on(passing, client, told), _exit_code_told(passing, client, told):
            if code is not None:
                from rayform_runtime.usercode.bundle import fetch_bundle

                root = fetch_bundle(json.loads(task.stack), code.key, code.digest)
                step = task.step.moved(task.code_root or "", root)
                task = replace(task, code_root=str(root), step=step)
                os.chdir(root)  # as on the laptop, where a step starts in the project
            result = entry(task)
    except BaseException:
        client.send(_end_of(order))
        raise
    return result, passing.sent if passing is not None else 0


def container_end(name: str, patience: float = 3.0) -> dict[str, Any] | None:
    """Return how a step's container on this node ended, as `step_container.sh` wrote it down.

    Runs as a Ray task on that node, outside of any image.
    """
    path = Path(os.environ.get("RAYFORM_STEP_EXITS", "/tmp/ray/rayform/exits")) / f"{Path(name).name}.json"  # noqa: S108
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
        time.sleep(0.05)
    return None


def _client(line: ChannelAddress | None) -> ChannelClient:
    if line is None:
        return _Mute()
    known = _clients.get((line.host, line.port))
    if known is None or not known.is_open:
        _clients.clear()  # A worker serves one scheduler at a time; lines to earlier ones are dead.
        known = _clients[line.host, line.port] = ChannelClient(line)
    return known


class _Mute(ChannelClient):
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = None


def _resolve(entry: str) -> Callable[[Task], StepResult]:
    module, _, name = entry.partition(":")
    found: Callable[[Task], StepResult] = getattr(importlib.import_module(module), name)
    return found


@cache
def _node_id() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


@contextlib.contextmanager
def _exit_code_told(
    passing: OutputPassing | None, client: ChannelClient, told: dict[str, Any]
) -> Iterator[None]:
    """Say the code with which a step ends its process by `os._exit`; Ray only sees a broken connection."""
    leave, worker = os._exit, os.getpid()

    def leave_and_tell(status: int) -> None:
        # A child that the step forked ends itself alone, and a thread may have held the line when it was forked.
        if os.getpid() == worker:
            if passing is not None:
                passing.end()
            client.send({**told, "kind": "exit", "code": status})
        leave(status)

    os._exit = leave_and_tell  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = leave


@contextlib.contextmanager
def _passed_on(passing: OutputPassing | None, client: ChannelClient, told: dict[str, Any]) -> Iterator[None]:
    """Send all that is written to descriptors 1 and 2 meanwhile, by Python or by any library or child."""
    if passing is None:
        yield
        return
    saved = [(fd, os.dup(fd)) for fd in (1, 2)]
    _flush()
    passing.begin(client, told)
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
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none at all
            stream.flush()


def _line_buffered() -> list[tuple[Any, bool]]:
    changed = []
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        if hasattr(stream, "reconfigure") and not stream.closed:
            changed.append((stream, bool(getattr(stream, "line_buffering", False))))
            stream.reconfigure(line_buffering=True)
    return changed
