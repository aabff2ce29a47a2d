"""The command line: `rayform`. One file per command group, each loaded only when it is used.

`COMMANDS` is the table of all commands. It repeats their help lines so that `rayform --help` imports no command;
`tests/unit/cli/test_table.py` compares these lines with those of the commands.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from typing import Any

import click

from rayform_core.errors import PrerequisiteError, RayformError
from rayform_core.terminal import printable
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
        "Inspect a stack's Ray cluster: state, shell, dashboard, logs.",
    ),
    "completion": ("rayform.cli.completion:completion", "Print a completion script for bash, zsh or fish."),
    "container-registry": (
        "rayform.cli.components:container_registry",
        "Register, list, describe, check and delete container registries.",
    ),
    "dashboard": (
        "rayform.cli.dashboard:dashboard",
        "Show runs, artifacts, models and stacks in a browser.",
    ),
    "flavor": (
        "rayform.cli.components:flavor",
        "List the flavors of components, and describe their settings.",
    ),
    "info": (
        "rayform.cli.info:info",
        "Show versions, paths and the active stack, for bug reports; no secrets.",
    ),
    "localstack": (
        "rayform.cli.localstack:localstack",
        "Run an emulated cloud on this machine, with instances that really boot.",
    ),
    "migrate": ("rayform.cli.migrate:migrate", "Rewrite a project that was written for another tool."),
    "model": ("rayform.cli.models:model", "List, describe, compare, promote and copy models."),
    "orchestrator": (
        "rayform.cli.components:orchestrator",
        "Register, list, describe, check and delete orchestrators.",
    ),
    "pipeline": ("rayform.cli.pipelines:pipeline", "List, describe and delete pipelines."),
    "profile": ("rayform.cli.profile:profile", "Group stacks into profiles and switch between them."),
    "runs": ("rayform.cli.runs:runs", "List, describe, follow, resume, stop and delete pipeline runs."),
    "init": ("rayform.cli.init:init", "Create a project."),
    "run": ("rayform.cli.run:run", "Run a pipeline from a file or module."),
    "spin": (
        "rayform.cli.spin:spin",
        "Run one step of an earlier run again, with the same inputs.",
    ),
    "stack": ("rayform.cli.stack.registration:stack", "Register, activate, deploy and destroy stacks."),
    "version": ("rayform.cli.info:version", "Print Rayform's version."),
    "terraform": (
        "rayform.cli.terraform:terraform",
        "Install and configure Terraform, which deploys stacks.",
    ),
}
"""Command name to (`module:attribute`, help line). A group can have a table of its own."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used.

    Args:
        table: command name to (`module:attribute`, help line).
    """

    def __init__(self, *, table: dict[str, tuple[str, str]] | None = None, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.table = table or {}

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
    """Run machine-learning pipelines, on this machine or on cloud infrastructure that Rayform deploys."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line; only this function turns errors into exit codes.

    Args:
        argv: arguments without the program's name; by default those of the process.
    """
    sys.exit(_run(rayform, argv))


def _run(command: click.Command, argv: list[str] | None) -> int:
    _escape_unprintable_text()
    try:
        result = command.main(args=argv, prog_name="rayform", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.message = printable(error.message)  # type: ignore[misc]  # its text may quote an argument
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return 130
    except BrokenPipeError:
        # The reader (`head`, a pager) closed the pipe: not an error. Don't let the interpreter flush into it.
        _discard_output()
        return 0
    except OSError as error:
        explained = _explained(error)
        if explained is None:
            raise
        _show(explained)
        return explained.exit_code
    except RayformError as error:
        _show(error)
        if os.environ.get("RAYFORM_DEBUG"):
            raise
        return error.exit_code
    return result if isinstance(result, int) else 0


def _show(error: RayformError) -> None:
    click.echo(f"Error: {printable(error.message)}", err=True)
    for title, text in (("Why: ", error.why), ("Next:", error.hint)):
        if text:
            lines = printable(text.rstrip("\n")).replace("\n", "\n        ")
            click.echo(f"  {title} {lines}", err=True)


def _escape_unprintable_text() -> None:
    """Print characters that the output's encoding lacks, such as half a surrogate pair, as `\\ud83d`.

    Exceptions, metadata and names hold text of users: a single character of it must not end a command.
    """
    if sys.stdout is None:  # `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Keep the interpreter from writing, when it exits, what could not be written before."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explained(error: OSError) -> RayformError | None:
    """Return an error that explains a failure of the system; `None` if the failure may be a bug of Rayform."""
    if isinstance(error, FileNotFoundError) and _is_in_a_deleted_folder():
        return PrerequisiteError(
            "The current folder was deleted.", hint="Change to another folder and try again."
        )
    if _is_of_output(error):
        _discard_output()
        return PrerequisiteError(
            "The output can't be written.",
            why=error.strerror,
            hint="Make sure that standard output has space left, and try again.",
        )
    if error.errno in _CAUSED_BY_FILES and error.filename is not None:
        from rayform_core.files import storage_error

        return storage_error(error, os.fsdecode(error.filename)[:300])
    return None


_CAUSED_BY_FILES = {
    errno.EACCES, errno.EDQUOT, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOSPC, errno.ENOTDIR, errno.EPERM,
    errno.EROFS,
}  # fmt: skip
"""Causes that lie in a path or a disk of the user's, and are no bug of Rayform."""


def _is_of_output(error: OSError) -> bool:
    """Whether writing to standard output failed, rather than a step, a store or a catalog."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None and trace.tb_frame.f_code is click.echo.__code__:
        return True
    try:
        sys.stdout.flush()  # text that could not be written is still buffered, so it fails again
    except OSError:
        return True
    return False


def _is_in_a_deleted_folder() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - pathlib isn't needed for anything else here
    except FileNotFoundError:
        return True
    return False
