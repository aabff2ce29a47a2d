# ruff: noqa: E501  (lines of help and output)
"""What a user sees while Terraform works: a line for each finished resource, and below them those in progress."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from rayform.cli.output import echo, secho

if TYPE_CHECKING:
    from rayform_provisioner.definitions.costs import CostEstimate
    from rayform_provisioner.terraform.plans import Change, PlanSummary
    from rayform_provisioner.terraform.runner import Event

__all__ = ["DeployProgress", "print_cost", "print_plan"]

_DOING = {"create": "creating", "update": "changing", "delete": "removing", "read": "reading"}
_DONE = {"create": "created", "update": "changed", "delete": "removed", "read": "read"}
_SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red"), "replace": ("±", "red"), "import": ("→", "cyan"), "forget": ("·", "cyan")}  # fmt: skip
_MOST_SHOWN = 8


class DeployProgress:
    """A `Reporter` that prints to standard error: live lines on a terminal, plain lines elsewhere.

    Args:
        quiet: print nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.started = time.monotonic()
        self.live = sys.stderr.isatty() and not quiet
        # Resources in progress: address to action and start. Filled and emptied by `event`.
        self.running: dict[str, tuple[str, float]] = {}
        # Finished resources, and planned ones. Both are counted by `event`.
        self.done = 0
        self.total = 0
        # How many live lines stand below the printed ones. Set by `_draw`, reset by `_clear`.
        self._live_lines = 0

    def phase(self, text: str) -> None:
        """Report that a new part of the work begins."""
        self._print(click.style(f"{self._clock()}  {text}", bold=True))

    def note(self, text: str) -> None:
        """Report something that the user should know."""
        self._print(click.style(f"          {text}", fg="yellow"))

    def event(self, event: Event) -> None:
        """Report what happened to a resource."""
        if event.phase == "planned":
            self.total += 1
            return
        if event.address.split(".")[-2:-1] == ["data"] or ".data." in event.address:
            return
        if event.phase == "start":
            self.running[event.address] = (event.action, time.monotonic())
        elif event.phase in ("complete", "error"):
            action, start = self.running.pop(event.address, (event.action, time.monotonic()))
            duration = f"{time.monotonic() - start:.0f} s"
            self.done += 1
            if event.phase == "error":
                self._print(
                    click.style(f"{self._clock()}  ✗ {event.address}  failed after {duration}", fg="red")
                )
            else:
                self._print(f"{self._clock()}  ✓ {event.address}  {_DONE.get(action, action)} in {duration}")
        self._draw()

    def close(self) -> None:
        """Remove the live lines."""
        self._clear()

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self.started)
        return f"{seconds // 60:3d}:{seconds % 60:02d}"

    def _print(self, text: str) -> None:
        if self.quiet:
            return
        self._clear()
        echo(text, err=True)
        self._draw()

    def _clear(self) -> None:
        if self._live_lines:
            echo(f"\x1b[{self._live_lines}F\x1b[J", err=True, nl=False, raw=True)
            self._live_lines = 0

    def _draw(self) -> None:
        if not self.live or not self.running:
            return
        self._clear()
        lines = [
            f"          … {address}  {_DOING.get(action, action)} {time.monotonic() - start:.0f} s"
            for address, (action, start) in list(self.running.items())[:_MOST_SHOWN]
        ]
        if len(self.running) > _MOST_SHOWN:
            lines.append(f"          … and {len(self.running) - _MOST_SHOWN} more")
        lines.append(f"{self._clock()}  {self.done} of {self.total} done")
        echo("\n".join(click.style(line, dim=True) for line in lines), err=True)
        self._live_lines = len(lines)


def print_plan(summary: PlanSummary, *, destroying: bool = False) -> None:
    """Print a plan: what changes, data at risk, drift, cost."""
    for change in summary.changes:
        _print_change(change)
    count = summary.count
    if destroying:
        kept = f", {count('forget')} are kept" if count("forget") else ""
        echo(
            f"\n{count('delete')} resources of stack '{summary.name}' ({summary.reference}) will be removed{kept}."
        )
        for component, content in sorted(summary.holdings.items()):
            echo(f"  {component} holds {content}")
    elif summary.changes:
        echo(
            f"\n{count('create')} to create, {count('update')} to change, {count('replace')} to replace, "
            f"{count('delete')} to remove, {count('import')} to import."
        )
    else:
        echo(f"Stack '{summary.name}' is up to date: nothing to do.")
    for warning in summary.warnings:
        secho(f"Note: {warning}", fg="yellow")
    for risk in summary.data_at_risk if not destroying else []:
        secho(f"DATA AT RISK  {risk} would be lost", fg="red", bold=True)
    if summary.cost is not None:
        print_cost(summary.cost)


def print_cost(cost: CostEstimate) -> None:
    """Print an estimate of the cost."""
    echo(
        f"Cost at list prices of {cost.as_of}: ${cost.hourly:.3f} an hour awake (${cost.monthly:,.0f} a month), "
        f"${cost.hourly_at_most:.2f} an hour with all workers, ${cost.idle_monthly:.2f} a month asleep; "
        "without traffic and stored data."
    )
    if cost.unknown:
        echo(f"  Without a known price: {', '.join(cost.unknown)}.")


def _print_change(change: Change) -> None:
    sign, colour = _SIGNS.get(change.action, ("?", "white"))
    because = f"  (because of {', '.join(change.because)})" if change.because else ""
    echo(f"  {click.style(sign, fg=colour)} {change.address}{because}")
    for field in change.fields[:6]:
        echo(f"      {field}")
