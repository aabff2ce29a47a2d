"""`rayform dashboard`: a web page of runs, artifacts, models and stacks, on this machine only."""

from __future__ import annotations

import importlib.util
import sys

import click

from rayform.cli.options import stack_option
from rayform.cli.output import echo
from rayform_core.errors import ConflictError, PrerequisiteError

__all__ = ["dashboard"]


@click.group(invoke_without_command=True)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=None,
    help="Port on loopback; 8237 by default, 0 for a free one.",
)
@click.option("--detach", is_flag=True, help="Serve in the background, until `rayform dashboard stop`.")
@click.option(
    "--open/--no-open",
    "open_",
    default=None,
    help="Open the address in a browser; by default on a terminal.",
)
@stack_option
@click.pass_context
def dashboard(
    ctx: click.Context, port: int | None, detach: bool, open_: bool | None, stack: str | None
) -> None:
    """Show runs, artifacts, models and stacks in a browser.

    The address that it prints starts one session, within ten minutes. If a dashboard is running already, the command
    prints another such address of it.
    """
    if ctx.invoked_subcommand is not None:
        return
    if any(
        importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "jinja2", "markdown_it")
    ):
        raise PrerequisiteError(
            "The dashboard needs packages that aren't installed.",
            hint="Install them: pip install 'rayform[server]'.",
        )
    from rayform.stacks import active_record
    from rayform_server import process

    name = active_record(stack).name
    state = process.running()
    if state is not None:
        if port not in (None, state.port) or (stack is not None and stack != state.stack):
            raise ConflictError(
                f"A dashboard of stack '{state.stack}' runs on port {state.port} already.",
                hint="Stop it first: rayform dashboard stop",
            )
        _show(state.entrance(), open_)
        return
    wanted = process.PORT if port is None else port
    if detach:
        _show(process.start_detached(stack=name, port=wanted).entrance(), open_)
        return
    process.serve(stack=name, port=wanted, ready=lambda state: _show(state.entrance(), open_))


def _show(address: str, open_: bool | None) -> None:
    echo(f"Dashboard: {address}")
    if open_ or (open_ is None and sys.stdout.isatty()):
        import webbrowser

        webbrowser.open(address)


@dashboard.command()
def stop() -> None:
    """Stop the dashboard that runs in the background."""
    from rayform_server import process

    echo("The dashboard was stopped." if process.stop() else "No dashboard is running.")
