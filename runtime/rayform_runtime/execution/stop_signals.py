"""Ctrl-C and SIGTERM as requests to stop, so that nothing is cut off in the middle of a commit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["stop_on_signals"]


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C (and SIGTERM) into a stop request, and the second into an interrupt at once.

    Only the main thread can take signals; elsewhere this changes nothing. The value says whether Ctrl-C came.
    """
    interrupted = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def on_interrupt(_signum: int, _frame: object) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        stop()

    def on_terminate(_signum: int, _frame: object) -> None:
        stop()

    old_interrupt = signal.getsignal(signal.SIGINT)
    old_terminate = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGINT, on_interrupt)
    if old_terminate is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, on_terminate)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, old_interrupt)
        if old_terminate is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, old_terminate)
