"""`when`: a step, or a pipeline, that runs only if an output has a certain value.

Users import it with their steps, so it imports nothing heavy; conditions are checked when a pipeline is traced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeVar, cast, overload

from rayform.authoring.steps import Step
from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rayform.authoring.options.written import PipelineOptions, WrittenStepOptions
    from rayform.authoring.pipelines import Pipeline
    from rayform_runtime.spec import Condition

__all__ = ["When", "WrittenCondition", "checked_conditions", "refuse_condition", "when"]

P = ParamSpec("P")
R = TypeVar("R")
Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
Plain = str | int | float | bool | None

_OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "in", "not in")
_ORDERS = ("<", "<=", ">", ">=")


class WrittenCondition(NamedTuple):
    """A condition as a user wrote it, unchecked."""

    output: object
    operator: str
    value: object


class When:
    """A condition; calling it with a step or a pipeline returns a copy that runs only if the condition holds."""

    def __init__(self, condition: WrittenCondition) -> None:
        self._condition = condition

    @overload
    def __call__(self, target: Step[P, R]) -> Step[P, R]: ...
    @overload
    def __call__(self, target: Pipeline[P, R]) -> Pipeline[P, R]: ...
    def __call__(self, target: Any) -> Any:
        """Return a copy of a step or pipeline with this condition, in addition to those that it has."""
        from rayform.authoring.pipelines import Pipeline

        if isinstance(target, Step):
            conditions = [*target.options.get("conditions", ()), self._condition]
            options = cast("WrittenStepOptions", {**target.options, "conditions": conditions})
            return type(target)(target.entrypoint, options)
        if isinstance(target, Pipeline):
            conditions = [*target.options.get("conditions", ()), self._condition]
            written = cast("PipelineOptions", {**target.options, "conditions": conditions})
            return type(target)(target.entrypoint, written)
        raise UsageError(
            f"`when(...)` takes a step or a pipeline, and {target!r} is neither.",
            hint='Write `when(output, ">", 0.9)(the_step)(its_arguments)`.',
        )


def when(output: object, operator: Operator, value: Plain | Sequence[Plain]) -> When:
    """Run a step, or an inlined pipeline, only if an output compares in this way; otherwise it is skipped.

    The run's steps show a skipped step with the condition and the value that it had. Steps that need a skipped step are
    skipped too. The run still completes.

    Args:
        output: what an earlier step call returned: a number, a text, a truth value or `None`.
        operator: `"=="`, `"!="`, `"<"`, `"<="`, `">"`, `">="`, `"in"` or `"not in"`.
        value: what the output is compared with; a list for `"in"` and `"not in"`.

    Returns:
        a function that takes the step or pipeline and returns a copy of it with the condition. Several conditions
        must all hold.

    Raises:
        UsageError: when the pipeline is traced: the operator is unknown, or no such output can compare so.

    Example:
        >>> @pipeline  # doctest: +SKIP
        ... def training() -> None:
        ...     model = train()
        ...     when(evaluate(model), ">", 0.9)(promote)(model)
    """
    return When(WrittenCondition(output, operator, value))


def checked_conditions(
    key: str, outer: Sequence[WrittenCondition], options: WrittenStepOptions, owner: object
) -> list[Condition]:
    """Return the conditions of a step as data.

    Args:
        key: the step's key.
        outer: conditions of the pipelines that are being inlined.
        options: the step's options.
        owner: the steps of the pipeline that is traced.

    Raises:
        UsageError: it names no output of this pipeline, its operator is unknown, or its value can't compare.
    """
    return [_checked(f"Step '{key}'", one, owner) for one in (*outer, *options.get("conditions", ()))]


def refuse_condition(what: str, options: PipelineOptions) -> None:
    """Refuse a pipeline that is run by itself and has a condition.

    Raises:
        UsageError: it has one.
    """
    if options.get("conditions"):
        raise UsageError(
            f"{what} has a condition, and it is run by itself.",
            why="A condition is about an output of a step that runs before.",
            hint="Call the pipeline with its condition in another pipeline's body.",
        )


def _checked(what: str, written: WrittenCondition, owner: object) -> Condition:
    from rayform.authoring.inputs import from_step
    from rayform.authoring.placeholders import StepArtifact
    from rayform_runtime.spec import Condition

    named = f"The condition of {what[0].lower()}{what[1:]}"
    output, operator, value = written
    if not isinstance(output, StepArtifact):
        raise UsageError(
            f"{named} is about {output!r}, which isn't a step's output.",
            hint="Its value is known here, so write a plain `if`.",
        )
    if operator not in _OPERATORS:
        raise UsageError(
            f"{named} has the operator {operator!r}.", hint=f"Use one of {', '.join(_OPERATORS)}."
        )
    if output.index is not None:
        raise UsageError(f"{named} is about an element of an output.", hint="Write `if element.load() ...:`.")
    if output.is_mapped:
        raise UsageError(
            f"{named} is about step '{output.step_key}', which is mapped, so its output is a list.",
            hint="Write a step that takes the list and returns one value.",
        )
    values = value if isinstance(value, list | tuple | set | frozenset) else None
    if (operator in ("in", "not in")) != (values is not None):
        raise UsageError(
            f"{named} compares by `{operator}` with {value!r}.",
            hint='`in` and `not in` take a list, such as `when(output, "in", ["a", "b"])`; the others one value.',
        )
    members = list(values) if values is not None else [value]
    for member in members:
        _refuse_unfit(named, output.annotation, operator, member)
    source = from_step(named, output, owner)
    return Condition(
        step=source.step,
        output=source.output,
        operator=operator,
        value=members if values is not None else value,
    )


def _refuse_unfit(named: str, annotation: object, operator: str, value: object) -> None:
    """Refuse a value that no output of the annotated type compares with.

    Raises:
        UsageError: names both types.
    """
    from rayform.authoring.signatures import concrete_type

    if value is not None and type(value) not in (str, int, float, bool):
        raise UsageError(
            f"{named} compares with {value!r}, a {type(value).__name__}.",
            why="A condition compares numbers, text, truth values and `None`.",
            hint="Write a step that returns a truth value, and compare that with `True`.",
        )
    if value is None and operator in _ORDERS:
        raise UsageError(f"{named} compares by `{operator}` with `None`.", hint="Use `==` or `!=`.")
    type_ = concrete_type(annotation)
    if type_ is None or type_ is Any or value is None:
        return
    if type_.__module__ == "builtins" and not issubclass(type_, int | float | str | type(None)):
        raise UsageError(
            f"{named} is about an output of type `{type_.__name__}`.",
            why="A condition compares numbers, text, truth values and `None`.",
            hint="Write a step that takes this output and returns the value to compare.",
        )
    if type_.__module__ == "builtins" and issubclass(type_, str) != isinstance(value, str):
        raise UsageError(
            f"{named} compares an output of type `{type_.__name__}` with {value!r}.",
            why="A text and a number are never equal, and have no order.",
            hint="Correct the value, or the annotation of the step.",
        )
