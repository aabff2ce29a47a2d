"""Dynamic pipelines: bodies that see the values of their steps."""

# A plain call has the type of the value, so that `.load()` on it is unknown to Pyright.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import dynamic_pipelines as pipes
from support.commands import Command

from rayform import Client, pipeline, step
from rayform.reading.views import RunView
from rayform_core.errors import PipelineFailedError, UsageError

pytestmark = pytest.mark.usefixtures("home")


def statuses(run: RunView) -> dict[str, str]:
    return {step.name: step.status.value for step in run.step_runs}


def test_the_body_sees_values() -> None:
    """Loops and conditions over values decide which steps run."""
    run = pipes.control_flow(3)
    assert run.status == "completed"
    doubles = [f"double_{i}" for i in range(2, 8)]
    assert list(statuses(run)) == ["double", *doubles[:3], "numbers", *doubles[3:], "multiply"]
    assert run.steps["multiply"].output.load() == 96
    assert [s["key"] for s in run.config["steps"]] == list(statuses(run))


def test_every_call_is_cached_by_itself() -> None:
    """A second run takes each call from the cache, and a call with other values runs."""
    pipes.control_flow(3)
    assert set(statuses(pipes.control_flow(3)).values()) == {"cached"}
    other = pipes.control_flow(4)
    assert statuses(other)["double"] == "completed" and statuses(other)["numbers"] == "cached"


def test_futures_maps_products_and_elements() -> None:
    """Each way to fan out gives the values in their order, and its results can be passed on."""
    run = pipes.fan_out()
    assert run.status == "completed"
    assert run.steps["add"].output.load() == run.steps["add_2"].output.load() == 12


def test_static_pipelines_and_recursion() -> None:
    """A static pipeline becomes part of a dynamic one, and a dynamic one may call itself."""
    assert pipes.with_parts().status == "completed"


def test_submitted_steps_run_side_by_side() -> None:
    """Two submitted steps run at the same time."""
    assert pipes.side_by_side().status == "completed"


def test_a_failure_that_the_body_catches_does_not_fail_the_run() -> None:
    """The error comes where the result is asked for; what depends on the step is skipped; the run goes on."""
    run = pipes.handled()
    assert run.status == "completed"
    assert statuses(run) == {"fails": "failed", "double": "skipped", "double_2": "completed"}


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_failure_that_nobody_catches_fails_the_run(is_asked: bool) -> None:
    """Whether the body asks for the result or not, the run fails with the step's error; other steps finish."""
    with pytest.raises(PipelineFailedError, match="on purpose"):
        pipes.unhandled(is_asked)
    run = Client().list_pipeline_runs(size=1).items[0]
    assert statuses(run) == {"fails": "failed", "double": "completed"}
    assert run.error is not None and "Step 'fails'" in run.error.message


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("value", "the body's own mistake"),
        ("condition", r"Write `\.load\(\)`"),
        ("argument", "value"),
        ("thread", "another thread"),
    ],
)
def test_an_error_of_the_body_fails_the_run(how: str, text: str) -> None:
    """What the body raises is the run's error; the calls before it are kept."""
    with pytest.raises(PipelineFailedError, match=text):
        pipes.broken(how)
    run = Client().list_pipeline_runs(size=1).items[0]
    assert run.status == "failed" and statuses(run)["double"] == "completed"


def test_describe_shows_the_calls(command: Command) -> None:
    """`rayform runs describe` lists the calls with their status."""
    run = pipes.handled()
    described = command("rayform", "runs", "describe", run.name).stdout
    assert "double_2" in described and "fails: ValueError: no good" in described


def test_spin_runs_one_call_again() -> None:
    """A call of a dynamic run can be run again alone."""
    from rayform.launching.spin import spin_step

    run = pipes.control_flow(3)
    spun = spin_step(run, "multiply", Client().active_stack)
    assert spun.steps["multiply"].output.load() == 96


def test_arguments_of_all_kinds_arrive() -> None:
    """Values, containers, data frames and stored versions are what the caller passed."""
    import pandas as pd

    @step
    def total(frame: pd.DataFrame, factor: int = 1) -> int:
        return int(frame["a"].sum()) * factor

    @pipeline(dynamic=True, name="frames")
    def frames(frame: pd.DataFrame, factors: tuple[int, ...], stored: object = None) -> None:
        assert isinstance(frame, pd.DataFrame) and factors == (1, 2)
        assert [total(frame, factor).load() for factor in factors] == [3, 6]
        if stored is not None:
            assert total(stored).load() == 30  # type: ignore[arg-type]

    frames(pd.DataFrame({"a": [1, 2]}), (1, 2))
    from rayform import save_artifact

    version = save_artifact(pd.DataFrame({"a": [10, 20]}), "frame")
    frames(pd.DataFrame({"a": [1, 2]}), (1, 2), version)


def test_static_pipelines_refuse_what_only_dynamic_ones_can() -> None:
    """`submit`, `product` and dynamic pipelines in a static body are errors that say what to write."""

    @pipeline(name="s1")
    def submits() -> None:
        pipes.double.submit(1)

    @pipeline(name="s2")
    def calls() -> None:
        pipes.search(1)

    for wrong in (submits, calls):
        with pytest.raises(UsageError, match="dynamic"):
            wrong.trace()
    with pytest.raises(UsageError, match="dynamic"):
        pipes.double.submit(1)


def test_options_and_configuration_hold_for_calls() -> None:
    """Options of the call, and YAML by step name, are those of each call."""

    @pipeline(dynamic=True, name="uncached", enable_cache=False)
    def uncached() -> None:
        pipes.double(4)
        pipes.double.with_options(id="named", enable_cache=True)(4)

    uncached()
    run = uncached()
    assert statuses(run) == {"double": "completed", "named": "cached"}


PAGE = Path(__file__).parents[3] / "docs" / "dynamic-pipelines.md"
EXAMPLES = [b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "dynamic=True" in b]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_the_page_run(command: Command, tmp_path: Path, number: int) -> None:
    """Each example of `docs/dynamic-pipelines.md` is a file that runs."""
    (tmp_path / "example.py").write_text(EXAMPLES[number])
    done = command("rayform", "run", "example.py")
    assert done.returncode == 0, done.stderr
