"""The command line: `rayform`. One file per command group, each loaded only when it is used.

`COMMANDS` is the one table of what there is. Its help lines stand here, so that `rayform --help` imports no
group; `tests/unit/cli/test_table.py` compares them with the commands' own.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from rayform_core.errors import PrerequisiteError, RayformError
from rayform_core.version import __version__

__all__ = ["COMMANDS", "LazyGroup", "main", "rayform"]

COMMANDS: dict[str, tuple[str, str]] = {
    "artifact": ("rayform.cli.artifacts:artifact", "List, describe, download, trace and prune artifacts."),
    "artifact-store": (
        "rayform.cli.components:artifact_store",
        "Register, list, describe, check and delete artifact stores.",
    ),
    "catalog": ("rayform.cli.components:catalog", "Register, list, describe, check and delete catalogs."),
    "cluster": (
        "rayform.cli.cluster:cluster",
        "Reach a stack's Ray cluster: its state, a shell, its dashboard, its logs.",
    ),
    "completion": ("rayform.cli.completion:completion", "Print a completion script for bash, zsh or fish."),
    "container-registry": (
        "rayform.cli.components:container_registry",
        "Register, list, describe, check and delete container registries.",
    ),
    "flavor": ("rayform.cli.components:flavor", "List the flavors of components."),
    "info": (
        "rayform.cli.info:info",
        "Show versions, paths and the active stack, for bug reports; no secrets.",
    ),
    "localstack": (
        "rayform.cli.localstack:localstack",
        "Run an emulated cloud whose instances really boot.",
    ),
    "model": ("rayform.cli.models:model", "List, describe, compare and promote models."),
    "orchestrator": (
        "rayform.cli.components:orchestrator",
        "Register, list, describe, check and delete orchestrators.",
    ),
    "pipeline": ("rayform.cli.pipelines:pipeline", "List and describe pipelines."),
    "profile": ("rayform.cli.profile:profile", "Group stacks into profiles and switch between them."),
    "runs": ("rayform.cli.runs:runs", "List, describe, follow, resume, stop and delete pipeline runs."),
    "init": ("rayform.cli.init:init", "Make a project."),
    "run": ("rayform.cli.run:run", "Run a pipeline of a file or module."),
    "spin": (
        "rayform.cli.spin:spin",
        "Run one step of an earlier run again, alone, on the inputs that it had.",
    ),
    "stack": ("rayform.cli.stack:stack", "Register, switch, deploy and destroy stacks."),
    "version": ("rayform.cli.info:version", "Print Rayform's version."),
    "terraform": (
        "rayform.cli.terraform:terraform",
        "Install and configure the Terraform that deploys stacks.",
    ),
}
"""Command name to (`module:attribute`, help line). Groups within groups are lazy by themselves."""


class LazyGroup(click.Group):
    """A group whose commands are imported on use.

    Args:
        table: command name to (`module:attribute`, help line).
    """

    def __init__(self, *args: Any, table: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self.table})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.table.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = entry[0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from rayform_core.errors import nearest

            close = nearest(args[0], self.list_commands(ctx)) if args else []
            if close and "Did you mean" not in error.message:
                message = f"{error.message} Did you mean {' or '.join(repr(c) for c in close)}?"
                raise click.UsageError(message, ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            if name in self.table:
                rows.append((name, self.table[name][1]))
            elif (command := super().get_command(ctx, name)) is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(100)))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="rayform")
def rayform() -> None:
    """Make infrastructure from a stack definition and run machine-learning pipelines on it."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line; the one place that turns errors into exit codes.

    Args:
        argv: arguments without the program's name; the process's own unless told.
    """
    sys.exit(_run(rayform, argv))


def _run(command: Callable[..., Any], argv: list[str] | None) -> int:
    _print_whatever_text()
    try:
        result = command.main(args=argv, prog_name="rayform", standalone_mode=False)  # type: ignore[attr-defined]
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        click.echo("Interrupted.", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        return 130
    except BrokenPipeError:
        # The reader (`head`, a pager) went away: not an error. Keep the interpreter from flushing into it.
        _discard_output()
        return 0
    except OSError as error:
        known = _known_failure(error)
        if known is None:
            raise
        _show(known)
        return known.exit_code
    except RayformError as error:
        _show(error)
        if os.environ.get("RAYFORM_DEBUG"):
            raise
        return error.exit_code
    return result if isinstance(result, int) else 0


def _show(error: RayformError) -> None:
    click.echo(f"Error: {error.message}", err=True)
    for title, text in (("Why: ", error.why), ("Next:", error.hint)):
        if text:
            lines = text.rstrip("\n").replace("\n", "\n        ")
            click.echo(f"  {title} {lines}", err=True)


def _print_whatever_text() -> None:
    """Let text that the output's encoding lacks, such as half a surrogate pair, appear as `\\ud83d`.

    Texts of people's own come from exceptions, metadata and names: one character of them must not end a command.
    """
    if sys.stdout is None:  # `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Keep the interpreter from writing at its end what could not be written before."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _known_failure(error: OSError) -> RayformError | None:
    """Return how to tell an error of the system that isn't Rayform's own, or `None` for others."""
    if isinstance(error, FileNotFoundError) and _is_in_a_deleted_folder():
        return PrerequisiteError("The current folder was deleted.", hint="Change to another and try again.")
    if _is_of_output(error):
        _discard_output()
        return PrerequisiteError(
            "The output can't be written.",
            why=error.strerror,
            hint="See that there is room where standard output goes, and try again.",
        )
    return None


def _is_of_output(error: OSError) -> bool:
    """Whether what failed is writing to standard output; a step, a store or a catalog fails elsewhere."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None and trace.tb_frame.f_code is click.echo.__code__:
        return True
    try:
        sys.stdout.flush()  # what could not be written is kept, and fails again
    except OSError:
        return True
    return False


def _is_in_a_deleted_folder() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - pathlib isn't needed for anything else here
    except FileNotFoundError:
        return True
    return False
