"""Signals that stop a run, or only what shows it."""

import os
import signal
import subprocess
import sys

import pytest

from rayform_runtime.processes.stop_signals import leave_on_terminate, stop_on_signals


@pytest.fixture(autouse=True)
def _handler():
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def as_ray_sets_it(*_):
    raise AssertionError("the run was not asked to stop")


as_ray_sets_it.__module__ = "ray._private.worker"


@pytest.mark.parametrize("before", [signal.SIG_DFL, as_ray_sets_it], ids=["default", "ray"])
def test_sigterm_stops_the_run(before):
    """Also where a local Ray has put its own handler there, which comes back afterwards."""
    signal.signal(signal.SIGTERM, before)
    stops = []
    with stop_on_signals(lambda: stops.append(1)) as interrupted:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stops, interrupted()) == ([1], False)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_persons_own_handler_stays():
    """A program that takes SIGTERM itself goes on doing so while it runs a pipeline."""
    came = []
    own = lambda *_: came.append(1)  # noqa: E731
    signal.signal(signal.SIGTERM, own)
    with stop_on_signals(lambda: came.append("stop")), leave_on_terminate("bye"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert came == [1]


def test_what_shows_a_run_elsewhere_leaves_with_a_word():
    """The exit code is the signal's, the words say how to go on, and the clean-up is done."""
    program = """
import os, signal
from rayform_runtime.processes.stop_signals import leave_on_terminate
try:
    with leave_on_terminate("The run goes on."):
        os.kill(os.getpid(), signal.SIGTERM)
finally:
    print("cleaned up", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "cleaned up\n", "The run goes on.\n")
