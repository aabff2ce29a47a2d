"""`rayform init`: creates a working project to start from."""

from __future__ import annotations

from pathlib import Path

import click

from rayform.cli.output import echo

__all__ = ["init"]

_TEMPLATES = {
    "starter": "Training and inference pipelines on handwritten digits, with configuration and a test."
}


@click.command("init")
@click.argument("folder", required=False, default=".", metavar="[FOLDER]")
@click.option(
    "--template", type=click.Choice(sorted(_TEMPLATES)), help="Start from a larger example: starter."
)
def init(folder: str, template: str | None) -> None:
    """Create a project.

    Without a template it writes one small pipeline. You don't need a project to use Rayform: any script that imports
    rayform runs from any folder. Existing files are never changed.

    \b
    Examples:
      rayform init
      rayform init digits --template starter
    """
    from rayform.projects import make_project

    target = Path(folder).expanduser()
    for path in make_project(target, template or "minimal"):
        echo(f"  {path}")
    where = "" if target.resolve() == Path.cwd().resolve() else f"cd {folder} && "
    echo(f"\nRun it: {where}python run.py")
