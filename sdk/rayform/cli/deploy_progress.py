# ruff: noqa: E501  (lines of help and output)
"""What a person sees while Terraform works: a line for each resource that is done, and those in progress below."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rayform_provisioner.terraform.plans import Change, PlanSummary
    from rayform_provisioner.terraform.runner import Event

__all__ = ["DeployProgress", "print_plan"]

_DOING = {"create": "creating", "update": "changing", "delete": "removing", "read": "reading"}
_DONE = {"create": "created", "update": "changed", "delete": "removed", "read": "read"}
_SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red"), "replace": ("±", "red"), "import": ("→", "cyan"), "forget": ("·", "cyan")}  # fmt: skip


class DeployProgress:
    """Shows progress on standard error: live lines on a terminal, plain ones elsewhere."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.live = sys.stderr.isatty()
        self.running: dict[str, tuple[str, float]] = {}
        self.done = 0
        self.total = 0
        self._shown = 0

    def phase(self, text: str) -> None:
        """A new part of the work begins."""
        self._above(click.style(f"{self._clock()}  {text}", bold=True))

    def note(self, text: str) -> None:
        """Something a person should know."""
        self._above(click.style(f"          {text}", fg="yellow"))

    def event(self, event: Event) -> None:
        """Something happened to a resource."""
        if event.phase == "planned":
            self.total += 1
            return
        if event.address.split(".")[-2:-1] == ["data"] or ".data." in event.address:
            return
        if event.phase == "start":
            self.running[event.address] = (event.action, time.monotonic())
        elif event.phase in ("complete", "error"):
            action, since = self.running.pop(event.address, (event.action, time.monotonic()))
            took = f"{time.monotonic() - since:.0f} s"
            self.done += 1
            if event.phase == "error":
                self._above(click.style(f"{self._clock()}  ✗ {event.address}  failed after {took}", fg="red"))
            else:
                self._above(f"{self._clock()}  ✓ {event.address}  {_DONE.get(action, action)} in {took}")
        self._draw()

    def close(self) -> None:
        """Take the live lines away."""
        self._clear()

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self.started)
        return f"{seconds // 60:3d}:{seconds % 60:02d}"

    def _above(self, text: str) -> None:
        self._clear()
        click.echo(text, err=True)
        self._draw()

    def _clear(self) -> None:
        if self._shown:
            click.echo(f"\x1b[{self._shown}F\x1b[J", err=True, nl=False)
            self._shown = 0

    def _draw(self) -> None:
        if not self.live or not self.running:
            return
        self._clear()
        lines = []
        for address, (action, since) in list(self.running.items())[:8]:
            lines.append(
                f"          … {address}  {_DOING.get(action, action)} {time.monotonic() - since:.0f} s"
            )
        if len(self.running) > 8:
            lines.append(f"          … and {len(self.running) - 8} more")
        lines.append(f"{self._clock()}  {self.done} of {self.total} done")
        click.echo("\n".join(click.style(line, dim=True) for line in lines), err=True)
        self._shown = len(lines)


def print_plan(summary: PlanSummary, *, destroying: bool = False) -> None:
    """Show a plan: what changes, data at risk, drift, cost."""
    for change in summary.changes:
        _print_change(change)
    count = summary.count
    if destroying:
        gone, forgotten = count("delete"), count("forget")
        more = f", {forgotten} kept" if forgotten else ""
        click.echo(f"\n{gone} resources of stack '{summary.name}' ({summary.reference}) go{more}.")
        for component, content in sorted(summary.holdings.items()):
            click.echo(f"  {component} holds {content}")
    elif summary.changes:
        click.echo(
            f"\n{count('create')} to make, {count('update')} to change, {count('replace')} to replace, "
            f"{count('delete')} to remove, {count('import')} to import."
        )
    else:
        click.echo(f"Stack '{summary.name}' is as it should be: nothing to do.")
    for warning in summary.warnings:
        click.secho(f"Note: {warning}", fg="yellow")
    for risk in summary.data_at_risk if not destroying else []:
        click.secho(f"DATA AT RISK  {risk} would be lost", fg="red", bold=True)
    if summary.cost is not None:
        print_cost(summary.cost)


def print_cost(cost: Any) -> None:
    """Show an estimate."""
    click.echo(
        f"Cost, by list prices of {cost.as_of}: ${cost.hourly:.3f} an hour awake (${cost.monthly:,.0f} a month), "
        f"${cost.hourly_at_most:.2f} an hour with all workers, ${cost.idle_monthly:.2f} a month asleep; "
        "traffic and stored data not counted."
    )
    if cost.unknown:
        click.echo(f"  No price known for: {', '.join(cost.unknown)}.")


def _print_change(change: Change) -> None:
    sign, colour = _SIGNS.get(change.action, ("?", "white"))
    because = f"  (because of {', '.join(change.because)})" if change.because else ""
    click.echo(f"  {click.style(sign, fg=colour)} {change.address}{because}")
    for field in change.fields[:6]:
        click.echo(f"      {field}")
