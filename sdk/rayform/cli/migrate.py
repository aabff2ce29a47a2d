"""`rayform migrate`: rewrites a project that was written for another tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rayform.cli import LazyGroup
from rayform.cli.output import echo

if TYPE_CHECKING:
    from rayform.migration.findings import Finding

__all__ = ["migrate"]


@click.group(cls=LazyGroup)
def migrate() -> None:
    """Rewrite a project that was written for another tool."""


@migrate.command("from-zenml")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Only show what would change; write nothing.")
def from_zenml(path: Path, check: bool) -> None:
    """Rewrite a project from ZenML to Rayform, and list what needs a human.

    PATH is the project's folder, or one file. Imports, settings, run configurations in YAML, notebooks and requirements
    are rewritten; the rest of each file stays as it is. Files that can't be parsed, and everything outside of PATH,
    aren't touched. Commit your work before, so that you can look at the changes.

    \b
    Examples:
      rayform migrate from-zenml . --check
      rayform migrate from-zenml .
    """
    from rayform.migration.project import diff_of
    from rayform.migration.project import migrate as migration_of

    migration = migration_of(path)
    for change in migration.changes:
        echo(diff_of(change), nl=False)
    if not check:
        migration.write()
    if migration.changes:
        echo()
    count = len(migration.changes)
    files = f"{count} file{'s' * (count != 1)}"
    echo(f"{files} would change; nothing was written." if check else f"{files} changed.")
    if not migration.findings:
        echo("Nothing needs a human.")
        return
    number = len(migration.findings)
    echo(f"\n{number} place{'s' * (number != 1)} need{'s' * (number == 1)} a human:")
    for name, finding in migration.findings:
        echo(_shown(name, finding))


def _shown(name: str, finding: Finding) -> str:
    place = f"{name}:{finding.line}" if finding.line else name
    return f"  {place}: {finding.what}\n      {finding.why}"
