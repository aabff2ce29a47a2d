"""A counter that the supervisor waits on, so that it acts at once and never polls."""

from __future__ import annotations

import threading

__all__ = ["Changes"]


class Changes:
    """Counts changes of what the API wants; waiters wake on the next one."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.count = 1

    def bump(self) -> None:
        """Say that something changed."""
        with self._condition:
            self.count += 1
            self._condition.notify_all()

    def wait(self, seen: int, timeout: float) -> int:
        """Return the count once it differs from `seen`, or after `timeout` seconds."""
        with self._condition:
            self._condition.wait_for(lambda: self.count != seen, timeout)
            return self.count
