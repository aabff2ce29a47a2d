"""What a laptop asks of a cluster's head crosses to it whole."""

from __future__ import annotations

from pathlib import Path

from support.engine import Engine, stack_spec

from rayform_core.ids import new_id
from rayform_runtime.execution.interface import CodeFacts, RunRequest
from rayform_runtime.execution.on_ray.event_file import HeadRequest


def test_a_request_is_the_same_on_the_head(tmp_path: Path) -> None:
    """Pipeline, facts of the code, stack and images come out of the JSON as they went in."""
    engine = Engine.at(tmp_path)
    asked = HeadRequest(
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
    there = HeadRequest.model_validate_json(asked.model_dump_json())
    assert there == asked
    assert there.request.spec.steps[0].key == "one"
