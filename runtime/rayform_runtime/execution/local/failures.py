"""The error of a step whose worker process died: timeout, exit code, out of memory, crash or signal."""

from __future__ import annotations

import signal

from rayform_runtime.catalog.entities import StepError

__all__ = ["explain_death"]

_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSYS)


def explain_death(
    exit_status: int | None, *, timeout: float | None = None, memory_ran_out: bool = False
) -> StepError:
    """Return the error of a step whose worker process died.

    Args:
        exit_status: as `subprocess.Popen.returncode`: negative for a signal; `None` if it isn't known.
        timeout: the step's timeout in seconds, if the worker was killed because of it.
        memory_ran_out: whether the kernel has killed a process for want of memory meanwhile.
    """
    if timeout is not None:
        return StepError(
            "Timeout",
            f"It ran for more than its timeout of {timeout:g} seconds and was ended. "
            "Its log shows where it stood.",
        )
    if exit_status is None:
        return StepError("Crash", "Its process closed its connection and was ended.")
    if exit_status >= 0:
        return StepError(
            "Crash",
            f"Its process ended with exit code {exit_status} in the middle of the step "
            "(`os._exit`, or native code that gave up).",
        )
    number = -exit_status
    if number == signal.SIGKILL and memory_ran_out:
        return StepError(
            "OutOfMemory",
            "The kernel ended its process because memory ran out. Let the step use less, or declare "
            "`memory` in the resources of the steps, so that fewer run at once.",
        )
    if number == signal.SIGKILL:
        return StepError(
            "Crash", "Its process was killed (SIGKILL). If nobody did that by hand, memory ran out."
        )
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number in _CRASHES:
        return StepError("Crash", f"Its process died of {name}; native code that it called crashed.")
    return StepError("Crash", f"Its process was ended by {name}, which it or another process sent.")
