"""Starts and ends of steps that are not in the catalog yet, and the events that wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_runtime.catalog.entities import StepFinish, StepStart
from rayform_runtime.catalog.interface import CatalogBusyError
from rayform_runtime.execution.interface import Listener, RunEvent
from rayform_runtime.execution.scheduling.records import note

__all__ = ["PendingRecords"]

_MOST = 64
"""How many starts and ends may wait for one commit."""
_LONGEST_WAIT = 0.01
"""Seconds that a step's start waits for others to share its commit. The end of a shorter step waits as long."""


class PendingRecords:
    """Holds changes until they are written in one commit.

    It holds the events that follow a change as long, so that a listener finds the change in the catalog.

    Args:
        listener: gets every event.
        write: writes changes to the catalog in this order, in one commit.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        listener: Listener,
        write: Callable[[Sequence[StepStart | StepFinish]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener = listener
        self._write = write
        self._clock = clock
        # The next five grow with `add` and `tell`, and are empty again after each commit.
        self._changes: list[StepStart | StepFinish] = []  # in the order in which they happened
        self._events: list[RunEvent] = []  # happened after the first of the changes
        self._cache_keys: set[str] = set()  # those of the ends among the changes
        self._since = 0.0  # when the first of the changes came
        self._is_due = False  # whether one of the changes must not wait

    def __bool__(self) -> bool:
        return bool(self._changes)

    @property
    def is_full(self) -> bool:
        """Whether no more may wait."""
        return len(self._changes) >= _MOST

    def due_in(self) -> float:
        """Return in how many seconds the changes must be written; 0 if one is the end of a step that took long."""
        return 0.0 if self._is_due else self._since + _LONGEST_WAIT - self._clock()

    def holds_any(self, cache_keys: Sequence[str]) -> bool:
        """Whether a result with one of these keys waits to be written."""
        return not self._cache_keys.isdisjoint(cache_keys)

    def add(
        self, change: StepStart | StepFinish, *, cache_key: str | None = None, seconds: float | None = None
    ) -> None:
        """Hold a change.

        Args:
            change: the start or the end of a step.
            cache_key: the key under which the cache has the result once the end is written.
            seconds: how long the step took. The end of a step that took longer than a commit may wait is due at
                once.
        """
        if not self._changes:
            self._since = self._clock()
        self._changes.append(change)
        # Below zero if the worker's clock was set back: then nobody knows how long the step took.
        is_short = seconds is not None and 0.0 <= seconds <= _LONGEST_WAIT
        if isinstance(change, StepFinish) and not is_short:
            self._is_due = True
        if cache_key:
            self._cache_keys.add(cache_key)

    def tell(self, event: RunEvent) -> None:
        """Pass an event on, now or as soon as the changes before it are written."""
        if self._changes:
            self._events.append(event)
        else:
            self._listener(event)

    def write(self) -> None:
        """Write all changes in one commit, then pass on the events. If writing raises, the changes are still held."""
        if not self._changes:
            return
        self._write(self._changes)
        events = self._events
        self._take()
        for event in events:
            self._listener(event)

    def rescue(self, error: BaseException) -> None:
        """Write what the catalog still accepts after `error`, and note on `error` what it does not.

        The events are lost.
        """
        changes = self._take()
        # A change that the catalog refuses must not keep the others out. If it can't be reached, one try is enough.
        for some in [[change] for change in changes] if _is_refusal(error) else [changes]:
            try:
                self._write(some)
            except Exception as second:  # noqa: BLE001 - shown as a note of the first
                note(error, "One of the last steps couldn't be recorded", second)
                if not _is_refusal(second):
                    break

    def _take(self) -> list[StepStart | StepFinish]:
        """Return the changes and hold nothing more."""
        changes, self._changes, self._events = self._changes, [], []
        self._is_due = False
        self._cache_keys.clear()
        return changes


def _is_refusal(error: BaseException) -> bool:
    """Whether the catalog was reached and did not accept a change."""
    if isinstance(error, CatalogBusyError):
        return False
    return isinstance(error, ConflictError | NotFoundError | UsageError)
