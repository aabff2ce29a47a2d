"""The steps of a run: what waits for what, and how wide a map is."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.catalog.entities import StepStatus
from rayform_runtime.execution.scheduling.graph import RunGraph, VersionRef
from rayform_runtime.spec import (
    ArtifactInput,
    MapInput,
    OutputSpec,
    ParameterInput,
    PipelineSpec,
    SourceRef,
    StepInput,
    StepSpec,
)

SOURCE = SourceRef(module="m", qualname="f")


def step(key: str, *after: str, **inputs: object) -> StepSpec:
    return StepSpec(
        key=key,
        name=key,
        source=SOURCE,
        inputs=inputs,  # type: ignore[arg-type]
        after=list(after),
        outputs=[OutputSpec(name="output", artifact_name=key)],
    )


def graph(*steps: StepSpec, **options: object) -> RunGraph:
    return RunGraph(PipelineSpec(name="p", source=SOURCE, steps=list(steps)), {}, **options)  # type: ignore[arg-type]


def ref(length: int | None = None) -> VersionRef:
    return VersionRef(uuid4(), "file:///x", "digest", "builtins:int", "m:M", length)


def finish(made: RunGraph, key: str, length: int | None = None) -> list[str]:
    node = made.nodes[key]
    for instance in made.open_node(node):
        instance.status, instance.outputs = StepStatus.COMPLETED, {"output": ref(length)}
    return [n.key for n in made.close_node(node, StepStatus.COMPLETED)]


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(*(st.sets(st.integers(0, max(i - 1, 0))) for i in range(n)))
    )
)
def test_every_step_starts_once_after_all_that_it_waits_for(upstream: tuple[set[int], ...]) -> None:
    """Whatever the DAG, following what closing frees runs each step once, in an order that respects it."""
    steps = [step(f"s{i}", *(f"s{j}" for j in sorted(js) if j < i)) for i, js in enumerate(upstream)]
    made = graph(*steps)
    todo, done = [n.key for n in made.roots()], []
    while todo:
        key = todo.pop()
        assert made.may_start(made.nodes[key])
        assert {u.key for u in made.nodes[key].upstream} <= set(done)
        done.append(key)
        todo += finish(made, key)
    assert sorted(done) == sorted(s.key for s in steps)


def test_map_is_as_wide_as_its_list() -> None:
    """Instances take elements by index, and a map over them takes their outputs one by one."""
    made = graph(
        step("list"),
        step("first", x=MapInput(step="list", output="output")),
        step("second", x=MapInput(step="first", output="output")),
        step("join", xs=StepInput(step="second", output="output")),
    )
    finish(made, "list", 3)
    assert [i.arguments["x"][2] for i in made.open_node(made.nodes["first"])] == [0, 1, 2]
    for instance in made.nodes["first"].instances:
        instance.outputs = {"output": ref()}
    made.close_node(made.nodes["first"], StepStatus.COMPLETED)
    second = made.open_node(made.nodes["second"])
    assert [i.arguments["x"][0][0] for i in second] == [
        i.outputs["output"] for i in made.nodes["first"].instances
    ]
    for instance in second:
        instance.outputs = {"output": ref()}
    (join,) = made.open_node(made.nodes["join"])
    assert join.arguments["xs"] == ([i.outputs["output"] for i in second], True, None)


def test_one_instance_of_a_map_runs_alone() -> None:
    """It takes its own element and no other, and one past the end is an error that names those there are."""
    for index in (2, 3):
        made = graph(
            step("list"),
            step("each", x=MapInput(step="list", output="output")),
            only=["each"],
            only_index=index,
        )
        made.give("list", {None: {"output": ref(3)}})
        if index == 3:
            with pytest.raises(NotFoundError, match=r"no step 'each\[3\]'.*each\[2\]"):
                made.open_node(made.nodes["each"])
            continue
        (alone,) = made.open_node(made.nodes["each"])
        assert (alone.map_index, alone.arguments["x"][2], made.nodes["each"].open) == (2, 2, 1)


def test_finished_instances_are_taken_over_by_a_resume() -> None:
    """A step run that an earlier process finished keeps its ID; an unfinished one gets its next attempt."""
    made = graph(step("list"), step("each", x=MapInput(step="list", output="output")))
    done, failed = uuid4(), uuid4()
    made.keep_finished("each", 0, done, StepStatus.COMPLETED, {"output": ref()})
    made.keep_unfinished("each", 1, failed, 2)
    finish(made, "list", 3)
    first, second, third = made.open_node(made.nodes["each"])
    assert (first.id, first.status) == (done, StepStatus.COMPLETED)
    assert (second.id, second.attempt, second.status) == (failed, 3, StepStatus.PENDING)
    assert (third.attempt, third.status) == (1, StepStatus.PENDING)
    assert made.nodes["each"].open == 2


def test_finished_step_whose_output_is_gone_runs_again() -> None:
    """Without all of its outputs an earlier result is none."""
    made = graph(step("one"))
    made.keep_finished("one", None, uuid4(), StepStatus.COMPLETED, {})
    assert made.open_node(made.nodes["one"])[0].status is StepStatus.PENDING


def test_wrong_references_are_named() -> None:
    """Unknown steps, parameters and versions are errors that name what is missing."""
    with pytest.raises(UsageError, match="waits for 'nobody'"):
        graph(step("one", "nobody"))
    with pytest.raises(NotFoundError, match="Did you mean 'train'"):
        graph(step("train"), only=["trian"])
    with pytest.raises(NotFoundError, match="parameter of pipeline 'p'"):
        graph(step("one", n=ParameterInput(parameter="n")))
    made = graph(step("one", x=ArtifactInput(artifact_version_id=str(UUID(int=1)))))
    with pytest.raises(NotFoundError, match="artifact version"):
        made.open_node(made.nodes["one"])
