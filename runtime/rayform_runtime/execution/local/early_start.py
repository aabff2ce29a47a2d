"""Starts the process that workers fork from, before anything else is imported.

That process takes as long to import Rayform as the process that calls the pipeline. If it starts first, both import
at the same time, on two CPUs. This module imports the standard library alone.
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
        modules: what workers import in addition to the worker's own modules.
    """
    global _waiting
    if _waiting is None:
        from rayform_runtime.execution.local.choose_launcher import choose_launcher

        _waiting = choose_launcher(modules)
        atexit.register(discard_early_launcher)


def take_early_launcher() -> Launcher | None:
    """Return the launcher that was started early, or `None` from the second call on; the caller shuts it down."""
    global _waiting
    launcher, _waiting = _waiting, None
    return launcher


def discard_early_launcher() -> None:
    """End a launcher that nobody took, because the run is on another stack or never began. Idempotent."""
    launcher = take_early_launcher()
    if launcher is not None:
        # A second Ctrl-C has no effect here: this process is ending already.
        with contextlib.suppress(KeyboardInterrupt):
            launcher.shutdown()
