"""What a user passes is what a step gets, and what doesn't fit is refused before the run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Optional, Protocol

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from pydantic import AfterValidator, Field
from support.passed_values import ANNOTATED, Base, Cat, Deep, Dog, Model, Optim, Settings, describe, values

from rayform import ExternalArtifact, Pipeline, pipeline, step
from rayform.authoring.configuration import PipelineConfiguration
from rayform.authoring.parameters import validated
from rayform.authoring.tracing import trace_pipeline
from rayform.authoring.yaml_values import read_value
from rayform_core.errors import UsageError
from rayform_runtime.artifacts.annotations import Fit, may_overlap
from rayform_runtime.artifacts.exact_values import (
    NeedsMaterializerError,
    decode_argument,
    encode_argument,
    types_within,
)
from rayform_runtime.execution.scheduling.cache_keys import StaticParts, cache_key
from rayform_runtime.execution.scheduling.graph import RunGraph
from rayform_runtime.spec import ArtifactInput, ListInput, PipelineSpec, ValueInput


def spec_of(
    body: Callable[..., object], *args: Any, configuration: dict[str, Any] | None = None, **kwargs: Any
) -> PipelineSpec:
    pipe: Any = body if isinstance(body, Pipeline) else pipeline(body)
    return trace_pipeline(pipe, args, kwargs, PipelineConfiguration.model_validate(configuration or {}))


def given_to(spec: PipelineSpec, key: str, name: str) -> object:
    """Return what the worker would make of an argument."""
    source = spec.step(key).inputs[name]
    assert isinstance(source, ValueInput)
    return source.value if source.exact is None else decode_argument(source.exact)


@step
def number() -> int:
    return 3


@step
def numbers() -> list[int]:
    return [3]


@step
def text(value: str) -> str:
    return value


@step
def anything(value: Any) -> Any:
    return value


@settings(max_examples=200, deadline=None)
@given(values)
def test_any_value_comes_back_from_its_text(value: object) -> None:
    """The exact text gives the same types and content, and the shown form is JSON."""
    expected = describe(value)
    try:
        passed = encode_argument(value)
    except NeedsMaterializerError:
        return
    import json

    json.dumps(passed.shown, allow_nan=False)
    assert describe(passed.shown if passed.exact is None else decode_argument(passed.exact)) == expected


@pytest.mark.parametrize("index", range(len(ANNOTATED)))
def test_values_that_fit_their_annotation_are_left_alone(index: int) -> None:
    """Validation returns the very object."""
    annotation, strategy = ANNOTATED[index]

    @settings(max_examples=10, deadline=None)
    @given(strategy)
    def check(value: object) -> None:
        assert describe(validated(value, annotation, what="x")) == describe(value)

    check()


def test_a_union_keeps_the_member_that_was_passed() -> None:
    """The parameter of the pipeline, its default, and the step's argument keep their types."""

    standard = Optim()

    @step
    def show(
        pet: Cat | Dog, size: Any = (28, 28), folder: Any = Path("data"), optim: Optim = standard
    ) -> None:
        pass

    @pipeline
    def body(pet: Cat | Dog = Cat("-")) -> None:  # noqa: B008
        show(pet)

    spec = spec_of(body, Dog("rex"))
    assert given_to(spec, "show", "pet") == Dog("rex")
    assert given_to(spec, "show", "size") == (28, 28)
    assert given_to(spec, "show", "folder") == Path("data")
    optim = given_to(spec, "show", "optim")
    assert isinstance(optim, Optim) and (optim.lr, optim.calls) == (2.0, 1)  # type: ignore[attr-defined]
    assert spec.parameters == {"pet": {"name": "rex"}}


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        ("3", int, 3),
        (["1", 2], list[int], [1, 2]),
        ({"rate": 1}, Model, Model(rate=1)),
        ("2026-01-31", date, date(2026, 1, 31)),
        ({"lr": "0.5"}, Settings, {"lr": 0.5}),
        ([{"lr": "0.5"}], list[Settings], [{"lr": 0.5}]),
        ([1, 2], tuple[int, ...], (1, 2)),
        (3, Annotated[float, Field(gt=0)], 3),
        (3, Annotated[int, AfterValidator(lambda value: value + 1)], 4),
        (3, float, 3),
        (None, Optional[int], None),  # noqa: UP045
    ],
)
def test_values_that_do_not_fit_are_converted_once(
    value: object, annotation: object, expected: object
) -> None:
    """Coercion stays for what is no value of the annotation yet."""
    result = validated(value, annotation, what="x")
    assert describe(result) == describe(expected)


def test_numbers_in_yaml_become_what_the_annotation_says() -> None:
    """`1` for a float is 1.0 if it is text, and stays an int if it is Python."""

    @step
    def take(rate: float) -> None: ...

    body = pipeline(lambda: take(rate=1))
    assert type(given_to(spec_of(body), "take", "rate")) is int
    configured = spec_of(body, configuration={"steps": {"take": {"parameters": {"rate": 1}}}})
    assert type(given_to(configured, "take", "rate")) is float


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("12:30", "12:30"),
        ("010", 10),
        ("0x10", 16),
        ("1_000", 1000),
        ("2026-01-31", "2026-01-31"),
        (".inf", float("inf")),
        ("1.2.3", "1.2.3"),
        ("true", True),
        ("'1e3'", "1e3"),
        ("", None),
    ],
)
def test_yaml_is_read_as_users_mean_it(written: str, value: object) -> None:
    """Numbers are YAML 1.2's; times and dates stay text."""
    assert describe(read_value(written)) == describe(value)


# -- values that materializers store --------------------------------------------------------------------------


def test_a_data_frame_is_an_artifact_named_by_its_content() -> None:
    """The same content has the same version, and a change between two calls counts."""

    @pipeline
    def body() -> None:
        frame = pd.DataFrame({"a": [1]})
        anything(frame)
        anything(pd.DataFrame({"a": [1]}))
        frame["a"] = [2]
        anything(frame)
        anything(ExternalArtifact(value=[1, 2]))

    inputs = [step.inputs["value"] for step in spec_of(body).steps]
    assert all(isinstance(each, ArtifactInput) for each in inputs)
    assert inputs[0] == inputs[1] != inputs[2]
    assert [step.inputs["value"] for step in spec_of(body).steps] == inputs


@pytest.mark.parametrize(
    "value", [object(), lambda: 1, (x for x in [1]), [object()], {"a": ValueError("no")}]
)
def test_what_nothing_can_store_is_refused_before_the_run(value: object) -> None:
    """The error names the argument and says what to do."""
    with pytest.raises(UsageError, match="Argument 'value' of step 'anything'.*ExternalArtifact"):
        spec_of(pipeline(lambda: anything(value)))


def test_a_value_that_contains_itself_is_refused() -> None:
    """There is no text of it."""
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(UsageError, match="contains itself"):
        spec_of(pipeline(lambda: anything(endless)))


def test_an_external_artifact_has_a_value_or_an_id() -> None:
    """Both, neither, and text that is no ID are refused."""
    for arguments in ({}, {"value": 1, "id": "x"}, {"id": "x"}):
        with pytest.raises(UsageError):
            ExternalArtifact(**arguments)  # type: ignore[arg-type]


def test_a_large_array_is_an_artifact_and_a_small_one_too() -> None:
    """An array as an argument has a version in the lineage, whatever its size."""

    @pipeline
    def body() -> None:
        anything(np.zeros(10_000))
        anything(np.zeros(2))
        anything([np.zeros(10_000)])

    assert all(isinstance(each.inputs["value"], ArtifactInput) for each in spec_of(body).steps)


# -- classes that can't be imported ---------------------------------------------------------------------------


def test_a_class_inside_a_function_travels_with_the_step() -> None:
    """A worker finds it through the step's annotations."""

    @dataclass
    class Local:
        size: int = 1

    def take(value: Any) -> None: ...

    take.__annotations__ = {"value": list[Local], "return": None}
    local = types_within(take)
    passed = encode_argument([Local(3)], local)
    assert passed.exact is not None
    assert decode_argument(passed.exact, local) == [Local(3)]
    with pytest.raises(UsageError, match="top level"):
        encode_argument(Local(3))


# -- wiring and returns ---------------------------------------------------------------------------------------


class _Reads(Protocol):
    def read(self) -> str: ...


@pytest.mark.parametrize(
    ("output", "argument"),
    [
        (int, str),
        (list[int], list[str]),
        (int, list[int]),
        (pd.DataFrame, str),
        (None, int),
        (Path, str),
        (dict[str, int], dict[str, str]),
    ],
)
def test_wiring_that_can_never_fit_is_refused(output: object, argument: object) -> None:
    """The error names both steps and both types."""
    assert not may_overlap(output, argument)


@pytest.mark.parametrize(
    ("output", "argument"),
    [
        (int, float),
        (float, int),
        (Any, str),
        (int | str, str),
        (Deep, Base),
        (list, list[int]),
        (list[int], list[float]),
        (dict, Settings),
        (np.float64, float),
        (pd.DataFrame, np.ndarray),
        (int, _Reads),
        (str, Optional[str]),  # noqa: UP045
        (np.ndarray, np.ndarray[Any, np.dtype[np.float64]]),
    ],
)
def test_wiring_that_may_fit_is_allowed(output: object, argument: object) -> None:
    """Subclasses, unions that overlap, promotions, and what only the value decides."""
    assert may_overlap(output, argument)
    assert may_overlap(argument, output)


def test_int_into_text_is_refused_before_the_run() -> None:
    """Single outputs, lists of outputs and elements of a map are looked at."""
    with pytest.raises(
        UsageError, match="'value' of step 'text' can't be output 'output' of step 'number'.*int.*str"
    ):
        spec_of(pipeline(lambda: text(number())))
    with pytest.raises(UsageError, match=r"list\[int\]"):
        spec_of(pipeline(lambda: text([number()])))
    with pytest.raises(UsageError, match="annotated as `str`"):
        spec_of(pipeline(lambda: text.map(numbers())))


def test_a_tuple_of_outputs_stays_a_tuple() -> None:
    """A direct call would get one too."""

    @pipeline
    def body() -> None:
        anything((number(), number()))

    source = spec_of(body).step("anything").inputs["value"]
    assert isinstance(source, ListInput) and source.is_tuple


@pytest.mark.parametrize(
    ("value", "annotation"),
    [("oops", int), (1.5, int), (None, int), ([1, "a"], list[int]), ((1,), tuple[int, str]), ({}, Settings)],
)
def test_values_that_do_not_fit_are_seen(value: object, annotation: object) -> None:
    """What a type checker would refuse is found at run time."""
    assert Fit().check(value, annotation) is False


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1, float),
        (True, int),
        (np.float32(1), float),
        (np.int64(1), int),
        (np.bool_(True), bool),
        ([1, 2.5], list[float]),
        (list(range(100_000)), list[int]),
        ({"lr": 1}, Settings),
        (Deep(), Base),
        (len, Callable[[Any], int]),
        (np.zeros(3), np.ndarray[Any, np.dtype[np.float32]]),
    ],
)
def test_values_that_may_fit_are_never_refused(value: object, annotation: object) -> None:
    """Promotions, NumPy's numbers and generics of libraries pass."""
    assert Fit().check(value, annotation) is not False


# -- keys and earlier versions --------------------------------------------------------------------------------


def _key(**parameters: object) -> str:
    passed = {name: encode_argument(value) for name, value in parameters.items()}
    return cache_key(
        StaticParts("", "", "", ""),
        {name: each.shown for name, each in passed.items()},
        {},
        {name: each.exact for name, each in passed.items() if each.exact is not None},
    )


def test_the_order_of_a_dict_is_part_of_the_key_and_that_of_arguments_is_not() -> None:
    """Types count too: a tuple is not a list, nor is 1 true."""
    assert _key(a={"x": 1, "y": 2}) != _key(a={"y": 2, "x": 1})
    assert _key(a=1, b=2) == _key(b=2, a=1)
    assert len({_key(a=value) for value in ((1, 2), [1, 2], {1, 2}, True, 1, 1.0, "1", Path("1"))}) == 8


def test_a_set_has_one_key_in_all_processes() -> None:
    """The order of a set changes with the seed of a process's hashes."""
    program = (
        "from rayform_runtime.artifacts.exact_values import encode_argument as e;"
        "print(e({'a': {'x', 'y', 'zz', 'w'}, 'b': frozenset(map(str, range(9)))}))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1


def test_runs_of_earlier_versions_still_convert_their_json() -> None:
    """A stored spec without exact values reads, and its workers coerce."""
    stored = spec_of(pipeline(lambda: anything(1))).model_dump(mode="json")
    assert [each.is_json for each in _task_inputs(stored)] == [False]
    del stored["has_exact_values"], stored["steps"][0]["inputs"]["value"]["exact"]
    assert [each.is_json for each in _task_inputs(stored)] == [True]


def _task_inputs(stored: dict[str, Any]) -> list[Any]:
    graph = RunGraph(PipelineSpec.model_validate(stored), {})
    (instance,) = graph.open_node(graph.nodes["anything"])
    return list(instance.task_inputs().values())
