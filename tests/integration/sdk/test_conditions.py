"""`when`: steps that run only if an output has a certain value."""

from __future__ import annotations

import operator
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.commands import Command

from rayform import Client, pipeline, step, when
from rayform_core.errors import PipelineFailedError, UsageError

pytestmark = pytest.mark.usefixtures("home")


@step
def score(value: float) -> Annotated[float, "accuracy"]:
    return value


@step
def anything(value: Any) -> Any:
    return value


@step
def promote(value: float) -> str:
    return f"promoted {value}"


@step
def announce(text: str) -> str:
    return text.upper()


@step
def always() -> int:
    return 1


@pipeline
def training(value: float = 0.95, least: float = 0.9) -> None:
    accuracy = score(value)
    announce(when(accuracy, ">", least)(promote)(accuracy))
    always()


@pipeline
def promotion(value: float) -> str:
    return announce(promote(value))


@pipeline
def with_inner(value: float) -> None:
    accuracy = score(value)
    when(accuracy, ">", 0.5)(when(accuracy, "<", 1.0)(promotion))(accuracy)


def test_a_step_runs_if_its_condition_holds() -> None:
    """A condition that holds changes nothing else."""
    run = training(0.95)
    assert {s.name: s.status.value for s in run.step_runs} == {
        "score": "completed",
        "promote": "completed",
        "announce": "completed",
        "always": "completed",
    }
    assert run.steps["announce"].output.load() == "PROMOTED 0.95"


def test_a_step_is_skipped_if_its_condition_does_not_hold(command: Command) -> None:
    """The step and those that need it are skipped, the run completes, and the value and the condition can be read."""
    run = training(0.81)
    assert run.status == "completed"
    assert run.steps["promote"].status == run.steps["announce"].status == "skipped"
    assert run.steps["always"].status == "completed"
    metadata = run.steps["promote"].run_metadata
    assert metadata["condition_value"] == 0.81
    assert metadata["skipped_because"] == (
        "output 'accuracy' of step 'score' is 0.81, and the condition is > 0.9"
    )
    described = command("rayform", "runs", "describe", run.name)
    assert "promote: skipped, because output 'accuracy' of step 'score' is 0.81" in described.stdout
    assert "resume" not in described.stdout


def test_a_cached_value_decides_too() -> None:
    """The second run takes the output from the cache and skips the step for the same reason."""
    training(0.5)
    again = training(0.5)
    assert again.steps["score"].status == "cached"
    assert again.steps["promote"].status == "skipped"


def test_the_condition_is_no_part_of_the_cache_key() -> None:
    """A step that ran without a condition is taken from the cache when it has one that holds."""
    training(0.95)
    assert training(0.95, least=0.2).steps["promote"].status == "cached"


@pytest.mark.parametrize(("value", "status"), [(0.4, "skipped"), (0.7, "completed"), (1.0, "skipped")])
def test_a_condition_on_a_pipeline_holds_for_all_its_steps(value: float, status: str) -> None:
    """An inlined pipeline runs only if all of its conditions hold."""
    run = with_inner(value)
    assert run.steps["promote"].status == run.steps["announce"].status == status
    assert run.status == "completed"


_SCALARS = st.one_of(
    st.integers(-5, 5),
    st.floats(allow_nan=True, width=32),
    st.text("ab", max_size=2),
    st.booleans(),
    st.none(),
)
_OPERATORS: dict[str, Any] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, values: value in values,
    "not in": lambda value, values: value not in values,
}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=_SCALARS, sign=st.sampled_from(sorted(_OPERATORS)), other=_SCALARS)
def test_a_condition_is_what_python_says(value: Any, sign: Any, other: Any) -> None:
    """For each pair of plain values, the step runs exactly if Python's own comparison is true."""
    wanted = [other, 1] if sign in ("in", "not in") else other

    @pipeline(name="compare")
    def compare() -> None:
        when(anything(value), sign, wanted)(always)()

    if other is None and sign in ("<", "<=", ">", ">="):
        with pytest.raises(UsageError, match="None"):
            compare.trace()
        return
    try:
        holds = bool(_OPERATORS[sign](value, wanted))
    except TypeError:
        with pytest.raises(PipelineFailedError):
            compare()
        run = Client().list_pipeline_runs(size=1).items[0]
        error = run.steps["always"].error
        assert error is not None and "can't be asked" in error.message
        return
    assert compare().steps["always"].status.value in (("completed", "cached") if holds else ("skipped",))


def test_numpy_numbers_compare() -> None:
    """An output that is a NumPy number compares as the number that it is."""
    import numpy as np

    @pipeline(name="numbers")
    def numbers() -> None:
        when(anything(np.float64(0.3)), ">", 0.5)(always)()

    assert numbers().steps["always"].status == "skipped"


def test_a_value_that_does_not_compare_fails_the_step_with_an_error() -> None:
    """A list that no annotation announced is refused when the run has it."""

    @pipeline(name="lists")
    def lists() -> None:
        when(anything([1, 2]), ">", 0.5)(always)()

    with pytest.raises(PipelineFailedError, match="a condition compares"):
        lists()


def test_spin_runs_a_step_whatever_its_condition() -> None:
    """A user who names a step wants it to run."""
    from rayform.launching.spin import spin_step

    run = training(0.81)
    client = Client()
    spun = spin_step(run, "promote", client.active_stack)
    assert spun.steps["promote"].output.load() == "promoted 0.81"


@step
def rows() -> list[int]:
    return [1]


def _in_pipeline(body: Any) -> None:
    pipeline(name="wrong")(body).trace()


def test_mistakes_are_refused_before_the_run() -> None:
    """Operators, values and outputs that can't compare are named while the pipeline is traced."""

    def operator_() -> None:
        when(score(1.0), "=>", 0.9)(always)()  # type: ignore[arg-type]

    def kind() -> None:
        when(score(1.0), ">", "high")(always)()

    def a_list() -> None:
        when(rows(), ">", 1)(always)()

    def no_list() -> None:
        when(score(1.0), "in", 1)(always)()

    def plain() -> None:
        when(0.95, ">", 0.9)(always)()

    def mapped() -> None:
        when(promote.map(rows()), "==", "x")(always)()

    def other() -> None:
        when(score(1.0), "==", [1])(always)()

    def function() -> None:
        when(score(1.0), "==", 1)(len)  # type: ignore[call-overload]

    for body, text in [
        (operator_, "operator '=>'"),
        (kind, "type `float` with 'high'"),
        (a_list, "type `list`"),
        (no_list, "take a list"),
        (plain, "plain `if`"),
        (mapped, "is mapped"),
        (other, "take a list"),
        (function, "is neither"),
    ]:
        with pytest.raises(UsageError) as caught:
            _in_pipeline(body)
        assert text in str(caught.value), body.__name__
    with pytest.raises(UsageError, match="run by itself"):
        when(object(), "==", 1)(promotion).trace(1.0)
