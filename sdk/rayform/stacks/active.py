"""Which stack is active, and what set it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rayform.stacks import files
from rayform.stacks.profiles import DEFAULT, active_profile, read_pointer
from rayform.stacks.registered import StackRecord, get_stack, read_stack
from rayform_core.errors import NotFoundError, UsageError
from rayform_core.files import home

if TYPE_CHECKING:
    from rayform_runtime.components import StackSpec

__all__ = [
    "ActiveStack",
    "active_record",
    "active_stack",
    "active_stack_name",
    "set_active_stack",
]


NAMED_HERE = "named here"


@dataclass(frozen=True, slots=True)
class ActiveStack:
    """The active stack's name, its profile, and what set it: an option, a variable, a pin file, or the profile."""

    name: str
    profile: str
    source: str


def active_stack_name(name: str | None = None) -> ActiveStack:
    """Return which stack is active and what set it. The stack may not exist; `read_stack` checks that.

    Args:
        name: a stack that counts as active for this call, such as the value of `--stack`.
    """
    profile = active_profile()
    if name:
        return ActiveStack(name, profile, NAMED_HERE)
    if active := os.environ.get("RAYFORM_STACK"):
        return ActiveStack(active, profile, "$RAYFORM_STACK")
    if (pin := files.find_pin()) and (active := read_pointer(pin).get("stack")):
        return ActiveStack(active, profile, str(pin))
    if active := read_pointer(files.profile_file(profile)).get("stack"):
        return ActiveStack(active, profile, f"profile '{profile}'")
    return ActiveStack(DEFAULT, profile, "built in")


def active_stack(name: str | None = None) -> StackSpec:
    """Return the active stack with its components.

    Args:
        name: a stack to return instead, such as the value of `--stack`.

    Raises:
        NotFoundError: the stack, or a component of it, doesn't exist.
        IntegrityError: a file of it is corrupt.

    Example:
        >>> from rayform_runtime.components import Stack
        >>> Stack(active_stack()).catalog.list_runs()  # doctest: +SKIP
    """
    record = active_record(name)
    return get_stack(record.name, profile=record.profile)


def active_record(name: str | None = None) -> StackRecord:
    """Return the active stack's registration; see `active_stack`."""
    active = active_stack_name(name)
    try:
        return read_stack(active.name, profile=active.profile)
    except NotFoundError as error:
        if error.kind == "stack" and active.source != NAMED_HERE:
            error.why = f"{active.source} sets it as the active stack."
        raise


def set_active_stack(name: str, *, here: Path | None = None) -> Path:
    """Make a stack the active one of the active profile, or of a folder.

    Args:
        name: the stack.
        here: set it only in this folder and all folders below it.

    Returns:
        The file that names it now.

    Raises:
        NotFoundError: there is no such stack.
    """
    with files.registry_lock():
        stack = read_stack(name)
        if here is None:
            path = files.profile_file(stack.profile)
            pointer = {**read_pointer(path), "stack": name}
        else:
            path = files.pin_file(here.absolute())
            if path.parent == home():
                raise UsageError(
                    f"'{here}' can't pin a stack.",
                    why=f"Its folder '{path.parent}' holds the registered stacks themselves.",
                    hint=f"Run `rayform stack set {name}` without --here.",
                )
            pointer = {**read_pointer(path), "stack": name}
            if stack.profile != DEFAULT:
                pointer["profile"] = stack.profile
        files.write_yaml(path, pointer)
    return path
