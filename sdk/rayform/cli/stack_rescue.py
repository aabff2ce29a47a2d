"""`rayform stack unlock|new-key`: out of what a machine that is gone for good left behind."""

from __future__ import annotations

import click

from rayform.cli.options import confirm, yes_option
from rayform.cli.stack_lifecycle import lifecycle_of, meant_stack, target_option

__all__ = ["new_key", "unlock"]


@click.command("unlock")
@click.argument("name", required=False)
@yes_option
@target_option
def unlock(name: str | None, yes: bool, target: str | None) -> None:
    """Take away the lock of a command that died on another machine.

    Locks of commands that were killed on this machine go by themselves. Never take one away from a command that still
    works: two Terraforms at once lose each other's resources.
    """
    lifecycle, _ = lifecycle_of(meant_stack(name), target, quiet=True)
    holder = lifecycle.lock_holder()
    if holder is None:
        click.echo(f"Nobody holds the lock of stack '{lifecycle.name}'.")
        return
    click.echo(f"{holder.who} holds the lock since {holder.created} ({holder.operation}).")
    confirm("Is that command dead, and may its lock be taken away?", yes=yes)
    lifecycle.unlock(holder)
    click.echo(
        f"The lock is gone. The next `rayform stack deploy` or `rayform stack destroy {lifecycle.name}` looks for what "
        "its holder left."
    )


@click.command("new-key")
@click.argument("name", required=False)
@yes_option
@target_option
def new_key(name: str | None, yes: bool, target: str | None) -> None:
    """Make a new SSH key for a stack whose key is lost or known to others; the next deploy brings it in."""
    lifecycle, _ = lifecycle_of(meant_stack(name), target, quiet=True)
    lifecycle.folder.existing()
    if lifecycle.folder.key_file.exists():
        confirm(
            f"Stack '{lifecycle.name}' has its key. Replace it? The cluster is out of reach until the next deploy.",
            yes=yes,
        )
    lifecycle.replace_key()
    click.echo(f"Wrote {lifecycle.folder.key_file}. What there was of the old key is beside it.")
    click.echo(
        "Next: rayform stack deploy. It replaces the head, and what runs on the cluster ends; no data is lost."
    )
