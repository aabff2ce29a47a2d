"""The mark on errors of the step-image plugin, which tells them from Ray's own errors."""

from __future__ import annotations

__all__ = ["IMAGE_ERROR_MARK"]

IMAGE_ERROR_MARK = "rayform-step-image: "
"""The plugin puts this before its message; Ray wraps the message in a traceback, as text."""
