"""Lets Ray's raylets start workers by our `setup_worker.py`: named by `RAY_START_HOOK`, which `ray start` calls."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["START_HOOK", "use_quick_setup"]

START_HOOK = "rayform_runtime.cluster.step_workers.start_hook.use_quick_setup"


def use_quick_setup(ray_params: Any, head: bool) -> None:
    """Name our set-up in the raylet's command.

    Args:
        ray_params: Ray's `RayParams` of the node that is about to start.
        head: whether it is the head; as Ray gives it, and of no matter here.
    """
    # Ray tells a set-up by its file's name, and leaves it out where a worker has no runtime environment.
    ray_params.setup_worker_path = str(Path(__file__).with_name("setup_worker.py"))
    os.environ.pop("RAY_START_HOOK", None)  # Workers, and what steps start, have no use for it.
