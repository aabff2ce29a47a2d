"""The messages that a step's worker sends to its scheduler over the live line: JSON, parsed where they arrive."""

from __future__ import annotations

import json
from typing import NamedTuple

__all__ = ["Exiting", "NoMoreOutput", "Printed", "Started", "StepTry", "WorkerMessage", "decode", "encode"]


class StepTry(NamedTuple):
    """One of the executor's tries of a step run; the first has number 1."""

    step_run_id: str
    number: int


class Started(NamedTuple):
    """The worker begins the step.

    Args:
        node: Ray's ID of the worker's node.
        pid: the worker's process ID on that node.
        container: name of the step's container, or `None` if the step runs without an image.
    """

    node: str
    pid: int
    container: str | None


class Printed(NamedTuple):
    """Lines that the step printed, without the last line break."""

    text: str


class Exiting(NamedTuple):
    """The step ends its own process with this exit code."""

    code: int


class NoMoreOutput(NamedTuple):
    """Everything that the step printed has been sent."""


_KINDS = {Started: "start", Printed: "log", Exiting: "exit", NoMoreOutput: "end"}


class WorkerMessage(NamedTuple):
    """One message, and the try that it is about."""

    about: StepTry
    content: Started | Printed | Exiting | NoMoreOutput


def encode(message: WorkerMessage) -> bytes:
    """Return a message as JSON."""
    (step_run_id, number), content = message
    fields = {"step": step_run_id, "try": number, "kind": _KINDS[type(content)], **content._asdict()}
    return json.dumps(fields).encode()


def decode(data: bytes) -> WorkerMessage:
    """Read a message.

    Raises:
        ValueError: `data` isn't one.

    Example:
        >>> decode(encode(WorkerMessage(StepTry("train", 1), Printed("loss 0.5"))))
        WorkerMessage(about=StepTry(step_run_id='train', number=1), content=Printed(text='loss 0.5'))
    """
    fields = json.loads(data)
    content: Started | Printed | Exiting | NoMoreOutput
    match fields:
        case {"kind": "log", "text": str(text)}:
            content = Printed(text)
        case {"kind": "start", "node": str(node), "pid": int(pid), "container": str() | None as container}:
            content = Started(node, pid, container)
        case {"kind": "exit", "code": int(code)}:
            content = Exiting(code)
        case {"kind": "end"}:
            content = NoMoreOutput()
        case _:
            raise ValueError("This message has no known kind, or its fields are wrong.")
    return WorkerMessage(StepTry(str(fields["step"]), int(fields["try"])), content)
