"""Whether a process of the emulated cloud is alive, also in the moment of its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from rayform_localstack import processes


def sleeper(memory: int = 0) -> subprocess.Popen[bytes]:
    """Return a process that waits, holding this many bytes of touched memory."""
    code = f"import sys; held = b'x' * {memory}; print('up', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def identity(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Return what the cloud's state keeps of a process."""
    return process.pid, processes.started(process.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_a_process_is_dead_from_the_moment_it_was_killed() -> None:
    """A killed process counts as dead though the kernel is still freeing its memory."""
    for _ in range(10):
        with sleeper(memory=200_000_000) as process:
            known = identity(process)
            assert processes.alive(known)
            os.kill(process.pid, signal.SIGKILL)
            assert not processes.alive(known)


def test_stop_returns_once_the_process_has_ended() -> None:
    """After `stop` there is nothing left of the process that could hold a port."""
    with sleeper(memory=50_000_000) as process:
        processes.stop(identity(process))
        assert process.poll() is not None or psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE


def test_a_reused_id_is_another_process() -> None:
    """A process with the same ID and another start time is neither alive nor stopped."""
    with sleeper() as process:
        pid, began = identity(process)
        other = (pid, began - 100)
        assert not processes.alive(other)
        processes.stop(other)
        assert processes.alive((pid, began))
        process.kill()
