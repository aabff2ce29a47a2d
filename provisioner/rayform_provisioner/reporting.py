"""Who is told what goes on while a stack is made or ended."""

from __future__ import annotations

from typing import Protocol

from rayform_provisioner.terraform.runner import Event

__all__ = ["Counting", "Reporter", "Silent"]


class Reporter(Protocol):
    """Told what goes on; the command line shows it."""

    def phase(self, text: str) -> None:
        """A new part of the work begins."""

    def event(self, event: Event) -> None:
        """Something happened to a resource."""

    def note(self, text: str) -> None:
        """Something a person should know."""


class Silent:
    """A reporter that says nothing."""

    def phase(self, text: str) -> None:
        """Say nothing."""

    def event(self, event: Event) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


class Counting:
    """A reporter that passes everything on, and counts what was made, changed and removed.

    Args:
        inner: whom it passes it on to.
    """

    def __init__(self, inner: Reporter) -> None:
        self.inner = inner
        self.done = {"create": 0, "update": 0, "delete": 0}

    def phase(self, text: str) -> None:
        """Pass it on."""
        self.inner.phase(text)

    def note(self, text: str) -> None:
        """Pass it on."""
        self.inner.note(text)

    def event(self, event: Event) -> None:
        """Count it, and pass it on."""
        if event.phase == "complete" and event.action in self.done:
            self.done[event.action] += 1
        self.inner.event(event)
