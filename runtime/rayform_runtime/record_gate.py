"""Holds a running step's catalog back until what came before the step is recorded.

The scheduler lets a step begin while it is still writing the end of the step before it (ADR 46). A step that looks into
the catalog, for instance for the model that the step before it made, must find it there. So the step's first
transaction waits until the step's own beginning is recorded: that is in the same commit as what came before, or in a
later one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["await_record", "catalog_waits_for"]

LONGEST = 30.0
"""Seconds. A commit takes a millisecond, or some hundred on a busy disk or a far database."""

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
    """Wait if a step runs whose beginning isn't recorded yet; each transaction of a catalog calls this.

    After `LONGEST` seconds it warns and waits no more: the scheduler may be cut off, and that isn't the step's fault.
    """
    global _is_recorded, _asking
    if _is_recorded is None:
        return
    with _lock:
        asked = _is_recorded
        if asked is None or _asking:
            return
        _asking = True  # `is_recorded` reads the catalog in this thread; other threads wait for the lock
        try:
            _poll(asked)
        finally:
            _asking = False
        if (
            _is_recorded is asked
        ):  # otherwise a thread of an earlier step asked, and this step has its own question
            _is_recorded = None


def _poll(is_recorded: Callable[[], bool]) -> None:
    """Ask until the answer is yes, or until the step that asks has ended."""
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
