"""Delays a running step's first catalog transaction until the steps before it are recorded.

The scheduler starts a step while it is still recording the end of the step before it (ADR 46). A step that reads the
catalog, for instance the model that the step before it made, must find that model there. So the step's first
transaction waits until the step's own start is recorded. The ends of the steps before it are in the same commit as
that start, or in an earlier one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["await_record", "catalog_waits_for"]

LONGEST = 30.0
"""Seconds. A commit takes a millisecond, or some hundred milliseconds on a busy disk or a distant database."""

_lock = threading.RLock()
_is_recorded: Callable[[], bool] | None = None
_asking = False


@contextmanager
def catalog_waits_for(is_recorded: Callable[[], bool]) -> Iterator[None]:
    """Make the first transaction inside this context wait until `is_recorded` returns true.

    This holds for the whole process, including the step's threads: a worker runs one step at a time.
    """
    global _is_recorded
    _is_recorded = is_recorded
    try:
        yield
    finally:
        _is_recorded = None


def await_record() -> None:
    """Wait until the start of the running step is recorded; each transaction of a catalog calls this.

    After `LONGEST` seconds it warns and stops waiting: the scheduler may be cut off, and that isn't the step's fault.
    """
    global _is_recorded, _asking
    if _is_recorded is None:
        return
    with _lock:
        check = _is_recorded
        if check is None or _asking:
            return
        _asking = True  # `is_recorded` reads the catalog in this thread; other threads wait for the lock
        try:
            _poll(check)
        finally:
            _asking = False
        # Another check belongs to the next step, which must wait by itself.
        if _is_recorded is check:
            _is_recorded = None


def _poll(is_recorded: Callable[[], bool]) -> None:
    """Call `is_recorded` until it returns true or the step has ended."""
    deadline = time.monotonic() + LONGEST
    pause = 0.001
    while _is_recorded is is_recorded and not is_recorded():
        if time.monotonic() >= deadline:
            import logging

            logging.getLogger("rayform.catalog").warning(
                "The scheduler hasn't recorded this step's beginning in %g seconds: "
                "the catalog may not show yet what came before it.",
                LONGEST,
            )
            return
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
