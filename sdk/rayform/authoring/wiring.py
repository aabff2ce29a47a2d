"""How a step's arguments become its inputs: values, other steps' outputs, stored versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rayform.authoring.annotations import Argument, concrete_type
from rayform.authoring.parameters import frozen, validated
from rayform.authoring.placeholders import StepArtifact
from rayform.authoring.steps import Unmapped
from rayform.authoring.stored_inputs import stored_version_id, stored_version_ids
from rayform_core.errors import UsageError
from rayform_runtime.spec import ArtifactInput, Input, ListInput, MapInput, StepInput, ValueInput

__all__ = ["default_input", "holds_placeholder", "input_of", "refuse_unmappable"]


def input_of(step: str, argument: Argument, value: Any, *, known: object, mapped: bool = False) -> Input:
    """Return the input that a call's argument means.

    Args:
        step: the key of the step that is called.
        argument: which of its arguments.
        value: what the call gives.
        known: the steps of this pipeline, which its placeholders belong to.
        mapped: whether the step gets one element of it at a time.

    Raises:
        UsageError: it is a value that can't be kept, or an output that can't be used here.
    """
    what = f"Argument '{argument.name}' of step '{step}'"
    if isinstance(value, StepArtifact):
        return _from_step(what, value, known, mapped=mapped)
    if version_ids := stored_version_ids(value):
        stored = [ArtifactInput(artifact_version_id=one) for one in version_ids]
        return stored[0] if len(stored) == 1 else ListInput(items=[*stored])
    if isinstance(value, Unmapped):
        raise UsageError(f"{what} is `unmapped(...)`, which only has a meaning in `.map(...)`.")
    if holds_placeholder(value):
        return _gathered(what, value, known)
    if argument.unreadable is not None and not isinstance(value, str | int | float | list | dict | None):
        raise argument.unreadable  # the worker couldn't make the value from JSON again either
    fitting = validated(value, argument.annotation, what=what)
    return ValueInput(value=frozen(fitting, argument.annotation, what=what))


def _from_step(what: str, value: StepArtifact, known: object, *, mapped: bool) -> StepInput | MapInput:
    if value.owner is not known:
        raise UsageError(
            f"{what} is an output of step '{value.step_key}' of another pipeline.",
            hint="Call that pipeline in this one, or take its stored version: "
            "`Client().get_artifact_version(name)`.",
        )
    if value.output_name is None:
        raise UsageError(
            f"{what} is what step '{value.step_key}' returns, and that is annotated as nothing (`-> None`).",
            hint="Return a value and annotate it; for order alone, write `.after(...)`.",
        )
    kind = MapInput if mapped else StepInput
    return kind(step=value.step_key, output=value.output_name)


def _gathered(what: str, value: Any, known: object) -> ListInput:
    if not isinstance(value, list | tuple):
        raise UsageError(
            f"{what} is a {type(value).__name__} that holds a step's output.",
            hint="Give each output as an argument of its own, or several as a list.",
        )
    items: list[StepInput | ArtifactInput] = []
    for element in value:
        version_id = stored_version_id(element)
        if version_id is not None:
            items.append(ArtifactInput(artifact_version_id=version_id))
        elif isinstance(element, StepArtifact) and not element.is_mapped:
            found = _from_step(what, element, known, mapped=False)
            assert isinstance(found, StepInput)
            items.append(found)
        else:
            mixed = "the list of a mapped step" if isinstance(element, StepArtifact) else "a plain value"
            raise UsageError(
                f"{what} is a list that holds single outputs of steps and {mixed}.",
                hint="Gather single outputs alone, and give the rest as an argument of its own.",
            )
    return ListInput(items=items)


def refuse_unmappable(step: str, name: str, value: StepArtifact) -> None:
    """Refuse a map over an output that is annotated as no list.

    Raises:
        UsageError: names step, output and annotated type.
    """
    type_ = concrete_type(value.annotation)
    if value.is_mapped or type_ in (None, Any, object) or value.output_name is None:
        return
    if issubclass(type_, Sequence) and not issubclass(type_, str | bytes | bytearray):
        return
    raise UsageError(
        f"Step '{step}' can't be mapped over output '{value.output_name}' of step '{value.step_key}'.",
        why=f"That is annotated as {type_.__name__}, which isn't a list.",
        hint=f"Return a list there, or give '{name}' as `unmapped(...)`.",
    )


def default_input(step: str, argument: Argument) -> ValueInput | None:
    """Return an argument's default as an input; `None` for one that only Python can hold.

    The function then fills that in by itself, and the step's code digest covers it.
    """
    try:
        return ValueInput(
            value=frozen(
                argument.default, argument.annotation, what=f"Argument '{argument.name}' of step '{step}'"
            )
        )
    except UsageError:
        return None


def holds_placeholder(value: Any) -> bool:
    """Whether an output of a step, or a stored version in a list, is somewhere in a value."""
    if isinstance(value, StepArtifact):
        return True
    if isinstance(value, list | tuple):
        return any(holds_placeholder(v) or stored_version_id(v) is not None for v in value)
    if isinstance(value, dict):
        return any(holds_placeholder(v) for v in value.values())
    return False
