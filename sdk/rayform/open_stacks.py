"""Stacks that this process has open: one of each, so that connections and warm workers are shared."""

from __future__ import annotations

import atexit
import threading
from typing import TYPE_CHECKING

from rayform.stacks import active_stack

if TYPE_CHECKING:
    from rayform_runtime.components import Stack, StackSpec

__all__ = ["close_stacks", "open_stack"]

_stacks: dict[str, Stack] = {}
_lock = threading.Lock()


def open_stack(stack: str | StackSpec | None = None) -> Stack:
    """Return a stack by name, or the active one; opened once a process and closed when it ends."""
    from rayform_runtime.components import Stack, StackSpec

    spec = stack if isinstance(stack, StackSpec) else active_stack(stack)
    key = spec.model_dump_json()
    with _lock:
        if key not in _stacks:
            if not _stacks:
                atexit.register(close_stacks)
            _stacks[key] = Stack(spec)
        return _stacks[key]


def close_stacks() -> None:
    """Release the connections and workers of all stacks that `open_stack` opened."""
    atexit.unregister(close_stacks)
    with _lock:
        while _stacks:
            _stacks.popitem()[1].close()
