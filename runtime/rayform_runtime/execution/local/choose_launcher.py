"""Chooses how this system starts worker processes: by forking, or as new interpreters."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rayform_runtime.execution.local.launcher import Launcher

__all__ = ["choose_launcher"]


def choose_launcher(modules: Sequence[str] = ()) -> Launcher:
    """Return the fastest launcher that is safe on this system.

    Args:
        modules: what workers import in addition to the worker's own modules.
    """
    if sys.platform.startswith("linux") and os.environ.get("RAYFORM_START_METHOD") != "spawn":
        from rayform_runtime.execution.local.fork_launcher import ForkLauncher

        return ForkLauncher(modules)
    from rayform_runtime.execution.local.spawn_launcher import SpawnLauncher

    return SpawnLauncher(modules)
