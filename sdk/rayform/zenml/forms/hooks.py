"""ZenML's ready-made hooks."""

from __future__ import annotations

from rayform.context import get_step_context
from rayform.logger import get_logger

__all__ = ["alerter_failure_hook", "alerter_success_hook"]

_ADVICE = (
    "Rayform's stacks have no alerter, so nobody was notified. Write a hook that posts the message: a hook is a plain "
    "function that runs in the step's worker."
)


def alerter_success_hook() -> None:
    """Log that a step succeeded: Rayform's stacks have no alerter that could post it."""
    context = get_step_context()
    get_logger(__name__).warning(
        "Step '%s' of run '%s' succeeded. %s", context.step_name, context.run_name, _ADVICE
    )


def alerter_failure_hook(exception: BaseException) -> None:
    """Log that a step failed: Rayform's stacks have no alerter that could post it."""
    context = get_step_context()
    get_logger(__name__).warning(
        "Step '%s' of run '%s' failed with %s: %s. %s",
        context.step_name,
        context.run_name,
        type(exception).__name__,
        exception,
        _ADVICE,
    )
