"""Cache keys: what changes them, and how a miss is explained."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from rayform_runtime.catalog.entities import StepRun, StepStatus
from rayform_runtime.execution.scheduling.cache_keys import (
    KeyInput,
    cache_key,
    explain_miss,
    parts_of,
    static_parts,
)
from rayform_runtime.spec import ImageSpec, OutputSpec, PipelineSpec, SourceRef, StepSpec

SOURCE = SourceRef(module="m", qualname="f")
STEP = StepSpec(
    key="s",
    name="f",
    source=SOURCE,
    code_digest="abc",
    outputs=[OutputSpec(name="output", artifact_name="p::s::output")],
)
PIPELINE = PipelineSpec(name="p", source=SOURCE, steps=[STEP])


def key(pipeline: PipelineSpec = PIPELINE, step: StepSpec = STEP, **changes: object) -> str:
    parameters = changes.get("parameters", {"n": 1})
    inputs = changes.get("inputs", {"x": KeyInput(["d1"])})
    return cache_key(static_parts(pipeline, step), parameters, inputs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("code", {"step": STEP.model_copy(update={"code_digest": "abd"})}),
        ("parameters", {"parameters": {"n": 2}}),
        ("parameters", {"parameters": {"n": 1.0}}),
        ("inputs", {"inputs": {"x": KeyInput(["d2"])}}),
        ("inputs", {"inputs": {"x": KeyInput(["d1"], joined=True)}}),
        ("inputs", {"inputs": {"x": KeyInput(["d1"], index=0)}}),
        ("inputs", {"inputs": {"y": KeyInput(["d1"])}}),
        (
            "outputs",
            {
                "step": STEP.model_copy(
                    update={
                        "outputs": [
                            OutputSpec(name="output", artifact_name="p::s::output", materializer=SOURCE)
                        ]
                    }
                )
            },
        ),
        ("image", {"step": STEP.model_copy(update={"image": ImageSpec(requirements=["numpy"])})}),
        ("image", {"pipeline": PIPELINE.model_copy(update={"image": ImageSpec(base_image="b")})}),
        ("environment", {"step": STEP.model_copy(update={"environment": {"A": "1"}})}),
        ("environment", {"pipeline": PIPELINE.model_copy(update={"environment": {"A": "1"}})}),
    ],
)
def test_each_part_changes_the_key_alone(part: str, changed: dict[str, object]) -> None:
    """A change of one kind changes that part of the key and no other."""
    before, after = parts_of(key()), parts_of(key(**changed))  # type: ignore[arg-type]
    assert [name for name in before if before[name] != after[name]] == [part]


def test_key_does_not_depend_on_order_or_resources() -> None:
    """The order of names, resources and retries of a step don't count."""
    inputs = {"a": KeyInput(["1"]), "b": KeyInput(["2"])}
    swapped = dict(reversed(inputs.items()))
    assert key(inputs=inputs, parameters={"x": 1, "y": 2}) == key(inputs=swapped, parameters={"y": 2, "x": 1})
    other = STEP.model_copy(update={"timeout": 5.0, "key": "renamed"})
    assert key() == key(step=other)


def test_script_that_is_run_or_imported_has_one_key() -> None:
    """A type that a script defines counts the same in `python train.py` and `rayform run train.py`."""

    def with_type(module: str) -> str:
        made = OutputSpec(
            name="output",
            artifact_name="a",
            type=SourceRef(module=module, qualname="Point", file="/project/train.py"),
        )
        return key(step=STEP.model_copy(update={"outputs": [made]}))

    assert with_type("__main__") == with_type("train") != with_type("other")


def test_step_without_a_code_digest_is_never_cached() -> None:
    """Caching that is off, or impossible, says why."""
    assert static_parts(PIPELINE, STEP).why_not is None
    assert "source" in (static_parts(PIPELINE, STEP.model_copy(update={"code_digest": ""})).why_not or "")
    assert "step" in (static_parts(PIPELINE, STEP.model_copy(update={"enable_cache": False})).why_not or "")
    off = PIPELINE.model_copy(update={"enable_cache": False})
    assert "pipeline" in (static_parts(off, STEP).why_not or "")


def earlier(cache_key: str | None, **facts: object) -> StepRun:
    made = StepRun(
        id=uuid4(),
        run_id=uuid4(),
        key="s",
        name="f",
        status=StepStatus.COMPLETED,
        attempt=1,
        map_index=None,
        cache_key=cache_key,
        cached_from=None,
        parameters={"n": 1},
        resources={},
        source=None,
        code_digest=None,
        log_uri=None,
        error=None,
        started_at=None,
        ended_at=None,
    )
    return replace(made, **facts)  # type: ignore[arg-type]


def test_miss_names_the_nearest_difference() -> None:
    """Of several earlier runs the one that differs least explains the miss."""
    inputs = {"x": KeyInput(["d1"])}
    far = earlier(key(parameters={"n": 2}, step=STEP.model_copy(update={"code_digest": "z"})))
    near = earlier(key(parameters={"n": 2}), parameters={"n": 2})
    decision = explain_miss(key(), {"n": 1}, inputs, [far, near], {})
    assert decision.changed == ("parameter 'n' was 2 and is 1",)
    assert str(near.run_id) in decision.reason
    named = explain_miss(key(), {"n": 1}, inputs, [far, near], {}, lambda run_id: f"name of {run_id}")
    assert f"run 'name of {near.run_id}'" in named.reason


def test_miss_without_any_earlier_run_says_so() -> None:
    """No earlier run, or only ones without a key, is a reason of its own."""
    for candidates in ([], [earlier(None)], [earlier("v0.code=1")]):
        assert "No earlier run" in explain_miss(key(), {"n": 1}, {}, candidates, {}).reason
