"""A step gets exactly what a direct call would get, whoever runs it."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.commands import Command
from support.passed_values import ANNOTATED, ARGUMENTS, TAKING, describe, measure, returns_text

from rayform import Client, ExternalArtifact, pipeline
from rayform_core.errors import PipelineFailedError

Case = tuple[int, list[Any], list[str]]
"""Number of an annotation, values for all arguments, and what a direct call sees."""

_FAST = 20
_SLOW = 2000


def cases(examples: int, *, same_each_time: bool) -> list[Case]:
    """Return steps to call with so many values in all, made by hypothesis."""
    collected: list[Case] = []
    width = len(ARGUMENTS)
    arguments = st.sampled_from(range(len(ANNOTATED))).flatmap(
        lambda index: st.tuples(st.just(index), st.lists(ANNOTATED[index][1], min_size=width, max_size=width))
    )

    @settings(
        max_examples=-(-examples // width),
        phases=[Phase.generate],
        deadline=None,
        database=None,
        derandomize=same_each_time or not os.environ.get("RAYFORM_SEARCH"),
        suppress_health_check=list(HealthCheck),
    )
    @given(arguments)
    def collect(call: tuple[int, list[Any]]) -> None:
        index, values = call
        collected.append((index, values, [describe(value) for value in values]))

    collect()
    return collected


def differences(collected: list[Case]) -> list[str]:
    """Run all cases in one run and return what steps got that a direct call would not have."""

    @pipeline
    def passing() -> None:
        for number, (index, values, _) in enumerate(collected):
            call: Any = TAKING[index].with_options(id=f"case_{number}")
            call(*values)

    run = passing()
    found = []
    for number, (index, _, expected) in enumerate(collected):
        got = run.steps[f"case_{number}"].outputs["output"].load()
        found += [
            f"{ANNOTATED[index][0]}: {e} became {g}" for e, g in zip(expected, got, strict=True) if e != g
        ]
    return found


@pytest.mark.usefixtures("home")
def test_values_arrive_as_a_direct_call_would_pass_them() -> None:
    """Types and content of arguments are the same in a run."""
    assert differences(cases(8 * _FAST, same_each_time=True)) == []


@pytest.mark.usefixtures("home")
def test_a_data_frame_is_saved_once_and_stands_in_the_lineage() -> None:
    """A second run takes the step from the cache, and spin and the catalog find the version."""
    frame = pd.DataFrame({"a": [1, 2]})

    @pipeline
    def measuring(rows: Any = frame) -> None:
        measure(rows)
        measure(ExternalArtifact(value=frame))

    first, second = measuring(), measuring(frame.copy())
    assert first.steps["measure"].outputs["output_0"].load() == repr(frame)
    assert second.steps["measure"].status == "cached"
    versions = [v for v in Client().list_artifact_versions(size=100).items if v.name.startswith("input::")]
    assert [v.name for v in versions] == ["input::DataFrame"]
    assert first.steps["measure"].inputs["frame"].id == versions[0].id
    assert versions[0].load().equals(frame)
    assert "DataFrame" in str(first.parameters["rows"])


@pytest.mark.usefixtures("home")
def test_a_step_that_returns_another_type_fails_before_its_output_is_stored() -> None:
    """The error names the output and both types."""
    with pytest.raises(PipelineFailedError, match="'output' of step 'returns_text' has type 'str'.*`int`"):
        pipeline(name="returning")(lambda: returns_text())()
    assert Client().list_artifact_versions().items == []


@pytest.mark.slow
@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_thousands_of_values_arrive_in_workers(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forked and spawned workers get the same values as a direct call."""
    monkeypatch.setenv("RAYFORM_START_METHOD", start)
    assert differences(cases(_SLOW, same_each_time=False)) == []


@pytest.mark.slow
@pytest.mark.ray
# Ray leaves its own sockets and files to the interpreter's end.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_thousands_of_values_arrive_in_ray_tasks(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of a local Ray get the same values as a direct call."""
    for arguments in (
        ("orchestrator", "register", "r1", "--flavor", "ray"),
        ("stack", "register", "on-ray", "-o", "r1", "-a", "default"),
    ):
        done = command("rayform", *arguments)
        assert done.returncode == 0, done.stderr
    monkeypatch.setenv("RAYFORM_STACK", "on-ray")
    assert differences(cases(_SLOW, same_each_time=False)) == []
