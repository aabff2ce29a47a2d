"""Turns Ctrl-C and SIGTERM into requests to stop, so that they interrupt no commit."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["leave_on_terminate", "stop_on_signals"]


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C and every SIGTERM into a stop request; a second Ctrl-C raises `KeyboardInterrupt`.

    Only the main thread receives signals; in another thread this changes nothing.

    Args:
        stop: makes the stop request.

    Yields:
        a function that returns whether Ctrl-C came.
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
    takes_terminate = old_terminate in (signal.SIG_DFL, None) or _is_rays(old_terminate)
    signal.signal(signal.SIGINT, on_interrupt)
    if takes_terminate:
        signal.signal(signal.SIGTERM, on_terminate)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, old_interrupt)
        if takes_terminate:
            # `None` stands for a handler that Python can't restore: Ray's in C, which only prints a stack.
            signal.signal(signal.SIGTERM, old_terminate if old_terminate is not None else signal.SIG_DFL)


@contextmanager
def leave_on_terminate(last_words: str) -> Iterator[None]:
    """Let SIGTERM end this process with a message, for a process that only follows work done elsewhere.

    Args:
        last_words: the message, written to standard error.
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before is not signal.SIG_DFL:
        yield
        return

    def on_terminate(_signum: int, _frame: object) -> None:
        sys.stderr.write(f"{last_words}\n")
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, on_terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_rays(handler: object) -> bool:
    """Return whether `ray.init` set the handler; its handler ends the process and leaves the run unfinished."""
    return str(getattr(handler, "__module__", "")).partition(".")[0] == "ray"
