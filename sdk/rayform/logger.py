"""Loggers for steps and for Rayform itself: plain lines on standard error, which a run captures per step."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from rayform_core.errors import UsageError, nearest

__all__ = ["get_logger"]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class _CurrentStderr(logging.StreamHandler[Any]):
    """Writes to what `sys.stderr` is at that moment: a worker swaps it for each step."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def get_logger(name: str) -> logging.Logger:
    """Return a logger whose lines reach the terminal, and in a step the step's log.

    The level is `$RAYFORM_LOGGING_VERBOSITY` (`DEBUG`, `INFO`, `WARNING`, `ERROR`, `CRITICAL`), `INFO` unless set.
    Handlers that a person's program puts on the root logger are left alone, and get no line twice.

    Args:
        name: usually `__name__`.

    Raises:
        UsageError: the variable names no level.

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
    wanted = os.environ.get("RAYFORM_LOGGING_VERBOSITY", "").strip().upper() or "INFO"
    if wanted == "WARN":
        wanted = "WARNING"
    if wanted not in _LEVELS:
        close = nearest(wanted, _LEVELS)
        raise UsageError(
            f"RAYFORM_LOGGING_VERBOSITY is '{wanted}', which is no level.",
            hint=f"Did you mean {close[0]}?" if close else f"Levels: {', '.join(_LEVELS)}.",
        )
    return int(getattr(logging, wanted))
