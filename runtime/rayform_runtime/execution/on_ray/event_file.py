"""What travels as JSON between a laptop and the head: the request for a run, its events, and its end."""

from __future__ import annotations

from functools import cache

from pydantic import BaseModel, ConfigDict, TypeAdapter

from rayform_runtime.components import StackSpec
from rayform_runtime.execution import interface
from rayform_runtime.execution.interface import RunEvent, RunOutcome, RunRequest
from rayform_runtime.spec import PipelineSpec

__all__ = ["HeadRequest", "RunEnd", "RunError", "end_line", "event_line", "read_line"]

# The interface imports it for type checkers alone, to keep `import rayform` light; pydantic looks for it there.
setattr(interface, "PipelineSpec", PipelineSpec)  # noqa: B010

_END_MARK = b'{"rayform_end":'


class HeadRequest(BaseModel):
    """Everything that the head needs to run a pipeline. It lies in the stack's bucket, and holds no secret.

    Args:
        request: what to run.
        stack: the stack, as the laptop reaches it.
        images: image reference by step key; empty if steps run without images.
        code_key, code_digest: the project's code bundle in the artifact store.
        events: path on the head of the file that gets the run's events, one JSON object a line.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    request: RunRequest
    stack: StackSpec
    images: dict[str, str] = {}
    code_key: str | None = None
    code_digest: str | None = None
    events: str


class RunError(BaseModel):
    """The error that ended the scheduler: the name of its class, and its sentences."""

    type: str
    message: str
    why: str | None = None
    hint: str | None = None


class RunEnd(BaseModel):
    """How the scheduler ended: with the run's outcome, or with an error of its own."""

    outcome: RunOutcome | None = None
    error: RunError | None = None


class _EndLine(BaseModel):
    rayform_end: RunEnd


@cache
def _events() -> TypeAdapter[RunEvent]:
    return TypeAdapter(RunEvent)


def event_line(event: RunEvent) -> bytes:
    """Return an event as one line of JSON, with its line break."""
    return _events().dump_json(event) + b"\n"


def end_line(end: RunEnd) -> bytes:
    """Return the last line of a run's events, with its line break."""
    return _EndLine(rayform_end=end).model_dump_json(exclude_unset=True).encode() + b"\n"


def read_line(line: bytes) -> RunEvent | RunEnd:
    """Read one line of a run's events.

    Raises:
        ValueError: it is neither an event nor the end.
    """
    if line.startswith(_END_MARK):
        return _EndLine.model_validate_json(line).rayform_end
    return _events().validate_json(line)
