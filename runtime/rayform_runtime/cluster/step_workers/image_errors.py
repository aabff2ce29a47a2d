"""How the step-image plugin marks its errors, so that the scheduler tells them from Ray's own."""

from __future__ import annotations

__all__ = ["IMAGE_ERROR_MARK"]

IMAGE_ERROR_MARK = "rayform-step-image: "
"""The plugin puts this before its own sentence; Ray wraps it in a traceback as text."""
