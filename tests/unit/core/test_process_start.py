"""Programs that outlive a command are found again after the wall clock was set."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rayform_core.process_start import start_since_boot
from rayform_localstack import processes
from rayform_provisioner import stack_folder
from rayform_provisioner.stack_folder import Running, StackFolder

pytestmark = pytest.mark.skipif(
    not psutil.LINUX, reason="only Linux moves a process's start with the wall clock"
)


@pytest.fixture
def terraform(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program named as Terraform is, with a group of its own."""
    program = tmp_path / "terraform"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    process = subprocess.Popen([program, "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.fixture(params=[-86_400, 3, 86_400])
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Set the wall clock, as far as psutil can see: Linux's boot time moves with it."""
    from psutil import _pslinux

    def set_clock() -> None:
        boot = psutil.boot_time()
        monkeypatch.setattr(_pslinux, "boot_time", lambda: boot + request.param)
        monkeypatch.setattr(psutil, "boot_time", lambda: boot + request.param)

    yield set_clock


def test_a_process_starts_once() -> None:
    """The start is that of the kernel's clock since boot; a process that is gone has none."""
    own = start_since_boot(os.getpid())
    assert own is not None and 0 < own <= time.clock_gettime(time.CLOCK_BOOTTIME)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert start_since_boot(child.pid) is None


def test_terraform_of_a_killed_command_is_ended_whatever_the_clock(
    terraform: subprocess.Popen[bytes], clock: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would go on next to the command that the user runs again."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    folder = StackFolder("demo")
    folder.path.mkdir(parents=True)
    running = Running(operation="deploy", pid=1, who="me", started="2026-01-01T00:00:00+00:00", changes=True)
    folder.mark_terraform(running, terraform.pid)
    clock()  # type: ignore[operator]
    stack_folder._end_orphans(running)
    assert terraform.wait(10) == -signal.SIGINT


def test_the_emulated_cloud_is_still_up_whatever_the_clock(
    terraform: subprocess.Popen[bytes], clock: object
) -> None:
    """Its processes are the same before and after."""
    identity = (terraform.pid, processes.started(terraform.pid))
    clock()  # type: ignore[operator]
    assert processes.alive(identity)
    assert not processes.alive((terraform.pid, identity[1] - 2))
