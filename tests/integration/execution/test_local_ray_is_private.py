"""What others on this machine and in its network can reach of a Ray that a run starts here."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rayform_runtime.execution.on_ray.session_folder import SessionFolder

pytestmark = [pytest.mark.ray, pytest.mark.slow]

_PROGRAM = """
import json, os, sys, time
import psutil
from rayform_runtime.execution.on_ray import local_ray

local_ray.start_local_ray(cpus=1)
import ray

assert ray.get(ray.remote(lambda: os.getpid()).remote()) > 0
me = psutil.Process()
listening = [
    (process.name(), connection.laddr.ip, connection.laddr.port)
    for process in [me, *me.children(recursive=True)]
    for connection in process.net_connections("inet")
    if connection.status == "LISTEN"
]
print(json.dumps({"listening": listening, "folder": str(local_ray._folder.path)}), flush=True)
sys.stdin.read()
"""


def _started(tmp_path: Path) -> tuple[subprocess.Popen[str], dict[str, object]]:
    environment = {**os.environ, "RAYFORM_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    line = next((line for line in process.stdout if line.startswith("{")), "")
    if not line:
        process.communicate("", timeout=60)
        pytest.fail("the Ray didn't start")
    return process, json.loads(line)


def _wait_until(gone: Path) -> bool:
    deadline = time.monotonic() + 20
    while gone.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not gone.exists()


def test_a_local_ray_is_private_and_leaves_nothing(tmp_path: Path) -> None:
    """Every port is on loopback, none serves metrics, the folder is 0700, and it is gone with the process."""
    process, facts = _started(tmp_path)
    try:
        listening = facts["listening"]
        assert isinstance(listening, list)
        assert listening
        assert {ip for _, ip, _ in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
        assert not {port for _, _, port in listening} & {44217, 44227}
        folder = Path(str(facts["folder"]))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        process.communicate("", timeout=60)
    assert process.returncode == 0
    assert _wait_until(folder)


def test_a_killed_ray_is_cleaned_up_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a process that was killed is removed by the next one; that of a living process stays."""
    process, facts = _started(tmp_path)
    folder = Path(str(facts["folder"]))
    held = SessionFolder()
    try:
        assert folder.exists()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        deadline = time.monotonic() + 20
        while folder.exists() and time.monotonic() < deadline:
            SessionFolder().close()  # Ray's processes end a moment after the one that started them
            time.sleep(0.2)
        assert not folder.exists()
        assert held.path.exists()
    finally:
        held.close()
    assert not held.path.exists()
