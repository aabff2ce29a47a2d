"""What the SDK asks of the step that this process is running, if it runs one.

The step's context is only ever imported by the worker, so that asking costs a look-up in `sys.modules` on a
laptop.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from rayform_runtime.components import Stack

__all__ = ["await_record", "running_model_version", "running_stack", "running_step"]


def running_step() -> Any | None:
    """Return the context of the step that runs in this thread, or `None` outside of steps."""
    context = sys.modules.get("rayform_runtime.context")
    if context is None or not context.is_in_step():
        return None
    return context.get_step_context()


def running_stack() -> Stack | None:
    """Return the stack of the running step, or `None` outside of steps."""
    step = running_step()
    return None if step is None else step.stack


def running_model_version() -> UUID | None:
    """Return the model version that the running step works on, or `None`."""
    step = running_step()
    return None if step is None else step.model_version_id


def await_record() -> None:
    """Wait, in a step, until all that came before it is recorded."""
    gate = sys.modules.get("rayform_runtime.record_gate")
    if gate is not None:
        gate.await_record()
