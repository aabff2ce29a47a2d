"""What has happened in a run and isn't in the catalog yet: ends and beginnings of steps, and who hears of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rayform_runtime.catalog.entities import StepFinish, StepStart
from rayform_runtime.execution.interface import Listener, RunEvent

__all__ = ["Unrecorded"]

_MOST = 64
"""Beginnings and ends that may wait for their commit while others go on."""
_LONGEST_WAIT = 0.01
"""Seconds that a step's beginning waits for others to share its commit, and the end of a step that took less."""


class Unrecorded:
    """Holds changes until they are written in one commit, and events until then, so that a listener finds them there.

    Args:
        listener: gets every event.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._changes: list[StepStart | StepFinish] = []
        self._events: list[RunEvent] = []
        self._keys: set[str] = set()
        self._since = 0.0
        self._is_due = False

    def add(
        self, change: StepStart | StepFinish, *, cache_key: str | None = None, seconds: float | None = None
    ) -> None:
        """Hold a change.

        Args:
            change: the beginning or the end of a step.
            cache_key: what an end can be found under once it is recorded.
            seconds: how long the step took that ended; more than a commit may wait is never left to chance.
        """
        if not self._changes:
            self._since = time.monotonic()
        self._changes.append(change)
        # Below zero where the worker's clock was set back: nobody knows then.
        is_short = seconds is not None and 0.0 <= seconds <= _LONGEST_WAIT
        if isinstance(change, StepFinish) and not is_short:
            self._is_due = True
        if cache_key:
            self._keys.add(cache_key)

    def tell(self, event: RunEvent) -> None:
        """Tell an event now, or after what happened before it is recorded."""
        if self._changes:
            self._events.append(event)
        else:
            self._listener(event)

    def __bool__(self) -> bool:
        return bool(self._changes)

    @property
    def is_full(self) -> bool:
        """Whether no more may wait."""
        return len(self._changes) >= _MOST

    def due_in(self) -> float:
        """In how many seconds it must be recorded; the end of a step that took long, at once."""
        return 0.0 if self._is_due else self._since + _LONGEST_WAIT - time.monotonic()

    def holds_any(self, cache_keys: Sequence[str]) -> bool:
        """Whether a result with one of these keys waits to be recorded."""
        return not self._keys.isdisjoint(cache_keys)

    def record(self, write: Callable[[Sequence[StepStart | StepFinish]], None]) -> None:
        """Write all in one commit, then tell what waited for it; where writing raises, all is still held."""
        write(self._changes)
        events = self._events
        self.take()
        for event in events:
            self._listener(event)

    def take(self) -> list[StepStart | StepFinish]:
        """Return what is held and hold nothing more; its events are told to nobody."""
        changes, self._changes, self._events = self._changes, [], []
        self._is_due = False
        self._keys.clear()
        return changes
