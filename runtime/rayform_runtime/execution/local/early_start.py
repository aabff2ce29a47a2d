"""Starts the process that workers come from before anything else is imported.

A worker needs as long to import Rayform as the process that calls the pipeline. Started as the very first
thing, it does so on another CPU meanwhile. Only the standard library is imported here.
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rayform_runtime.execution.local.launcher import Launcher

__all__ = ["discard_early_launcher", "start_early", "take_early_launcher"]

_waiting: Launcher | None = None


def start_early(modules: Sequence[str] = ()) -> None:
    """Start a launcher for the local orchestrator to take later. Returns at once; a second call does nothing.

    Args:
        modules: what workers will import beside the worker's own modules.
    """
    global _waiting
    if _waiting is None:
        from rayform_runtime.execution.local.launcher import default_launcher

        _waiting = default_launcher(modules)
        atexit.register(discard_early_launcher)


def take_early_launcher() -> Launcher | None:
    """Return the launcher that was started early, once; the caller shuts it down."""
    global _waiting
    taken, _waiting = _waiting, None
    return taken


def discard_early_launcher() -> None:
    """End a launcher that nobody took: the run is on another stack, or never came about. Idempotent."""
    taken = take_early_launcher()
    if taken is not None:
        # A second Ctrl-C while this process ends has said all there is to say.
        with contextlib.suppress(KeyboardInterrupt):
            taken.shutdown()
