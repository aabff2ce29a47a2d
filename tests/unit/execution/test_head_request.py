"""What travels between a laptop and a cluster's head arrives complete."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.engine import Engine, stack_spec

from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import RunStatus, StepError
from rayform_runtime.execution.interface import CodeFacts, RunEvent, RunOutcome, RunRequest
from rayform_runtime.execution.on_ray.event_file import (
    HeadRequest,
    RunEnd,
    RunError,
    end_line,
    event_line,
    read_line,
)


def test_a_request_is_the_same_on_the_head(tmp_path: Path) -> None:
    """Pipeline, facts of the code, stack and images come out of the JSON as they went in."""
    engine = Engine.at(tmp_path)
    request = HeadRequest(
        request=RunRequest(
            new_id(),
            "run",
            engine.pipeline(engine.step("one", "constant")),
            code=CodeFacts(git_commit="abc"),
            environment={"python": "3.11"},
        ),
        stack=stack_spec(tmp_path),
        images={"one": "registry/image@sha256:0"},
        events="/tmp/events",
    )
    there = HeadRequest.model_validate_json(request.model_dump_json())
    assert there == request
    assert there.request.spec.steps[0].key == "one"


def test_events_and_the_end_are_lines_of_one_file() -> None:
    """An event, an outcome and an error of the scheduler each come out of their line as they went in."""
    event = RunEvent("log", datetime.now(UTC), "run", step_key="train", text="loss 0.5")
    outcome = RunOutcome(new_id(), RunStatus.FAILED, {"train": StepError("ValueError", "no")})
    error = RunError(type="UsageError", message="no", why="because", hint="do")
    assert read_line(event_line(event)) == event
    assert read_line(end_line(RunEnd(outcome=outcome))) == RunEnd(outcome=outcome)
    assert read_line(end_line(RunEnd(error=error))) == RunEnd(error=error)
    assert end_line(RunEnd(error=error)).startswith(b'{"rayform_end":{"error":{')


def test_another_line_is_refused() -> None:
    """What is neither an event nor the end is an error."""
    with pytest.raises(ValueError, match="RunEvent"):
        read_line(b'{"kind": 1}')
