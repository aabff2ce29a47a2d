"""`rayform cluster`: the machines of a stack's orchestrator."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from rayform.cli import LazyGroup
from rayform.cli.options import stack_option
from rayform.cli.output import echo, json_option, print_json

if TYPE_CHECKING:
    from rayform_runtime.cluster.from_laptop.head import ClusterHead

__all__ = ["cluster"]

_LOGS = {
    "head": "/var/log/cloud-init-output.log",
    "boot": "/var/log/rayform-boot.log",
    "watch": "/var/log/rayform-watch.log",
    "autoscaler": "/tmp/ray/session_latest/logs/monitor.log",  # noqa: S108 - a path on the head
    "gcs": "/tmp/ray/session_latest/logs/gcs_server.out",  # noqa: S108 - a path on the head
    "raylet": "/tmp/ray/session_latest/logs/raylet.out",  # noqa: S108 - a path on the head
    "images": "/tmp/ray/session_latest/logs/runtime_env_agent.log",  # noqa: S108 - a path on the head
    "dashboard": "/tmp/ray/session_latest/logs/dashboard.log",  # noqa: S108 - a path on the head
}


@click.group(cls=LazyGroup)
def cluster() -> None:
    """Inspect a stack's Ray cluster: state, shell, dashboard, logs."""


@contextmanager
def _head(stack: str | None) -> Iterator[ClusterHead]:
    from rayform import stacks
    from rayform_runtime.components import ComponentKind, Stack
    from rayform_runtime.execution.on_ray.orchestrator import RayOrchestrator

    opened = Stack(stacks.active_stack(stack))
    try:
        orchestrator = opened.orchestrator
        if not isinstance(orchestrator, RayOrchestrator):
            from rayform_core.errors import UsageError

            flavor = opened.component(ComponentKind.ORCHESTRATOR).flavor
            raise UsageError(
                f"Stack '{opened.name}' has no cluster: its orchestrator has flavor '{flavor}'.",
                hint="Name a deployed stack with --stack, or deploy one: rayform stack deploy.",
            )
        yield orchestrator.head()
    finally:
        opened.close()


@cluster.command()
@json_option
@stack_option
def status(json_wanted: bool, stack: str | None) -> None:
    """Show nodes, their resources, what runs on them, and the countdown of the autostop."""
    from rayform.cli.cluster_view import print_cluster
    from rayform_runtime.cluster.from_laptop.overview import cluster_overview

    with _head(stack) as head:
        overview = dict(cluster_overview(head))
    if json_wanted:
        print_json(overview)
    else:
        print_cluster(overview)


@cluster.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@stack_option
def ssh(command: tuple[str, ...], stack: str | None) -> None:
    """Open a shell on the head, or run COMMAND there. If COMMAND is one argument, bash runs it as a command line."""
    if len(command) == 1:
        command = ("bash", "-c", *command)
    with _head(stack) as head:
        line = head.target.command(*command, shared=False, options=[] if command else ["-t"])
        # An interactive shell may ask for a password or passphrase; a command must not.
        line = [word for word in line if word != "BatchMode=yes" or command]
        if not command:
            line = _without_dangling_option(line)
    sys.stdout.flush()
    os.execvp(line[0], line)  # noqa: S606 - a list, never a shell's string


def _without_dangling_option(line: list[str]) -> list[str]:
    """Remove an `-o` whose value was removed."""
    kept: list[str] = []
    for word, following in zip(line, [*line[1:], ""], strict=True):
        if word == "-o" and following == "-o":
            continue
        kept.append(word)
    return kept


@cluster.command()
@click.option("--browser/--no-browser", default=True, help="Open the dashboard in the browser.")
@stack_option
def dashboard(browser: bool, stack: str | None) -> None:
    """Open Ray's dashboard through an SSH tunnel, until Ctrl-C."""
    with _head(stack) as head:
        head.require_ready()
        address = f"http://127.0.0.1:{head.tunnel().local_port}"
        echo(f"Ray's dashboard: {address}")
        echo("It asks for the cluster's token: rayform cluster ssh -- sudo cat /etc/rayform/ray_token")
        if browser:
            click.launch(address)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            echo("Closed.")


@cluster.command()
@click.argument("what", type=click.Choice(sorted(_LOGS)), default="head")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1, 100_000),
    default=200,
    show_default=True,
    help="How many of the last lines.",
)
@click.option("-f", "--follow", "follow_", is_flag=True, help="Continue printing until Ctrl-C.")
@stack_option
def logs(what: str, lines: int, follow_: bool, stack: str | None) -> None:
    """Print a log of the head: its boot, its watch (autostop), Ray's autoscaler and others."""
    with _head(stack) as head:
        words = [
            "sudo",
            "-n",
            "tail",
            f"--lines={lines}",
            *(["--follow=name"] if follow_ else []),
            _LOGS[what],
        ]
        stop = threading.Event()
        try:
            for line in head.target.lines(*words, stop=stop):
                echo(line.decode(errors="replace"), nl=False)
        except KeyboardInterrupt:
            stop.set()
