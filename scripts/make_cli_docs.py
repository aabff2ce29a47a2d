"""Writes docs/cli.md from the commands; with `--check`, only checks that the page is up to date.

python scripts/make_cli_docs.py [--check]
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from rayform.cli import rayform

TARGET = Path(__file__).parent.parent / "docs" / "cli.md"
INTRODUCTION = """\
# Commands

Generated from the commands by `scripts/make_cli_docs.py`; don't edit it by hand.

- Everything that lists or describes takes `--json` (or `-o json`). A list is
  `{"items": […], "page": 1, "size": 20, "total": 57}`.
- Lists take `--filter KEY=VALUE` (also `!=`, `>`, `>=`, `<`, `<=`, `~=` for "contains", and `a,b` for "any of"),
  `--sort KEY` (`-KEY` descends), `--page` and `--size`.
- `--stack NAME` runs the command on this stack instead of the active one.
- Name a run, artifact version or model by its name, its ID, or a prefix of its ID; a run also by a prefix of its name.
- [Exit codes](exit-codes.md) explains what a command exits with. `RAYFORM_DEBUG=1` shows the traceback of an error.
- Shell completion: `rayform completion bash|zsh|fish`.
- Output is coloured only on terminals; `NO_COLOR=1` turns colour off.
"""


def commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield each command below a group with its path; a group comes before its commands."""
    context = click.Context(group, info_name=path[-1])
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def context_of(command: click.Command, path: tuple[str, ...]) -> click.Context:
    """Return a context whose usage line is that of the real command."""
    context = click.Context(rayform, info_name="rayform", **rayform.context_settings)
    for name in path[1:-1]:
        context = click.Context(click.Group(name), info_name=name, parent=context)
    return click.Context(command, info_name=path[-1], parent=context)


def section(path: tuple[str, ...], command: click.Command) -> str:
    """Return a command's part of the page."""
    lines = [f"{'#' * min(len(path), 3)} `{' '.join(path)}`", ""]
    context = context_of(command, path)
    help_text = inspect.cleandoc(command.help or "")
    lines += ["\n\n".join(map(_paragraph, help_text.split("\n\n"))), ""]
    if isinstance(command, click.Group):
        return "\n".join(lines)
    lines += ["```text", " ".join(["rayform", *path[1:], *command.collect_usage_pieces(context)]), "```", ""]
    records = [
        record
        for parameter in command.params
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context))
    ]
    if records:
        lines += ["| option | |", "| --- | --- |"]
        lines += [f"| `{flags}` | {text} |".replace("|  |", "| |") for flags, text in map(_escaped, records)]
        lines.append("")
    return "\n".join(lines)


def _paragraph(text: str) -> str:
    """Join a paragraph's lines; a paragraph that click prints as it is (`\\b`) becomes a code block."""
    text = text.strip("\n")
    if not text.startswith("\b\n"):
        return " ".join(text.split())
    return f"```text\n{textwrap.dedent(text.removeprefix(chr(8)).strip(chr(10)))}\n```"


def _escaped(record: tuple[str, str]) -> tuple[str, str]:
    return record[0].replace("|", r"\|"), " ".join(record[1].split()).replace("|", r"\|")


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    parts += [section(path, command) for path, command in commands(rayform, ("rayform",))]
    return "\n".join(parts).rstrip() + "\n"


def main() -> int:
    """Write the page, or check it."""
    text = page()
    if "--check" in sys.argv[1:]:
        if TARGET.read_text(encoding="utf-8") == text:
            return 0
        print("docs/cli.md is out of date: run python scripts/make_cli_docs.py", file=sys.stderr)
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
