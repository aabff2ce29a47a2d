"""A counter of changes that the supervisor waits for, so that it acts at once and never polls."""

from __future__ import annotations

import threading

__all__ = ["Changes"]


class Changes:
    """Counts changes of what must be real, and wakes everyone who waits for the next one."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.count = 1

    def bump(self) -> None:
        """Count a change."""
        with self._condition:
            self.count += 1
            self._condition.notify_all()

    def wait(self, seen: int, timeout: float) -> int:
        """Return the count once it differs from `seen`, or after `timeout` seconds."""
        with self._condition:
            self._condition.wait_for(lambda: self.count != seen, timeout)
            return self.count
