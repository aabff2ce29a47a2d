"""Run events and requests as JSON: how they travel between the head and a laptop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from rayform_runtime.components import StackSpec
from rayform_runtime.execution import interface
from rayform_runtime.execution.interface import RunEvent, RunOutcome, RunRequest
from rayform_runtime.spec import PipelineSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HeadRequest", "event_from_json", "event_to_json", "outcome_from_json", "outcome_to_json"]

# The interface names it for type checkers alone, to keep `import rayform` light; pydantic looks for it there.
setattr(interface, "PipelineSpec", PipelineSpec)  # noqa: B010

_events: TypeAdapter[RunEvent] | None = None
_outcomes: TypeAdapter[RunOutcome] | None = None


class HeadRequest(BaseModel):
    """All that the head needs to run a pipeline; lies in the stack's bucket, and holds no secret.

    Args:
        request: what to run.
        stack: the stack as the laptop knows it.
        images: image reference by step key; empty where steps run without images.
        code_key, code_digest: the project's code bundle in the artifact store.
        events: path on the head that events are written to, one JSON object a line.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    request: RunRequest
    stack: StackSpec
    images: dict[str, str] = {}
    code_key: str | None = None
    code_digest: str | None = None
    events: str


def event_to_json(event: RunEvent) -> bytes:
    """Return an event as one line of JSON."""
    global _events
    _events = _events or TypeAdapter(RunEvent)
    return _events.dump_json(event)


def event_from_json(line: bytes) -> RunEvent:
    """Read one line.

    Raises:
        ValueError: it isn't an event.
    """
    global _events
    _events = _events or TypeAdapter(RunEvent)
    return _events.validate_json(line)


def outcome_to_json(outcome: RunOutcome) -> Mapping[str, Any]:
    """Return an outcome as plain JSON data."""
    global _outcomes
    _outcomes = _outcomes or TypeAdapter(RunOutcome)
    found: Mapping[str, Any] = _outcomes.dump_python(outcome, mode="json")
    return found


def outcome_from_json(data: Any) -> RunOutcome:
    """Read an outcome.

    Raises:
        ValueError: it isn't one.
    """
    global _outcomes
    _outcomes = _outcomes or TypeAdapter(RunOutcome)
    return _outcomes.validate_python(data)
