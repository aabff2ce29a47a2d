"""moto's classes and state, by name: they are changed at run time, which their types don't foresee."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["part"]


def part(path: str) -> Any:
    """Return what `module:name` names inside moto (or the fork of it inside LocalStack)."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(f"moto.{module}"), name)
