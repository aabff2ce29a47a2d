"""Holds a running step's catalog back until what came before the step is recorded.

The scheduler lets a step begin while it still writes the end of the step before it (ADR 46). A step that looks
into the catalog, for the model that the step before it made for instance, must find that there: its first look waits
for its own beginning, which is recorded in the same commit or in a later one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["await_record", "catalog_waits_for"]

LONGEST = 30.0
"""Seconds; a commit takes a millisecond, on a busy disk or a far database some hundred."""

_lock = threading.RLock()
_is_recorded: Callable[[], bool] | None = None
_asking = False


@contextmanager
def catalog_waits_for(is_recorded: Callable[[], bool]) -> Iterator[None]:
    """Let the first look into the catalog, inside this context, wait until `is_recorded` says so.

    It holds for the whole process, threads of the step included: a worker runs one step at a time.
    """
    global _is_recorded
    _is_recorded = is_recorded
    try:
        yield
    finally:
        _is_recorded = None


def await_record() -> None:
    """Wait where a step's catalog must wait; costs nothing elsewhere.

    After `LONGEST` seconds it warns and waits no more: the scheduler may be cut off, and the step is not to blame.
    """
    global _is_recorded, _asking
    if _is_recorded is None:
        return
    with _lock:
        asked = _is_recorded
        if asked is None or _asking:
            return
        _asking = True  # asking looks into the catalog itself, in this thread; others wait for the lock
        try:
            _poll(asked)
        finally:
            _asking = False
        if _is_recorded is asked:  # else a thread of the step before asked, and the next step has its own
            _is_recorded = None


def _poll(is_recorded: Callable[[], bool]) -> None:
    """Ask until the answer is yes, or the step that the question is of has ended."""
    deadline = time.monotonic() + LONGEST
    pause = 0.001
    while _is_recorded is is_recorded and not is_recorded():
        if time.monotonic() >= deadline:
            logging.getLogger("rayform.catalog").warning(
                "The scheduler hasn't recorded this step's beginning in %g seconds: "
                "the catalog may not show yet what came before it.",
                LONGEST,
            )
            return
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
