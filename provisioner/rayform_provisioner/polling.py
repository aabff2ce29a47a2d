"""Waiting for a change that nothing reports, by asking again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["wait_until"]


def wait_until(check: Callable[[], bool], seconds: float, pause: float = 0.5) -> bool:
    """Call `check` until it returns true or `seconds` have passed; return whether it did.

    Args:
        check: asks once.
        seconds: how long to go on asking.
        pause: seconds before the second call; each later pause is half as long again, up to 10 seconds.
    """
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 10)
    return True
