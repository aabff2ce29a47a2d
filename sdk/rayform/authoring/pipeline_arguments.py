"""The arguments of a pipeline's call, and what its body returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from rayform.authoring.inputs import stored_version_id
from rayform.authoring.options.overrides import Overrides
from rayform.authoring.parameters import is_simple, validated
from rayform.authoring.parameters import passed as passed_value
from rayform.authoring.placeholders import StepArtifact
from rayform.authoring.run_inputs import ExternalArtifact
from rayform.authoring.signatures import Argument, arguments_of, bind, missing
from rayform_core.errors import NotFoundError, UsageError
from rayform_core.secret_rules import masked

if TYPE_CHECKING:
    from rayform.authoring.pipelines import Pipeline

__all__ = [
    "PipelineArguments",
    "is_stored",
    "pipeline_arguments",
    "refuse_conflict",
    "refuse_missing",
    "returned_outputs",
]


class PipelineArguments(NamedTuple):
    """The arguments of one call: `values` go to the body, and the catalog has what is `shown`.

    The body's own defaults are among both; `defaulted` has their names.
    """

    values: dict[str, object]
    shown: dict[str, object]
    defaulted: frozenset[str] = frozenset()


def pipeline_arguments(
    pipeline: Pipeline[..., object],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    configuration: Overrides,
) -> PipelineArguments:
    """Return the checked arguments of a pipeline's call.

    Args:
        pipeline: the pipeline.
        args, kwargs: the call's arguments.
        configuration: what overrides them.

    Raises:
        UsageError: an argument is missing, or doesn't fit.
        NotFoundError: the configuration names a parameter that doesn't exist.
    """
    what = f"Pipeline '{pipeline.name}'"
    arguments = arguments_of(pipeline.entrypoint, kind="Pipeline")
    given = bind(what, arguments, args, kwargs)
    passed = {**pipeline.options.get("parameters", {}), **given}
    for name, value in configuration.parameters.items():
        if name not in arguments:
            raise NotFoundError("parameter", name, known=arguments, within=f"of pipeline '{pipeline.name}'")
        if name in given and configuration.yields_to(name):
            refuse_conflict(
                f"Parameter '{name}' of pipeline '{pipeline.name}'", given[name], value, configuration.place
            )
        passed[name] = value
    refuse_missing(what, arguments, passed)
    values: dict[str, object] = {}  # what the body gets
    parameters: dict[str, object] = {}  # what the catalog shows
    for name, argument in arguments.items():
        if name not in passed:
            values[name] = argument.default
            try:
                parameters[name] = masked(name, _shown_parameter(argument.default, name))
            except UsageError:
                parameters[name] = masked(name, repr(argument.default))  # only the body uses it
            continue
        values[name] = value = passed[name]
        named = f"Parameter '{name}' of pipeline '{pipeline.name}'"
        if not is_stored(value):
            is_text = name in configuration.parameters
            values[name] = validated(value, argument.annotation, what=named, is_text=is_text)
        parameters[name] = masked(name, _shown_parameter(values[name], named))
    return PipelineArguments(values, parameters, frozenset(arguments) - passed.keys())


def refuse_conflict(what: str, given: object, configured: object, place: str | None) -> None:
    """Refuse a value in code that differs from the one in the configuration file.

    Args:
        what: how an error names the argument, such as `"Parameter 'epochs' of pipeline 'digits'"`.
        given: the value in code.
        configured: the value in the file.
        place: the file.

    Raises:
        UsageError: the values differ; names both and both places.
    """
    try:
        differs = bool(given != configured)
    except Exception:  # noqa: BLE001 - a user's type, or an array: it isn't what YAML can hold
        differs = True
    if differs:
        raise UsageError(
            f"{what} has two values.",
            why=f"The call passes {given!r:.100}, and {place or 'the configuration'} sets {configured!r:.100}.",
            hint="Remove one of them. On the command line, `-p name=value` overrides both.",
        )


def refuse_missing(what: str, arguments: Mapping[str, Argument], values: Mapping[str, object]) -> None:
    """Refuse a call that leaves out arguments without defaults.

    Raises:
        UsageError: names them.
    """
    if names := [n for n, a in arguments.items() if a.is_required and n not in values]:
        raise missing(what, names)


def is_stored(value: object) -> bool:
    """Whether a value stands for a stored version, or for a value that is to be stored."""
    return isinstance(value, ExternalArtifact) or stored_version_id(value) is not None


def _shown_parameter(value: object, what: str) -> object:
    """Return what the catalog shows of a pipeline's argument."""
    version_id = value.id if isinstance(value, ExternalArtifact) else stored_version_id(value)
    if version_id is not None:
        return {"artifact_version_id": str(version_id)}
    if isinstance(value, ExternalArtifact):
        value = value.value
    if is_simple(value):
        return value
    parts = passed_value(value, what=what, is_for_users=True)
    if parts is not None:
        return parts.shown
    from rayform_runtime.artifacts.materializers.registry import find

    materializer = find(type(value))  # the steps that get the value show its version
    return materializer().summary(value) if materializer else type(value).__name__


def returned_outputs(what: str, result: object) -> list[tuple[str, str]]:
    """Return step key and output name of each output in the result of a pipeline's body.

    Raises:
        UsageError: the result holds something else.
    """
    outputs = []

    def collect(value: object) -> None:
        if isinstance(value, StepArtifact):
            if value.output_name is not None:
                outputs.append((value.step_key, value.output_name))
        elif isinstance(value, Mapping):
            for item in value.values():
                collect(item)
        elif isinstance(value, list | tuple):
            for item in value:
                collect(item)
        elif value is not None and stored_version_id(value) is None:
            raise UsageError(
                f"{what} returns a value of type {type(value).__name__}.",
                why="A pipeline returns outputs of its steps, or nothing.",
                hint="Make the value in a step and return that step's output.",
            )

    collect(result)
    return outputs
