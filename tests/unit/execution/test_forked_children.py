"""Children that a step forks end on SIGTERM, whatever handler the worker has."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_START = """
import os, signal, sys, time
from rayform_runtime.execution.worker.forked_children import end_on_sigterm

def ours(number, frame):
    sys.exit(1)

def of_the_step(number, frame):
    os._exit(7)

signal.signal(signal.SIGTERM, ours)
reading, writing = os.pipe()
"""

_EARLY = """
# Called in the child before the functions of `end_on_sigterm`: the signal has come by the time that they run.
os.register_at_fork(after_in_child=lambda: os.read(reading, 1))
end_on_sigterm()
end_on_sigterm()
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
os.kill(child, signal.SIGTERM)
os.write(writing, b"x")
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(signal.getsignal(signal.SIGTERM) is ours, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""

_OF_THE_STEP = """
end_on_sigterm()
signal.signal(signal.SIGTERM, of_the_step)
child = os.fork()
if child == 0:
    os.write(writing, b"x")
    time.sleep(60)
os.read(reading, 1)
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def printed(program: str) -> list[str]:
    """Run a program and return the lines that it printed."""
    command = [sys.executable, "-c", _START + program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.timeout(60)
def test_a_child_ends_on_a_signal_that_comes_while_it_starts() -> None:
    """The signal isn't lost between the fork and the child's first instruction, and the parent keeps its handler."""
    assert printed(_EARLY) == [str(-signal.SIGTERM), "True set()"]


@pytest.mark.timeout(60)
def test_a_child_keeps_the_handler_that_the_step_set() -> None:
    """As in a plain Python process."""
    assert printed(_OF_THE_STEP) == ["7"]
