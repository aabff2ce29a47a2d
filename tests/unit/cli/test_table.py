"""The table of commands, help texts, and what starting the command line imports."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from rayform.cli import COMMANDS, LazyGroup, rayform

HEAVY = (
    "ray",
    "boto3",
    "botocore",
    "docker",
    "sqlalchemy",
    "google",
    "pydantic",
    "rich",
    "numpy",
    "pandas",
    "yaml",
)


def walk(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Give every command below a group with its path."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))


ALL = list(walk(rayform))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_line_is_the_commands_own(name: str) -> None:
    """Each row of the table exists, and its help line is the command's."""
    path, line = COMMANDS[name]
    module, _, attribute = path.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert command.get_short_help_str(200) == line


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(p) for p, _ in ALL])
def test_every_command_and_option_says_what_it_is_for(path: tuple[str, ...], command: click.Command) -> None:
    """No command and no option is without help."""
    assert command.help, path
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, (path, parameter.opts)
    if isinstance(command, LazyGroup):
        for name, (_, line) in command.table.items():
            found = command.get_command(click.Context(command), name)
            assert found is not None
            assert found.get_short_help_str(200) == line, (path, name)


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(p) for p, _ in ALL])
def test_whatever_lists_or_describes_prints_json(path: tuple[str, ...], command: click.Command) -> None:
    """Every command called list, describe, get, info or version takes --json and -o."""
    if path[-1] in ("list", "describe", "get", "info", "versions", "compare", "status") and not isinstance(
        command, click.Group
    ):
        options = {opt for p in command.params for opt in p.opts}
        assert "--json" in options, path


@pytest.mark.parametrize(
    "code",
    [
        "import rayform",
        "import rayform.cli; import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    try: rayform.cli.main(['--help'])\n"
        "    except SystemExit as stop: assert stop.code == 0",
        "from rayform import step, pipeline, Model, ArtifactConfig, get_logger",
    ],
    ids=["import", "help", "names"],
)
def test_start_loads_nothing_heavy(code: str) -> None:
    """Importing Rayform, its decorators, and `rayform --help` load none of the heavy packages."""
    check = f"{code}\nimport sys; bad = sorted(m for m in sys.modules if m in {HEAVY!r}); assert not bad, bad"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["stack", "list"],
        ["stack", "describe"],
        ["profile", "list"],
        ["stack", "get"],
        ["runs", "list"],
        ["pipeline", "list"],
        ["artifact", "versions"],
        ["model", "list"],
    ],
)
def test_reading_commands_load_no_pydantic(arguments: list[str], rayform_home: object) -> None:
    """The registry of stacks, and a SQLite catalog, are read without pydantic and SQLAlchemy."""
    heavy = tuple(m for m in HEAVY if m != "yaml")
    check = (
        "import sys, rayform.cli\n"
        f"try: rayform.cli.main({arguments!r})\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        f"bad = sorted(m for m in sys.modules if m in {heavy!r}); assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
