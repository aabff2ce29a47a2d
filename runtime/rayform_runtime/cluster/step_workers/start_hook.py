"""Makes raylets start workers by our `setup_worker.py`. `ray start` calls the hook that `RAY_START_HOOK` names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray._private.parameter import RayParams

__all__ = ["START_HOOK", "use_quick_setup"]

START_HOOK = "rayform_runtime.cluster.step_workers.start_hook.use_quick_setup"


def use_quick_setup(ray_params: RayParams, head: bool) -> None:
    """Put our set-up into the raylet's command.

    Args:
        ray_params: Ray's parameters of the node that is about to start.
        head: whether the node is the head; Ray passes it, and it makes no difference here.
    """
    # Ray knows a set-up by its file's name, and skips it for workers without a runtime environment.
    ray_params.setup_worker_path = str(Path(__file__).with_name("setup_worker.py"))
    os.environ.pop("RAY_START_HOOK", None)  # Neither workers nor the processes of steps need it.
