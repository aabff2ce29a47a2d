"""`rayform stack unlock|new-key`: recover from the loss of the machine that managed a stack."""

from __future__ import annotations

import click

from rayform.cli.options import confirm, yes_option
from rayform.cli.output import echo
from rayform.cli.stack.selection import lifecycle_of, selected_stack, target_option

__all__ = ["new_key", "unlock"]


@click.command("unlock")
@click.argument("name", required=False)
@yes_option
@target_option
def unlock(name: str | None, yes: bool, target: str | None) -> None:
    """Remove the lock of a command that died on another machine.

    The lock of a command that was killed on this machine is removed automatically. Never remove the lock of a command
    that is still running: two Terraforms at once lose each other's resources.
    """
    lifecycle, _ = lifecycle_of(selected_stack(name), target, quiet=True)
    holder = lifecycle.lock_holder()
    if holder is None:
        echo(f"Stack '{lifecycle.name}' isn't locked.")
        return
    echo(f"{holder.who} has held the lock since {holder.created} ({holder.operation}).")
    confirm("Remove the lock? Answer yes only if that command is no longer running.", yes=yes)
    lifecycle.unlock(holder)
    echo(
        f"Removed the lock. The next `rayform stack deploy` or `rayform stack destroy {lifecycle.name}` looks for what "
        "that command left."
    )


@click.command("new-key")
@click.argument("name", required=False)
@yes_option
@target_option
def new_key(name: str | None, yes: bool, target: str | None) -> None:
    """Create a new SSH key for a stack whose key is lost or leaked; the next deploy installs it."""
    lifecycle, _ = lifecycle_of(selected_stack(name), target, quiet=True)
    lifecycle.folder.existing()
    if lifecycle.folder.key_file.exists():
        confirm(
            f"Stack '{lifecycle.name}' has a key. Replace it? The cluster can't be reached until the next deploy.",
            yes=yes,
        )
    lifecycle.replace_key()
    echo(f"Wrote {lifecycle.folder.key_file}. If there was an old key, it is kept next to it.")
    echo(
        "Next: rayform stack deploy. It replaces the head and ends all runs on the cluster; no data is lost."
    )
