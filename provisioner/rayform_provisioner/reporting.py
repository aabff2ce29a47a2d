"""Receives progress while a stack is deployed or destroyed; the command line shows it."""

from __future__ import annotations

from typing import Protocol

from rayform_provisioner.terraform.runner import Event

__all__ = ["Counting", "Reporter", "Silent"]


class Reporter(Protocol):
    """Receives progress."""

    def phase(self, text: str) -> None:
        """A new part of the work begins."""

    def event(self, event: Event) -> None:
        """Something happened to a resource."""

    def note(self, text: str) -> None:
        """The user should know this."""


class Silent:
    """A reporter that shows nothing."""

    def phase(self, text: str) -> None:
        """Do nothing."""

    def event(self, event: Event) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


class Counting:
    """A reporter that passes everything on, and counts the resources that were created, updated and deleted.

    Args:
        inner: the reporter to pass everything on to.
    """

    def __init__(self, inner: Reporter) -> None:
        self.inner = inner
        self.start_over()

    def start_over(self) -> None:
        """Count from zero again."""
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
