"""Children that a step forks end on SIGTERM, as those of a plain Python process do."""

from __future__ import annotations

import os
import signal
import threading

__all__ = ["end_on_sigterm"]


def end_on_sigterm() -> None:
    """Take this process's own handler of SIGTERM away from children that it forks from now on.

    A worker of Ray has a handler in Python. Its children inherit it, and Python runs it between two instructions: a
    child that is about to wait for a semaphore notes the signal and then waits for ever. `multiprocessing.Pool` ends
    its children by SIGTERM and joins them, so a pool that forks would hang in some runs. A handler that the step sets
    itself is left to its children.
    """
    ours = signal.getsignal(signal.SIGTERM)
    if ours in (signal.SIG_DFL, signal.SIG_IGN, None) or ours in _replaced:
        return
    _replaced.append(ours)
    kept = threading.local()

    # Blocked during the fork: a signal that comes before the child has its handler waits until then.
    def before() -> None:
        kept.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def after_in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept.mask)

    def after_in_child() -> None:
        if signal.getsignal(signal.SIGTERM) is ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, kept.mask)

    os.register_at_fork(before=before, after_in_parent=after_in_parent, after_in_child=after_in_child)


_replaced: list[object] = []
"""Handlers for which the functions around a fork are in place; they can't be taken away."""
