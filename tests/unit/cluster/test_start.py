"""What a machine looks at before it starts Ray."""

from __future__ import annotations

import os
import subprocess
import sys

from rayform_runtime.cluster.machine.start import ray_processes


def test_ray_s_processes_are_found_and_ours_are_not():
    """A process of Ray's, by its program or its folder, is found; Rayform's own on the same machine aren't."""
    waiting = [sys.executable, "-c", "input()"]
    ray = subprocess.Popen([*waiting, "/x/site-packages/ray/dashboard/dashboard.py"], stdin=subprocess.PIPE)
    ours = subprocess.Popen([*waiting, "/opt/rayform/venv", str(os.getpid())], stdin=subprocess.PIPE)
    try:
        found = ray_processes()
        assert [line for line in found if "/x/site-packages/ray/dashboard" in line]
        assert not [line for line in found if f"/opt/rayform/venv {os.getpid()}" in line]
    finally:
        for process in (ray, ours):
            process.communicate(b"\n")
