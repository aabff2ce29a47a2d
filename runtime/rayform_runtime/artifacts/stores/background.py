"""One computation in a thread of its own, next to a transfer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Background"]

T = TypeVar("T")


class Background(threading.Thread, Generic[T]):
    """Computes a value in a thread of its own, which starts at once.

    Args:
        name: the thread's name.
        compute: returns the value.
    """

    def __init__(self, name: str, compute: Callable[[], T]) -> None:
        super().__init__(name=name, daemon=True)
        self._compute = compute
        self._values: list[T] = []
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Compute the value."""
        try:
            self._values.append(self._compute())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._error = error

    def result(self) -> T:
        """Wait for the value and return it, or raise what the computation raised."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._values[0]
