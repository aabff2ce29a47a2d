"""What a head writes about itself, and what a laptop reads of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from rayform_core.version import __version__
from rayform_runtime.cluster.machine.answers import AutostopStatus, HeadStatus
from rayform_runtime.cluster.machine.status import read_status, status_json, write_status


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The status file of a head, in a folder of the test's own."""
    path = tmp_path / "status.json"
    monkeypatch.setenv("RAYFORM_HEAD_STATUS", str(path))
    return path


def test_a_head_that_wrote_nothing_boots() -> None:
    """Without a file, or with half of one, a head isn't ready."""
    assert (read_status().ready, read_status().phase) == (False, "booting")
    assert HeadStatus.read(b'{"ready": tr') == HeadStatus()


def test_a_change_leaves_the_other_fields(file: Path) -> None:
    """Start and watch write different fields, and each keeps what the other wrote."""
    write_status(HeadStatus(phase="Ray runs", ready=True, ray_version="2.60.0"))
    write_status(
        HeadStatus(activity="idle", autostop=AutostopStatus(idle_minutes=5, stops_at=time.time() + 60))
    )
    status = HeadStatus.read(file.read_bytes())
    assert (status.ready, status.ray_version, status.activity) == (True, "2.60.0", "idle")
    assert status.version == __version__ and status.autostop is not None
    assert 50 < (status.autostop.stops_in() or 0) <= 60
    assert 50 < json.loads(status_json())["autostop"]["stops_in"] <= 60


def test_a_countdown_that_ended_is_gone() -> None:
    """Activity in the cluster takes the time of the stop away."""
    write_status(HeadStatus(autostop=AutostopStatus(stops_at=time.time() + 60)))
    write_status(HeadStatus(autostop=AutostopStatus()))
    status = read_status()
    assert status.autostop is not None and status.autostop.stops_in() is None


def test_a_status_of_a_newer_head_is_read() -> None:
    """Fields that this version doesn't know are left alone."""
    assert HeadStatus.read(b'{"ready": true, "phase": "Ray runs", "new": 1}').ready
