"""`rayform dashboard` as a process: started in the background, found again, stopped."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from rayform.cli import rayform
from rayform_core.errors import ConflictError, RayformError
from rayform_server import process


def invoke(*words: str) -> str:
    """Run a command and return what it prints."""
    result = CliRunner().invoke(rayform, ["dashboard", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_dashboard_in_the_background(rayform_home: Path) -> None:
    """It answers at the printed address once for each token, is small, private, and ends when it is asked to."""
    try:
        address = invoke("--detach", "--port", "0").split()[-1]
        state = process.running()
        assert state is not None
        assert urllib.request.urlopen(address).status == 200
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(address)
        again = invoke().split()[-1]
        assert again != address
        assert urllib.request.urlopen(again).status == 200
        files = [path for path in (rayform_home / "dashboard").iterdir() if path.is_file()]
        assert {path.stat().st_mode & 0o077 for path in files} == {0}
        listening = [c.laddr for c in psutil.Process(state.pid).net_connections() if c.status == "LISTEN"]
        assert [tuple(address) for address in listening] == [("127.0.0.1", state.port)]
        assert psutil.Process(state.pid).memory_info().rss < 75_000_000
    finally:
        stopped = invoke("stop")
    assert stopped == "The dashboard was stopped.\n"
    assert process.running() is None
    assert invoke("stop") == "No dashboard is running.\n"


def test_a_port_that_is_taken(rayform_home: Path) -> None:
    """The error names the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RayformError, match=str(port)):
            process.start_detached(stack="default", port=port)


def test_a_state_file_of_a_dead_process_counts_for_nothing(rayform_home: Path) -> None:
    """A dashboard that was killed doesn't keep the next one from starting."""
    file = rayform_home / "dashboard" / "state.json"
    file.parent.mkdir(parents=True)
    for text in (
        "",
        "{}",
        "[]",
        json.dumps({"pid": 2**22, "started": 0, "port": 1, "stack": "s", "key": ""}),
    ):
        file.write_text(text)
        assert process.running() is None


def test_a_second_dashboard_is_refused(rayform_home: Path) -> None:
    """One home has one dashboard; another port needs the first one to end."""
    try:
        process.start_detached(stack="default", port=0)
        with pytest.raises(ConflictError, match="already"):
            invoke("--port", "1")
    finally:
        process.stop()
