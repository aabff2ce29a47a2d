"""Loggers for steps and for Rayform itself: plain lines on standard error, which a run captures for each step."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

from rayform_core.errors import UsageError, nearest

__all__ = ["get_logger"]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`, since a worker replaces that for each step."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def get_logger(name: str) -> logging.Logger:
    """Return a logger whose lines reach the terminal, and in a step the step's log.

    The level is `$RAYFORM_LOGGING_VERBOSITY` (`DEBUG`, `INFO`, `WARNING`, `ERROR`, `CRITICAL`); `INFO` by default.
    The lines don't go to handlers on the root logger, so none is written twice.

    Args:
        name: usually `__name__`.

    Raises:
        UsageError: the variable doesn't hold a valid level.

    Example:
        >>> get_logger(__name__).info("Read %d rows", 1797)
    """
    logger = logging.getLogger(name)
    logger.setLevel(_level())
    if not any(isinstance(handler, _CurrentStderr) for handler in logger.handlers):
        handler = _CurrentStderr()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    return logger


def _level() -> int:
    level = os.environ.get("RAYFORM_LOGGING_VERBOSITY", "").strip().upper() or "INFO"
    if level == "WARN":
        level = "WARNING"
    if level not in _LEVELS:
        close = nearest(level, _LEVELS)
        raise UsageError(
            f"RAYFORM_LOGGING_VERBOSITY is '{level}', which is not a valid level.",
            hint=f"Did you mean {close[0]}?" if close else f"Set one of {', '.join(_LEVELS)}.",
        )
    return int(getattr(logging, level))
