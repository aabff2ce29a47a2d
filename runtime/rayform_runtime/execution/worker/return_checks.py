"""Whether what a step returned is what its annotation says."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rayform_core.errors import UsageError
from rayform_runtime.execution.worker.arguments import type_hints_of

if TYPE_CHECKING:
    from rayform_runtime.execution.interface import StepTask

__all__ = ["check_returned"]


def check_returned(
    returned: object, values: Sequence[object], task: StepTask, function: Callable[..., object]
) -> None:
    """Refuse what certainly doesn't fit a step's annotation, before anything of it is stored.

    Containers are checked one level deep, and large ones by a sample.

    Args:
        returned: the step's return value.
        values: the value of each output.
        task: the step.
        function: its function.

    Raises:
        UsageError: names the output and both types.
    """
    annotation = getattr(function, "__annotations__", {}).get("return", Any)
    if isinstance(annotation, str):
        annotation = type_hints_of(function).get("return", Any)
    if annotation is Any or (len(values) == 1 and type(values[0]) is annotation):
        return
    outputs = task.step.outputs
    if annotation is None or annotation is types.NoneType:
        if returned is not None and not outputs:
            raise UsageError(
                f"Step '{task.step.key}' returned a value of type '{_shown(returned)}', and it is annotated as "
                "`-> None`.",
                why="The value would be lost.",
                hint="Annotate what the step returns, or return nothing.",
            )
        return
    annotations = [annotation] if len(outputs) == 1 else list(typing.get_args(annotation))
    if len(annotations) != len(outputs):
        return
    if not outputs:
        return
    from rayform_runtime.artifacts.annotations import Fit, shown_type

    for output, value, expected in zip(outputs, values, annotations, strict=True):
        if Fit().check(value, expected) is False:
            raise UsageError(
                f"Output '{output.name}' of step '{task.step.key}' has type '{_shown(value)}', and it is annotated "
                f"as `{shown_type(expected)}`.",
                why=_odd_member(value, expected),
                hint="Return a value of the annotated type, or correct the annotation.",
            )


def _odd_member(value: object, annotation: object) -> str | None:
    """Say which element doesn't fit, if the container itself does."""
    from rayform_runtime.artifacts.annotations import Fit

    if not isinstance(value, list | tuple | dict | set | frozenset) or not Fit(depth=0).check(
        value, annotation
    ):
        return None
    members = value.values() if isinstance(value, dict) else value
    kinds = list(dict.fromkeys(_shown(member) for member in list(members)[:1000]))
    return f"Its elements are of type {', '.join(kinds[:5])}."


def _shown(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
