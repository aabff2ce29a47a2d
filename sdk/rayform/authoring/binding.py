"""A call's arguments by name, as Python would sort them, with errors that name the nearest right one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayform.authoring.annotations import Argument
from rayform_core.errors import UsageError, nearest

__all__ = ["bind", "missing"]


def bind(
    what: str, arguments: Mapping[str, Argument], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return what a call gives, by argument name.

    Args:
        what: how to call the function in an error, such as `"Step 'train'"`.

    Raises:
        UsageError: too many arguments, an unknown one, or one given twice.
    """
    names = list(arguments)
    if len(args) > len(names):
        raise UsageError(
            f"{what} takes {len(names)} argument{'s' * (len(names) != 1)} and got {len(args)}.",
            hint=f"It takes: {', '.join(names)}." if names else None,
        )
    given = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in arguments:
            close = nearest(name, names)
            raise UsageError(
                f"{what} has no argument '{name}'.",
                hint=f"Did you mean '{close[0]}'?" if close else f"It takes: {', '.join(names) or 'none'}.",
            )
        if name in given:
            raise UsageError(f"{what} got argument '{name}' twice.")
        given[name] = value
    return given


def missing(what: str, names: list[str]) -> UsageError:
    """Return the error for arguments that a call must give and didn't."""
    shown = ", ".join(f"'{n}'" for n in names)
    hint = "Give it in the call, in the configuration's `parameters`, or with `-p name=value` on the command line."
    if what.startswith("Step"):
        hint = "Give it in the call, or under the step's `parameters` in the configuration."
    return UsageError(f"{what} needs a value for {shown}.", hint=hint)
