"""The error of a step whose worker died, for every way in which it can."""

from __future__ import annotations

import signal

import pytest

from rayform_runtime.execution.local.failures import explain_death


@pytest.mark.parametrize(
    ("exit_status", "timeout", "memory_ran_out", "kind", "text"),
    [
        (None, None, False, "Crash", "closed its connection"),
        (0, None, False, "Crash", "exit code 0 in the middle of the step"),
        (3, None, False, "Crash", "exit code 3"),
        (3, None, True, "Crash", "exit code 3"),
        (-signal.SIGKILL, None, False, "Crash", "killed (SIGKILL)"),
        (-signal.SIGKILL, None, True, "OutOfMemory", "memory ran out"),
        (-signal.SIGSEGV, None, False, "Crash", "died of SIGSEGV; native code"),
        (-signal.SIGABRT, None, True, "Crash", "died of SIGABRT; native code"),
        (-signal.SIGTERM, None, False, "Crash", "ended by SIGTERM, which it or another process sent"),
        (-signal.SIGRTMIN - 1, None, False, "Crash", f"ended by signal {signal.SIGRTMIN + 1}"),
        (-99, None, False, "Crash", "ended by signal 99"),
        (-signal.SIGKILL, 1.5, False, "Timeout", "more than its timeout of 1.5 seconds"),
        (-signal.SIGKILL, 60.0, True, "Timeout", "more than its timeout of 60 seconds"),
        (None, 0.5, False, "Timeout", "Its log shows where it stood"),
    ],
)
def test_each_end_has_its_error(
    exit_status: int | None, timeout: float | None, memory_ran_out: bool, kind: str, text: str
) -> None:
    """A timeout comes first, then the exit code, lack of memory, a crash of native code, and any other signal."""
    error = explain_death(exit_status, timeout=timeout, memory_ran_out=memory_ran_out)
    assert error.type == kind
    assert text in error.message
