"""Which stack a command works on, and in which cloud: arguments, options, and the `Lifecycle` they select."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from rayform.cli.stack.progress import DeployProgress
    from rayform_provisioner.definitions.definition import LoadedDefinition
    from rayform_provisioner.lifecycle import Lifecycle

__all__ = [
    "DEFINITION_FILE",
    "definition_argument",
    "lifecycle_of",
    "load",
    "selected_stack",
    "target_option",
    "usual_target",
]

R = TypeVar("R")

target_option = click.option(
    "--target",
    default=None,
    metavar="aws|localstack|FILE",
    help="The cloud: AWS, the emulated one, or a file of endpoints. RAYFORM_TARGET or the profile can set it too.",
)
DEFINITION_FILE = "stack.yaml"


def definition_argument(command: Callable[..., R]) -> Callable[..., R]:
    """Add the argument `definition`, the path of a stack definition; `stack.yaml` by default."""
    return click.argument("definition", default=DEFINITION_FILE, type=click.Path(path_type=Path))(command)


def load(path: Path) -> LoadedDefinition:
    """Read and check a stack definition."""
    from rayform_provisioner.definitions.definition import load_definition

    return load_definition(path)


def lifecycle_of(
    name: str, target: str | None, *, quiet: bool = False, may_move: bool = False
) -> tuple[Lifecycle, DeployProgress]:
    """Return the `Lifecycle` of a stack and its progress reporter.

    Args:
        name: the stack.
        target: the cloud of `--target`, if the user named one.
        quiet: show no progress.
        may_move: a stack that was planned but never deployed may go to another cloud than it was planned for.
    """
    from rayform.cli.stack.progress import DeployProgress
    from rayform_provisioner.lifecycle import Lifecycle
    from rayform_provisioner.stack_folder import StackFolder
    from rayform_provisioner.targets import resolve_target

    if target is None:
        record = StackFolder(name).record()
        if record is None or (may_move and record.status == "planned"):
            # Without a variable or a profile's target, a planned stack stays in its cloud; AWS is the last resort.
            target = usual_target() or (record.target if record is not None else None)
        else:
            target = record.target  # a deployed stack stays in its cloud, whatever the variable says now
    progress = DeployProgress(quiet=quiet)
    return Lifecycle(name, resolve_target(target), progress), progress


def usual_target() -> str | None:
    """Return the cloud for new stacks: `RAYFORM_TARGET`, or else the profile's target."""
    from rayform import stacks

    return os.environ.get("RAYFORM_TARGET") or stacks.profile_target()


def selected_stack(name: str | None) -> str:
    """Return the name of the stack to work on.

    Args:
        name: the command's argument: a stack's name, or the path of a definition. Without it, the definition in the
            working folder counts, or else the active stack.
    """
    if name is not None and not name.endswith((".yaml", ".yml")):
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,23}", name):
            from rayform_core.errors import NotFoundError
            from rayform_provisioner.stack_folder import deployed_names

            raise NotFoundError("deployed stack", name, known=deployed_names())
        return name
    path = Path(name or DEFINITION_FILE)
    if name is not None or path.exists():
        return load(path).definition.name
    from rayform import stacks

    return stacks.active_stack_name().name
