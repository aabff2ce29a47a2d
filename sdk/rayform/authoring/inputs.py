"""How a step's arguments become its inputs: values, other steps' outputs, stored artifact versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import GenericAlias
from typing import Annotated, Any, get_args, get_origin
from uuid import UUID

from rayform.authoring.parameters import is_simple, passed, refuse_secret, validated
from rayform.authoring.placeholders import StepArtifact
from rayform.authoring.run_inputs import ExternalArtifact, RunInputs
from rayform.authoring.signatures import Argument, concrete_type
from rayform.authoring.steps import Unmapped
from rayform_core.errors import UsageError
from rayform_runtime.spec import (
    ArtifactInput,
    ElementInput,
    Input,
    ListInput,
    MapInput,
    StepInput,
    ValueInput,
)

__all__ = [
    "Call",
    "default_input",
    "element_annotation",
    "from_step",
    "holds_placeholder",
    "input_of",
    "refuse_unmappable",
    "stored_version_id",
    "stored_version_ids",
]

_PLAIN = frozenset((str, int, float, bool, type(None)))


@dataclass(frozen=True, slots=True)
class Call:
    """A step's call, whose arguments become inputs.

    Args:
        step: the step's key.
        owner: the steps of this pipeline; only their placeholders can be used here.
        run_inputs: takes the values that materializers store.
        local: types that only the step's own pickle brings along, by import path.
    """

    step: str
    owner: object
    run_inputs: RunInputs
    local: Mapping[str, type]


def input_of(
    call: Call, argument: Argument, value: object, *, mapped: bool = False, is_text: bool = False
) -> Input:
    """Return the input that a call's argument means.

    Args:
        call: the step's call.
        argument: which of its arguments.
        value: the value that the call passes.
        mapped: whether the step gets one element of the value at a time.
        is_text: whether the value was written in YAML.

    Raises:
        UsageError: the value can't be stored, or it is an output that can't be used here.
    """
    what = f"Argument '{argument.name}' of step '{call.step}'"
    if isinstance(value, StepArtifact):
        source = from_step(what, value, call.owner)
        if value.index is not None:
            _refuse_mismatch(what, value, value.annotation, argument.annotation)
            return ElementInput(step=source.step, output=source.output, index=value.index)
        _refuse_mismatch(what, value, _annotation_of(value, mapped=mapped), argument.annotation)
        return MapInput(step=source.step, output=source.output) if mapped else source
    if version_ids := stored_version_ids(value):
        stored = [ArtifactInput(artifact_version_id=id_) for id_ in version_ids]
        return stored[0] if len(stored) == 1 else ListInput(items=[*stored])
    if isinstance(value, Unmapped):
        raise UsageError(
            f"{what} is `unmapped(...)`, and this call isn't `.map(...)`.", hint="Give the value itself."
        )
    if holds_placeholder(value):
        return _gathered(call, what, argument, value)
    if isinstance(value, ExternalArtifact):
        return _external(call, what, value)
    fitting = validated(value, argument.annotation, what=what, is_text=is_text)
    try:
        return _value_input(call, fitting, argument.name, what)
    except UsageError as error:
        if argument.unreadable is not None and not isinstance(value, str | int | float | list | dict | None):
            raise argument.unreadable from error  # most likely the reason
        raise


def _external(call: Call, what: str, artifact: ExternalArtifact) -> ArtifactInput:
    version_id = artifact.id or call.run_inputs.add(
        artifact.value, what=what, materializer=artifact.materializer
    )
    return ArtifactInput(artifact_version_id=str(version_id))


def _value_input(call: Call, value: object, name: str, what: str) -> ValueInput | ArtifactInput:
    """Return the input for a value: written into the pipeline, or stored by its materializer.

    Raises:
        UsageError: nothing can store it, or it holds a secret.
    """
    if is_simple(value):
        if type(value) is str:
            refuse_secret(name, value, what=what)
        return ValueInput(value=value)
    parts = passed(value, what=what, local=call.local)
    if parts is None:
        return ArtifactInput(artifact_version_id=str(call.run_inputs.add(value, what=what)))
    refuse_secret(name, parts.shown, what=what)
    return ValueInput(value=parts.shown, exact=parts.exact)


def from_step(what: str, value: StepArtifact, owner: object) -> StepInput:
    """Return the input that is a step's output.

    Args:
        what: how an error names the argument.
        value: the output.
        owner: the steps of the pipeline that is traced.

    Raises:
        UsageError: it is an output of another pipeline, or the end of a step that returns nothing.
    """
    if value.owner is not owner:
        raise UsageError(
            f"{what} is an output of step '{value.step_key}' of another pipeline.",
            hint="Call that pipeline in this one, or use the stored version: "
            "`Client().get_artifact_version(name)`.",
        )
    if value.output_name is None:
        raise UsageError(
            f"{what} is the result of step '{value.step_key}', which is annotated as nothing (`-> None`).",
            hint="Return a value and annotate it. To only set the order, write `.after(...)`.",
        )
    return StepInput(step=value.step_key, output=value.output_name)


def _gathered(call: Call, what: str, argument: Argument, value: object) -> ListInput:
    """Return the input of a list that holds outputs of steps or stored versions."""
    if not isinstance(value, list | tuple):
        raise UsageError(
            f"{what} is a {type(value).__name__} that holds a step's output.",
            hint="Give each output as its own argument, or several as a list.",
        )
    is_tuple = isinstance(value, tuple)
    checked: object = None
    items: list[StepInput | ArtifactInput] = []
    for element in value:
        version_id = stored_version_id(element)
        if version_id is not None:
            items.append(ArtifactInput(artifact_version_id=version_id))
        elif isinstance(element, ExternalArtifact):
            items.append(_external(call, what, element))
        elif isinstance(element, StepArtifact) and not element.is_mapped and element.index is None:
            items.append(from_step(what, element, call.owner))
            annotation = _annotation_of(element, mapped=False)
            if annotation is not checked:  # most lists hold outputs of one step
                whole = GenericAlias(*((tuple, (annotation, ...)) if is_tuple else (list, annotation)))
                _refuse_mismatch(what, element, whole, argument.annotation)
                checked = annotation
        else:
            other = "a plain value"
            if isinstance(element, StepArtifact):
                other = "elements of an output" if element.index is not None else "the list of a mapped step"
            raise UsageError(
                f"{what} is a list that mixes single outputs of steps with {other}.",
                hint="Put only single outputs in the list, and give the rest as another argument.",
            )
    return ListInput(items=items, is_tuple=is_tuple)


def _annotation_of(value: StepArtifact, *, mapped: bool) -> Any:
    """Return the annotation of what a step gets from an output: a list, an element of one, or the output."""
    if value.is_mapped:
        return value.annotation if mapped else GenericAlias(list, value.annotation)
    if not mapped:
        return value.annotation
    annotation = value.annotation
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    members = get_args(annotation)
    is_list = get_origin(annotation) in (list, Sequence) and len(members) == 1
    return members[0] if is_list else Any


def element_annotation(value: StepArtifact) -> object:
    """Return the annotation of one element of an output that is a list."""
    return _annotation_of(value, mapped=True)


def _refuse_mismatch(what: str, value: StepArtifact, annotation: object, expected: object) -> None:
    """Refuse an output that no value of its annotated type could fit the argument.

    Raises:
        UsageError: names step, output and both types.
    """
    if (
        annotation is expected
        or Any in (annotation, expected)
        or getattr(expected, "is_unloaded_input", False)
    ):
        return
    from rayform_runtime.artifacts.annotations import may_overlap, shown_type

    if may_overlap(annotation, expected):
        return
    raise UsageError(
        f"{what} can't be output '{value.output_name}' of step '{value.step_key}'.",
        why=f"It would get a value of type `{shown_type(annotation)}`, and it is annotated as "
        f"`{shown_type(expected)}`.",
        hint="Convert the value in a step, or correct one of the annotations.",
    )


def refuse_unmappable(step: str, name: str, value: StepArtifact) -> None:
    """Refuse a map over an output whose annotation is not a list.

    Raises:
        UsageError: names step, output and annotated type.
    """
    type_ = concrete_type(value.annotation)
    if value.is_mapped or type_ is None or type_ is Any or value.output_name is None:
        return
    if issubclass(type_, Sequence) and not issubclass(type_, str | bytes | bytearray):
        return
    raise UsageError(
        f"Step '{step}' can't be mapped over output '{value.output_name}' of step '{value.step_key}'.",
        why=f"That output is annotated as {type_.__name__}, which isn't a list.",
        hint=f"Return a list there, or give '{name}' as `unmapped(...)`.",
    )


def default_input(call: Call, argument: Argument) -> ValueInput | ArtifactInput | None:
    """Return an argument's default as an input; `None` if nothing can store it.

    The function then uses its default by itself, and the step's code digest covers it.
    """
    what = f"Argument '{argument.name}' of step '{call.step}'"
    try:
        return _value_input(call, argument.default, argument.name, what)
    except UsageError:
        return None


def holds_placeholder(value: object) -> bool:
    """Whether a value is an output of a step, or holds one, or is a list that holds a stored version."""
    try:
        return _holds(value)
    except RecursionError:
        return False  # it contains itself; encoding it says so


def _holds(value: object) -> bool:
    if isinstance(value, StepArtifact):
        return True
    if isinstance(value, list | tuple):
        # Long lists mostly hold numbers and text.
        rich = [each for each in value if type(each) not in _PLAIN]
        return any(
            _holds(each) or isinstance(each, ExternalArtifact) or stored_version_id(each) is not None
            for each in rich
        )
    if isinstance(value, dict):
        return any(_holds(each) for each in value.values() if type(each) not in _PLAIN)
    return False


def stored_version_ids(value: object) -> list[str]:
    """Return the IDs of all stored versions that `value` stands for: several for the output of a mapped step."""
    version_id = stored_version_id(value)
    if version_id is None:
        return []
    versions = getattr(value, "versions", None)
    return [str(v.id) for v in versions] if isinstance(versions, tuple) else [version_id]


def stored_version_id(value: object) -> str | None:
    """Return the ID of the artifact version that `value` stands for; `None` if it is something else.

    Both the catalog's record and what `Client().get_artifact_version(...)` returns count. This looks at their
    attributes rather than their class, so that tracing needs no import of the client.
    """
    if not type(value).__module__.startswith(("rayform.", "rayform_runtime.catalog.")):
        return None
    identifier = getattr(value, "id", None)
    if isinstance(identifier, UUID) and hasattr(value, "uri") and hasattr(value, "materializer"):
        return str(identifier)
    return None
