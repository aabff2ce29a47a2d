"""Which queued steps wait for what: the many instances of a mapped step say it once, not each for itself."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["StepWaits"]


@dataclass(slots=True)
class _Wait:
    since: float
    instances: set[str] = field(default_factory=set)


class StepWaits:
    """Waits by step and reason; one begins with its first instance and ends with its last.

    Example:
        >>> waits = StepWaits()
        >>> waits.begin("train", "for a GPU", "first", 10.0), waits.begin("train", "for a GPU", "second", 11.0)
        (True, False)
        >>> waits.end("train", "for a GPU", "first"), waits.end("train", "for a GPU", "second")
        (None, 10.0)
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], _Wait] = {}

    def begin(self, step_key: str, text: str, instance: str, since: float) -> bool:
        """Note that an instance waits; return whether it is the first of its step for this reason.

        Args:
            step_key: the step.
            text: what for, in words.
            instance: what tells this one from the step's others.
            since: when it was submitted, on any clock.
        """
        is_first = (step_key, text) not in self._open
        wait = self._open.setdefault((step_key, text), _Wait(since))
        wait.since = min(wait.since, since)
        wait.instances.add(instance)
        return is_first

    def end(self, step_key: str, text: str, instance: str) -> float | None:
        """Note that an instance waits no longer; return since when the step waited, if it was the last."""
        wait = self._open[step_key, text]
        wait.instances.discard(instance)
        if wait.instances:
            return None
        del self._open[step_key, text]
        return wait.since
