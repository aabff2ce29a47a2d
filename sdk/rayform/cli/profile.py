"""`rayform profile`: named groups of stacks; each has its own active stack."""

from __future__ import annotations

from collections.abc import Mapping

import click

from rayform import stacks
from rayform.cli import LazyGroup
from rayform.cli.names import profile_names
from rayform.cli.options import confirm, yes_option
from rayform.cli.output import Column, echo, emit_list, json_option
from rayform_core.errors import IntegrityError

__all__ = ["profile"]


@click.group(cls=LazyGroup)
def profile() -> None:
    """Group stacks into profiles and switch between them."""


@profile.command("list")
@json_option
def list_(json_wanted: bool) -> None:
    """List the profiles."""
    active = stacks.active_profile()
    rows = [
        {
            "name": name,
            "active": name == active,
            "stacks": len(stacks.stack_names(name)),
            "target": _target_of(name),
        }
        for name in stacks.list_profiles()
    ]
    columns: list[Column[Mapping[str, object]]] = [
        Column("active", lambda row: "*" if row["active"] else ""),
        Column("name", lambda row: str(row["name"]), shrink=1),
        Column("stacks", lambda row: str(row["stacks"]), right=True),
        Column("target", lambda row: str(row["target"] or "aws (not set)"), shrink=2),
    ]
    emit_list(rows, columns, json_wanted=json_wanted)


def _target_of(profile: str) -> str | None:
    try:
        return stacks.profile_target(profile)
    except IntegrityError as error:  # list the other profiles anyway
        echo(f"Profile '{profile}' can't be read: {error}", err=True)
        return None


@profile.command()
@click.argument("name")
@click.option("--set", "activate", is_flag=True, help="Make it the active profile.")
def create(name: str, activate: bool) -> None:
    """Create a profile, a separate group of stacks."""
    stacks.create_profile(name)
    echo(f"Created profile '{name}'.")
    if activate:
        stacks.set_active_profile(name)
        echo(f"Profile '{name}' is active.")


@profile.command("set")
@click.argument("name", shell_complete=profile_names)
def set_(name: str) -> None:
    """Make a profile the active one."""
    stacks.set_active_profile(name)
    echo(f"Profile '{name}' is active.")
    if (active := stacks.active_profile()) != name:
        echo(
            f"In this folder '{active}' stays active: RAYFORM_PROFILE or the folder's pin sets it.", err=True
        )


@profile.command()
@click.argument("target", required=False, metavar="[aws|localstack|FILE]")
@click.option("--unset", is_flag=True, help="Remove the setting.")
def target(target: str | None, unset: bool) -> None:
    """Show or set the cloud that the active profile's new stacks are deployed to."""
    name = stacks.active_profile()
    if unset:
        stacks.set_profile_target(None)
    elif target is not None:
        if target not in ("aws", "localstack"):
            from rayform_provisioner.targets import resolve_target

            target = resolve_target(target).name
        stacks.set_profile_target(target)
    echo(f"Stacks of profile '{name}' are deployed to: {stacks.profile_target() or 'aws (not set)'}")


@profile.command()
@click.argument("name", shell_complete=profile_names)
@yes_option
def delete(name: str, yes: bool) -> None:
    """Delete a profile without stacks."""
    confirm(f"Delete the profile '{name}'?", yes=yes)
    stacks.delete_profile(name)
    echo(f"Profile '{name}' is deleted.")
