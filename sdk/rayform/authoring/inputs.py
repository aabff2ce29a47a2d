"""How a step's arguments become its inputs: values, other steps' outputs, stored artifact versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from rayform.authoring.parameters import frozen, validated
from rayform.authoring.placeholders import StepArtifact
from rayform.authoring.signatures import Argument, concrete_type
from rayform.authoring.steps import Unmapped
from rayform_core.errors import UsageError
from rayform_runtime.spec import ArtifactInput, Input, ListInput, MapInput, StepInput, ValueInput

__all__ = [
    "default_input",
    "holds_placeholder",
    "input_of",
    "refuse_unmappable",
    "stored_version_id",
    "stored_version_ids",
]

In = TypeVar("In", StepInput, MapInput)


def input_of(step: str, argument: Argument, value: object, *, owner: object, mapped: bool = False) -> Input:
    """Return the input that a call's argument means.

    Args:
        step: the key of the step that is called.
        argument: which of its arguments.
        value: the value that the call passes.
        owner: the steps of this pipeline; only their placeholders can be used here.
        mapped: whether the step gets one element of the value at a time.

    Raises:
        UsageError: the value can't be stored, or it is an output that can't be used here.
    """
    what = f"Argument '{argument.name}' of step '{step}'"
    if isinstance(value, StepArtifact):
        if mapped:
            return _from_step(what, value, owner, MapInput)
        return _from_step(what, value, owner, StepInput)
    if version_ids := stored_version_ids(value):
        stored = [ArtifactInput(artifact_version_id=id_) for id_ in version_ids]
        return stored[0] if len(stored) == 1 else ListInput(items=[*stored])
    if isinstance(value, Unmapped):
        raise UsageError(
            f"{what} is `unmapped(...)`, and this call isn't `.map(...)`.", hint="Give the value itself."
        )
    if holds_placeholder(value):
        return _gathered(what, value, owner)
    if argument.unreadable is not None and not isinstance(value, str | int | float | list | dict | None):
        raise argument.unreadable  # the worker couldn't rebuild the value from JSON either
    fitting = validated(value, argument.annotation, what=what)
    return ValueInput(value=frozen(fitting, argument.annotation, what=what))


def _from_step(what: str, value: StepArtifact, owner: object, kind: type[In]) -> In:
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
    return kind(step=value.step_key, output=value.output_name)


def _gathered(what: str, value: object, owner: object) -> ListInput:
    """Return the input of a list that holds outputs of steps or stored versions."""
    if not isinstance(value, list | tuple):
        raise UsageError(
            f"{what} is a {type(value).__name__} that holds a step's output.",
            hint="Give each output as its own argument, or several as a list.",
        )
    items: list[StepInput | ArtifactInput] = []
    for element in value:
        version_id = stored_version_id(element)
        if version_id is not None:
            items.append(ArtifactInput(artifact_version_id=version_id))
        elif isinstance(element, StepArtifact) and not element.is_mapped:
            items.append(_from_step(what, element, owner, StepInput))
        else:
            other = "the list of a mapped step" if isinstance(element, StepArtifact) else "a plain value"
            raise UsageError(
                f"{what} is a list that mixes single outputs of steps with {other}.",
                hint="Put only single outputs in the list, and give the rest as another argument.",
            )
    return ListInput(items=items)


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


def default_input(step: str, argument: Argument) -> ValueInput | None:
    """Return an argument's default as an input; `None` if JSON can't hold it.

    The function then uses its default by itself, and the step's code digest covers it.
    """
    what = f"Argument '{argument.name}' of step '{step}'"
    try:
        return ValueInput(value=frozen(argument.default, argument.annotation, what=what))
    except UsageError:
        return None


def holds_placeholder(value: object) -> bool:
    """Whether a value is an output of a step, or holds one, or is a list that holds a stored version."""
    if isinstance(value, StepArtifact):
        return True
    if isinstance(value, list | tuple):
        return any(holds_placeholder(v) or stored_version_id(v) is not None for v in value)
    if isinstance(value, dict):
        return any(holds_placeholder(v) for v in value.values())
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
