"""`rayform completion`: the script with which a shell completes Rayform's commands."""

from __future__ import annotations

import click

from rayform.cli.output import echo

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script for bash, zsh or fish.

    \b
    bash:  rayform completion bash >> ~/.bashrc
    zsh:   rayform completion zsh >> ~/.zshrc
    fish:  rayform completion fish > ~/.config/fish/completions/rayform.fish
    """
    from click.shell_completion import get_completion_class

    from rayform.cli import rayform

    script = get_completion_class(shell)
    assert script is not None, shell
    echo(script(rayform, {}, "rayform", "_RAYFORM_COMPLETE").source())
