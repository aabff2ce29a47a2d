"""A pipeline's body becomes a `PipelineSpec`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, SecretStr

from rayform import ArtifactConfig, Pipeline, Resources, RetryPolicy, Step, pipeline, step, unmapped
from rayform.authoring.configuration import PipelineConfiguration
from rayform.authoring.placeholders import StepArtifact
from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.artifacts.exact_values import decode_argument
from rayform_runtime.spec import Input, ListInput, MapInput, PipelineSpec, StepInput, ValueInput


@step
def numbers(count: int = 3) -> Annotated[list[int], "numbers"]:
    return list(range(count))


@step
def split(
    values: list[int], share: float = 0.5
) -> tuple[Annotated[list[int], ArtifactConfig(name="low", tags=["half"], version="v1")], list[int]]:
    return values, values


@step
def double(value: int) -> int:
    return 2 * value


@step
def add(values: list[int], start: int = 0) -> int:
    return sum(values) + start


@step
def announce() -> None:
    pass


def value_of(source: Input) -> ValueInput:
    """Return an input that must be a value."""
    assert isinstance(source, ValueInput)
    return source


class Color(Enum):
    RED = "red"


class Options(BaseModel):
    depth: int = 1
    color: Color = Color.RED


@dataclass
class Place:
    path: Path


def spec_of(
    body: Any, *args: Any, configuration: dict[str, Any] | None = None, **kwargs: Any
) -> PipelineSpec:
    from rayform.authoring.tracing import trace_pipeline

    pipe = body if isinstance(body, Pipeline) else pipeline(body)
    return trace_pipeline(pipe, args, kwargs, PipelineConfiguration.model_validate(configuration or {}))


def test_step_outside_of_a_pipeline_is_its_function() -> None:
    """Called outside of a pipeline a step runs its function."""
    assert double(4) == 8
    assert double.map([1, 2, 3]) == [2, 4, 6]
    assert split.map([[1], [2]], share=0.1) == ([[1], [2]], [[1], [2]])


def test_steps_are_wired_in_order() -> None:
    """Inputs name the step and output that they come from."""

    @pipeline
    def body() -> None:
        low, high = split(numbers(4), share=0.25)
        add(low)
        add(high, start=2)

    spec = spec_of(body)
    assert [s.key for s in spec.steps] == ["numbers", "split", "add", "add_2"]
    assert spec.step("split").inputs == {
        "values": StepInput(step="numbers", output="numbers"),
        "share": ValueInput(value=0.25),
    }
    assert spec.step("add_2").inputs["values"] == StepInput(step="split", output="output_1")
    assert spec.step("add").inputs["start"] == ValueInput(value=0)
    low, high = spec.step("split").outputs
    assert (low.name, low.artifact_name, low.tags, low.version) == ("low", "low", ["half"], "v1")
    assert (high.name, high.artifact_name) == ("output_1", "body::split::output_1")
    assert low.type is not None and str(low.type) == "builtins:list"


def test_spec_survives_json() -> None:
    """A spec reads back from its JSON as it was."""

    @pipeline(tags=["a"])
    def body(rate: float = float("inf")) -> None:
        add(double.map(numbers()))

    spec = spec_of(body)
    assert PipelineSpec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.parameters == {"rate": "inf"}


def test_map_over_an_output_makes_a_mapped_step_and_joins() -> None:
    """A mapped output gives one element to each instance, and its result is joined by the next step."""

    @pipeline
    def body() -> None:
        add(double.map(numbers()))

    spec = spec_of(body)
    assert spec.step("double").inputs == {"value": MapInput(step="numbers", output="numbers")}
    assert spec.step("double").is_mapped
    assert spec.step("add").inputs["values"] == StepInput(step="double", output="output")


def test_unmapped_arguments_go_whole_to_each_instance() -> None:
    """`unmapped(output)` isn't taken apart."""

    @step
    def scale(value: int, by: list[int]) -> int:
        return value

    @pipeline
    def body() -> None:
        values = numbers()
        scale.map(values, by=unmapped(values))

    inputs = spec_of(body).step("scale").inputs
    assert isinstance(inputs["value"], MapInput) and isinstance(inputs["by"], StepInput)


def test_map_over_a_written_list_makes_one_step_each() -> None:
    """A list that stands in the body is unrolled, and its outputs gather in one argument."""

    @pipeline
    def body() -> None:
        add(double.map([5, 7]))

    spec = spec_of(body)
    assert [s.key for s in spec.steps] == ["double", "double_2", "add"]
    assert spec.step("double_2").inputs == {"value": ValueInput(value=7)}
    gathered = spec.step("add").inputs["values"]
    assert isinstance(gathered, ListInput) and [i.step for i in gathered.items] == ["double", "double_2"]  # type: ignore[union-attr]
    assert spec.step("add").upstream == {"double", "double_2"}


def test_map_over_what_is_no_list_is_refused() -> None:
    """An output that is annotated as a number can't be mapped over."""

    @pipeline
    def body() -> None:
        double.map(double(1))  # type: ignore[call-overload]

    with pytest.raises(UsageError, match="annotated as int"):
        spec_of(body)


def test_after_orders_without_data() -> None:
    """`.after(...)`, `after=` and a key all order steps."""

    @pipeline
    def body() -> None:
        first = double(1)
        announce.after(first)()
        announce(after=["double"], id="last")  # type: ignore[call-arg]

    spec = spec_of(body)
    assert spec.step("announce").after == ["double"]
    assert spec.step("last").after == ["double"]
    assert spec.step("last").outputs == []


def test_after_an_unknown_step_names_the_nearest() -> None:
    """A key that no earlier step has is refused."""

    @pipeline
    def body() -> None:
        double(1)
        announce.after("duoble")()

    with pytest.raises(NotFoundError, match="Did you mean 'double'"):
        spec_of(body)


def test_a_pipeline_in_a_pipeline_becomes_part_of_it() -> None:
    """Steps of an inner pipeline get unique keys, and what it returns can be used."""

    @pipeline
    def inner(count: int) -> int:
        return add(numbers(count))

    @pipeline
    def outer() -> int:
        double(inner(2))
        return inner.inline(count=3)

    spec = spec_of(outer)
    assert [s.key for s in spec.steps] == ["numbers", "add", "double", "numbers_2", "add_2"]
    assert spec.outputs == [("add_2", "output")]


def test_parameters_are_checked_against_annotations() -> None:
    """Parameters are converted, frozen as JSON, and refused where they don't fit."""

    @step
    def take(options: Options) -> int:
        return options.depth

    @pipeline
    def body(epochs: int, options: Options) -> None:
        assert isinstance(epochs, int)
        take(options)

    spec = spec_of(body, "3", options={"depth": 2})
    assert spec.parameters == {"epochs": 3, "options": {"depth": 2, "color": "red"}}
    assert value_of(spec.step("take").inputs["options"]).value == {"depth": 2, "color": "red"}
    with pytest.raises(UsageError, match="Parameter 'epochs' of pipeline 'body' can't be 'many'"):
        spec_of(body, "many", Options())
    with pytest.raises(UsageError, match="needs a value for 'epochs', 'options'"):
        spec_of(body)
    with pytest.raises(UsageError, match="no argument 'epoch'. Did you mean 'epochs'"):
        spec_of(body, epoch=3)


def test_a_rich_value_for_an_annotation_that_cannot_be_read_is_refused() -> None:
    """The worker couldn't make the value again from JSON."""

    class Hidden(BaseModel):
        depth: int = 1

    @step
    def take(options: Hidden) -> int:
        return options.depth

    with pytest.raises(
        UsageError, match="annotation of argument 'options' of 'take', `Hidden`, can't be read"
    ):
        spec_of(pipeline(lambda: take(Hidden())))


def test_dataclass_and_path_parameters_are_frozen() -> None:
    """A parameter is shown as plain JSON and passed with its exact types."""

    @step
    def take(place: Place) -> int:
        return 1

    @pipeline
    def body() -> None:
        take(Place(Path("a/b")))

    passed = value_of(spec_of(body).step("take").inputs["place"])
    assert passed.value == {"path": "a/b"}
    assert passed.exact is not None
    assert decode_argument(passed.exact) == Place(Path("a/b"))


def test_values_that_json_cannot_hold_are_refused() -> None:
    """A live object as an argument is an error that says how to store it."""

    @step
    def take(thing: Any) -> None:
        pass

    @pipeline
    def body() -> None:
        take(object())

    with pytest.raises(UsageError, match="save_artifact"):
        spec_of(body)


def test_secrets_are_refused_as_parameters() -> None:
    """A secret would be kept with the run for all to read."""

    @step
    def take(key: SecretStr) -> None:
        pass

    @pipeline
    def body() -> None:
        take(SecretStr("hunter2"))

    with pytest.raises(UsageError, match="holds a secret") as caught:
        spec_of(body)
    assert "hunter2" not in str(caught.value)


def test_configuration_overrides_code() -> None:
    """The configuration goes before code: parameters, options of all steps, options of one step."""

    @pipeline(enable_cache=True, tags=["code"])
    def body(count: int = 1) -> None:
        numbers.with_options(retry=5)(count)
        double.with_options(parameters={"value": 1})()

    configuration = {
        "parameters": {"count": 9},
        "enable_cache": False,
        "tags": ["yaml"],
        "retry": 1,
        "resources": {"cpus": 2},
        "run_name": "mine-{id}",
        "model": {"name": "m"},
        "environment": {"A": "1"},
        "steps": {
            "double": {
                "parameters": {"value": 8},
                "enable_cache": True,
                "resources": {"gpus": 1},
                "timeout": 3,
            }
        },
    }
    spec = spec_of(body, configuration=configuration)
    assert spec.parameters == {"count": 9}
    assert spec.tags == ["code", "yaml"]
    assert spec.run_name == "mine-{id}"
    assert spec.model is not None and spec.model.name == "m"
    assert spec.environment == {"A": "1"}
    first, second = spec.steps
    assert (first.enable_cache, second.enable_cache) == (False, True)
    assert (first.retry.max_retries, second.retry.max_retries) == (5, 1)
    assert first.resources == Resources(cpus=2) and second.resources == Resources(gpus=1)
    assert second.timeout == 3
    assert second.inputs["value"] == ValueInput(value=8)


def test_a_value_in_code_and_another_in_the_configuration_are_a_conflict() -> None:
    """Neither the call nor the file silently wins; the error names both values and both places."""

    @pipeline
    def body(count: int = 1) -> None:
        double(count)

    with pytest.raises(UsageError, match=r"'count' of pipeline 'body' has two values.*passes 2.*sets 9"):
        spec_of(body, 2, configuration={"parameters": {"count": 9}})
    with pytest.raises(UsageError, match=r"'value' of step 'double' has two values"):
        spec_of(body, configuration={"steps": {"double": {"parameters": {"value": 8}}}})
    assert spec_of(body, 9, configuration={"parameters": {"count": 9}}).parameters == {"count": 9}


def test_configuration_of_unknown_things_names_the_nearest() -> None:
    """Unknown steps and parameters in the configuration are refused."""

    @pipeline
    def body(count: int = 1) -> None:
        double(count)

    with pytest.raises(NotFoundError, match="Did you mean 'double'"):
        spec_of(body, configuration={"steps": {"doubel": {}}})
    with pytest.raises(NotFoundError, match="Did you mean 'count'"):
        spec_of(body, configuration={"parameters": {"cuont": 1}})
    with pytest.raises(NotFoundError, match="parameter 'valeu' of step 'double'"):
        spec_of(body, configuration={"steps": {"double": {"parameters": {"valeu": 1}}}})


def test_configuration_cannot_replace_a_steps_output() -> None:
    """A step's input that is another step's output stays that."""

    @pipeline
    def body() -> None:
        double(double(1))

    with pytest.raises(UsageError, match="another step's output"):
        spec_of(body, configuration={"steps": {"double_2": {"parameters": {"value": 1}}}})


def test_options_in_code_reach_the_spec() -> None:
    """Options of `@step` and `with_options` stand in the spec; the original step keeps its own."""

    def report(error: BaseException) -> None:
        pass

    @step(name="named", retry=RetryPolicy(max_retries=2, delay=1), timeout=5, environment={"A": "b"})
    def plain(value: int) -> int:
        return value

    other = plain.with_options(retry=0, on_failure=report, image="python:3.11", resources={"gpus": 0.5})

    @pipeline(image="base", on_failure=report)
    def body() -> None:
        plain(1)
        other(2)

    spec = spec_of(body)
    first, second = spec.steps
    assert (first.key, second.key, first.timeout, first.environment) == ("named", "named_2", 5, {"A": "b"})
    assert first.retry.max_retries == 2 and second.retry.max_retries == 0
    assert second.image is not None and second.image.base_image == "python:3.11"
    assert second.resources.gpus == 0.5
    assert first.on_failure is not None and first.on_failure == second.on_failure
    assert spec.image is not None and spec.image.base_image == "base"


def test_wrong_options_are_refused() -> None:
    """A wrong option names the step, the option and the nearest right key."""

    @step(resources={"gpu": 1})
    def wrong() -> None:
        pass

    with pytest.raises(UsageError, match="wrong 'resources'.*did you mean 'gpus'"):
        spec_of(pipeline(lambda: wrong()))
    with pytest.raises(UsageError, match="wrong 'timeout'"):
        spec_of(pipeline(lambda: announce.with_options(timeout=-1)()))
    with pytest.raises(UsageError, match="wrong 'retry'"):
        spec_of(pipeline(lambda: announce.with_options(retry=-1)()))


def test_generators_and_async_functions_are_no_steps() -> None:
    """What returns nothing that can be saved is refused where it is decorated."""
    with pytest.raises(UsageError, match="a generator"):

        @step
        def lazily() -> Any:
            yield 1

    with pytest.raises(UsageError, match="an async function"):

        @step
        async def later() -> int:
            return 1


def test_steps_need_named_arguments() -> None:
    """`*args`, `**kwargs` and positional-only arguments are refused."""

    @step
    def many(*values: int) -> int:
        return sum(values)

    with pytest.raises(UsageError, match=re.escape("takes '*values'")):
        spec_of(pipeline(lambda: many(1)))


def test_a_pipeline_without_steps_is_refused() -> None:
    """A body that calls no step is an error."""
    with pytest.raises(UsageError, match="has no steps"):
        spec_of(pipeline(lambda: None))


def test_a_pipeline_returns_outputs_alone() -> None:
    """A pipeline's body returns outputs of steps; plain values are refused."""

    @pipeline
    def good() -> dict[str, Any]:
        return {"a": numbers(), "b": [double(1)]}

    assert spec_of(good).outputs == [("numbers", "numbers"), ("double", "output")]

    @pipeline
    def bad() -> int:
        announce()
        return 3

    with pytest.raises(UsageError, match="returns a value of type int"):
        spec_of(bad)


def test_outputs_that_gather_must_be_single_outputs() -> None:
    """A list that mixes outputs with plain values, and a dict that holds one, are refused."""
    with pytest.raises(UsageError, match="a plain value"):
        spec_of(pipeline(lambda: add([double(1), 2])))
    with pytest.raises(UsageError, match="a dict that holds"):
        spec_of(pipeline(lambda: add({"a": double(1)})))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="annotated as nothing"):
        spec_of(pipeline(lambda: add(announce())))  # type: ignore[arg-type, func-returns-value]


def test_output_of_another_trace_is_refused() -> None:
    """A placeholder that comes from another pipeline is refused."""
    kept: list[Any] = []

    @pipeline
    def first() -> None:
        kept.append(double(1))

    spec_of(first)
    with pytest.raises(UsageError, match="another pipeline"):
        spec_of(pipeline(lambda: (double(2), add(kept[0]))))  # its key stands in this pipeline too
    with pytest.raises(UsageError, match="another pipeline"):
        spec_of(pipeline(lambda: (double(2), announce.after(kept[0])())))


def test_two_outputs_of_one_name_are_refused() -> None:
    """Outputs of one step need different names."""

    @step
    def twice() -> tuple[Annotated[int, "a"], Annotated[int, "a"]]:
        return 1, 2

    with pytest.raises(UsageError, match="two outputs named 'a'"):
        spec_of(pipeline(lambda: twice()))


def test_a_return_annotation_that_cannot_be_read_is_refused() -> None:
    """A return annotation that exists for the type checker alone says nothing about outputs."""

    @step
    def unknown() -> Missing:  # type: ignore[name-defined]  # noqa: F821
        return 1

    with pytest.raises(UsageError, match="can't be read.*Missing"):
        spec_of(pipeline(lambda: unknown()))


MISUSES = {
    "bool": bool,
    "iterate": list,
    "len": len,
    "index": lambda x: x[0],
    "attribute": lambda x: x.shape,
    "call": lambda x: x(),
    "add": lambda x: x + 1,
    "radd": lambda x: 1 + x,
    "compare": lambda x: x == 1,
    "order": lambda x: x < 1,
    "negate": lambda x: -x,
    "float": float,
    "contains": lambda x: 1 in x,
    "format": lambda x: f"{x}",
    "percent": lambda x: "score is %s" % x,  # noqa: UP031
    "percent repr": lambda x: "score is %r" % x,  # noqa: UP031
    "str": str,
    "repr": repr,
    "join": lambda x: ", ".join(map(str, [x, x])),
    "list as text": lambda x: f"{[x]}",
    "dict as text": lambda x: str({"a": x}),
    "key": lambda x: {x: 1},
    "set": lambda x: {x},
    "path": Path,
    "array": lambda x: __import__("numpy").asarray(x),
    "divmod": lambda x: divmod(x, 2),
    "complex": complex,
    "bytes": bytes,
    "reversed": reversed,
    "with": lambda x: x.__enter__(),
    "set item": lambda x: x.__setitem__(0, 1),
    "unpack": lambda x: (lambda a, b: None)(*x),
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_using_an_output_as_a_value_explains_itself(misuse: Any) -> None:
    """A placeholder that is used as a value raises an error that says what to write instead."""
    with pytest.raises(UsageError, match="pipeline's body.*runs before any step") as caught:
        spec_of(pipeline(lambda: misuse(numbers())))
    assert caught.value.hint


def test_iterating_points_at_map() -> None:
    """The error of a loop over an output names `.map`."""
    with pytest.raises(UsageError, match=r"\.map\(output\)"):
        spec_of(pipeline(lambda: [double(x) for x in numbers()]))


def test_placeholders_can_be_printed_hashed_and_probed() -> None:
    """What debuggers and containers do with objects doesn't raise where no pipeline's body runs."""
    artifact = StepArtifact("a", "output", int, False)
    assert "step 'a'" in repr(artifact)
    assert {artifact: 1}[artifact] == 1
    assert not hasattr(artifact, "shape")


def test_materializers_reach_outputs_by_name() -> None:
    """`output_materializers` takes a class for all outputs or one by output name."""

    class Mine:
        pass

    both = split.with_options(output_materializers=Mine)
    one = split.with_options(output_materializers={"low": Mine})
    chosen = [o.materializer is not None for o in spec_of(pipeline(lambda: both([1]))).steps[0].outputs]
    assert chosen == [True, True]
    chosen = [o.materializer is not None for o in spec_of(pipeline(lambda: one([1]))).steps[0].outputs]
    assert chosen == [True, False]
    with pytest.raises(NotFoundError, match="output 'lwo' of step 'split'"):
        spec_of(pipeline(lambda: split.with_options(output_materializers={"lwo": Mine})([1])))


def test_pipeline_context_is_there_in_the_body_alone() -> None:
    """`get_pipeline_context` tells the body what runs it."""
    from rayform import get_pipeline_context

    seen = []

    @pipeline(tags=["t"])
    def body() -> None:
        seen.append(get_pipeline_context())
        announce()

    spec_of(body)
    assert (seen[0].name, seen[0].enable_cache, seen[0].tags) == ("body", True, ("t",))
    with pytest.raises(UsageError, match="outside of a pipeline's body"):
        get_pipeline_context()


def test_a_step_is_named_and_documented_like_its_function() -> None:
    """Tools that look at functions see the function's own facts."""
    assert isinstance(double, Step)
    assert (double.__name__, double.__module__) == ("double", __name__)
    assert "double" in repr(double)


class Sketch:
    """A type that no materializer takes."""


def test_a_type_without_a_materializer_is_refused_before_anything_runs() -> None:
    """The error names step, output and type, and shows the lines that would fix it."""

    @step
    def draw() -> Annotated[Sketch, "sketch"]:
        return Sketch()

    with pytest.raises(UsageError, match=r"Output 'sketch' of step 'draw' has type .*Sketch") as caught:
        spec_of(pipeline(lambda: draw()))
    assert "class SketchMaterializer(Materializer)" in str(caught.value)


def test_wrong_tags_names_and_types_are_refused() -> None:
    """A text for tags, a name with a slash, an unknown artifact type and a wrong environment are refused."""
    with pytest.raises(UsageError, match=r"Give a list: tags=\['raw'\]"):
        ArtifactConfig(tags="raw")
    with pytest.raises(UsageError, match=r"Give a list: tags=\['raw'\]"):
        spec_of(pipeline(tags="raw")(lambda: announce()))
    with pytest.raises(UsageError, match="has the name 'a/b'"):
        spec_of(pipeline(lambda: announce.with_options(name="a/b")()))
    with pytest.raises(UsageError, match="has the name 'a:b'"):
        spec_of(pipeline(name="a:b")(lambda: announce()))
    with pytest.raises(UsageError, match="wrong 'environment'"):
        spec_of(pipeline(environment={"A": 1})(lambda: announce()))  # type: ignore[dict-item]

    @step
    def typed() -> Annotated[int, ArtifactConfig(artifact_type="modle")]:
        return 1

    with pytest.raises(NotFoundError, match="Did you mean 'model'"):
        spec_of(pipeline(lambda: typed()))


def test_optional_text_on_the_command_line_stays_text() -> None:
    """`-p name=2026` is a number for an `int` and text for a `str | None`."""
    from rayform.cli.run import parsed_parameters

    @pipeline
    def body(count: int, label: str | None, title: str, sizes: list[int]) -> None:
        announce()

    texts = ("count=3", "label=2026", "title=0x10", "sizes=[1, 2]")
    assert parsed_parameters(texts, body) == {
        "count": 3,
        "label": "2026",
        "title": "0x10",
        "sizes": [1, 2],
    }


def test_numbers_that_json_cannot_hold_arrive_or_are_refused() -> None:
    """NaN and infinities travel everywhere, and users see them as text."""

    @step
    def take(close: dict[str, float], single: float) -> None: ...

    @step
    def take_any(loose: dict[str, Any]) -> None: ...

    @pipeline
    def good() -> None:
        take({"a": float("nan"), "b": float("-inf")}, float("inf"))

    spec = spec_of(good)
    close, single = (value_of(spec.steps[0].inputs[name]) for name in ("close", "single"))
    assert close.value == {"a": "nan", "b": "-inf"}
    assert single.value == "inf"
    assert decode_argument(single.exact or "") == float("inf")

    @pipeline
    def loose() -> None:
        take_any({"a": [float("nan")]})

    passed = value_of(spec_of(loose).steps[0].inputs["loose"])
    assert repr(decode_argument(passed.exact or "")) == "{'a': [nan]}"


@pytest.mark.parametrize(
    "environment", [{"A": "x\0y"}, {"A\0": "x"}, {"A=B": "x"}, {"": "x"}, {"A": "\ud800"}]
)
def test_variables_that_no_system_takes_are_refused(environment: dict[str, str]) -> None:
    """A NUL, an empty name or one with `=` is an error before anything runs, in code and in configuration."""

    @step
    def one() -> int:
        return 1

    @pipeline
    def plain() -> None:
        one()

    @pipeline
    def bad_step() -> None:
        one.with_options(environment=environment)()

    with pytest.raises(UsageError, match="environment"):
        spec_of(bad_step)
    with pytest.raises(UsageError, match="environment"):
        spec_of(plain, configuration=PipelineConfiguration(environment=environment))


def test_errors_name_what_was_looked_for_before_where() -> None:
    """An unknown parameter or earlier step is named first, then its place and what to do."""

    @step
    def one(x: int = 1) -> int:
        return x

    @pipeline
    def ring() -> None:
        one.with_options(id="a", after="b")()
        one.with_options(id="b", after="a")()

    with pytest.raises(NotFoundError, match="no earlier step 'b'.*'a' can only start after"):
        spec_of(ring)

    with pytest.raises(NotFoundError, match="There is no parameter 'z' of step 'one'"):
        spec_of(lambda: one(), configuration={"steps": {"one": {"parameters": {"z": 1}}}})


def test_an_output_without_annotation_can_be_mapped_over() -> None:
    """Only an annotation that names no list refuses a map; without one the run decides."""

    @step
    def anything():  # type: ignore[no-untyped-def]
        return [1, 2]

    @step
    def plain() -> int:
        return 1

    spec = spec_of(lambda: double.map(anything()))
    assert isinstance(spec.steps[1].inputs["value"], MapInput)
    with pytest.raises(UsageError, match="annotated as int"):
        spec_of(lambda: double.map(plain()))
