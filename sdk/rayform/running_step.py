"""The step that this process is running, if any, as the SDK needs it.

Only the worker imports the step's context, so on a laptop these questions cost a look-up in `sys.modules`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from rayform_runtime.catalog.saving import SavedIn
    from rayform_runtime.components import Stack
    from rayform_runtime.context import StepContext

__all__ = ["running_model_version", "running_stack", "running_step", "saved_in_step"]


def running_step() -> StepContext | None:
    """Return the context of the step that runs in this thread; `None` outside of steps."""
    context = sys.modules.get("rayform_runtime.context")
    if context is None or not context.is_in_step():
        return None
    step: StepContext = context.get_step_context()
    return step


def running_stack() -> Stack | None:
    """Return the stack of the running step; `None` outside of steps."""
    step = running_step()
    return None if step is None else step.stack


def saved_in_step() -> SavedIn | None:
    """Return the running step, as the one that saves an artifact version now; `None` outside of steps."""
    step = running_step()
    if step is None:
        return None
    from rayform_runtime.catalog.saving import SavedIn

    position = 1000 * (step.attempt - 1) + step.additions.saved  # earlier tries may have saved versions too
    step.additions.saved += 1
    return SavedIn(step.step_info.id, step.run_id, position)


def running_model_version() -> UUID | None:
    """Return the model version that the running step works on; `None` if there is none."""
    step = running_step()
    return None if step is None else step.model_version_id
