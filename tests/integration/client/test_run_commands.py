"""`rayform runs` on runs that are at work: follow, logs -f, stop, resume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rayform.stacks import register_stack, rename_stack, update_stack
from rayform.stacks.components import register_component

PIPELINE = """
import os, pathlib, time
from rayform import pipeline, step

@step(enable_cache=False)
def first() -> int:
    print("first speaks", flush=True)
    with open("first-runs", "a") as file:
        file.write("x")
    return 1

@step(enable_cache=False)
def second(value: int) -> int:
    print("second waits", flush=True)
    gate = pathlib.Path(os.environ["GATE"])
    while not gate.exists():
        time.sleep(0.05)
    if gate.read_text() == "fail":
        raise ValueError("told to fail")
    print("second goes on", flush=True)
    return value + 1

@pipeline
def gated() -> None:
    second(first())

if __name__ == "__main__":
    gated()
"""


def rayform(project: Path, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "rayform.cli", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture
def gate(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that lets the second step go on; the pipeline's script lies in the project."""
    path = tmp_path / "gate"
    monkeypatch.setenv("GATE", str(path))
    (project / "gated.py").write_text(PIPELINE)
    return path


def start(project: Path) -> subprocess.Popen[bytes]:
    """Start the pipeline and wait until its second step has printed something."""
    with (project / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "gated.py"], cwd=project, stdout=output, stderr=output, env=dict(os.environ)
        )
    deadline = time.monotonic() + 60
    while "second waits" not in (project / "output").read_text():
        assert process.poll() is None, (project / "output").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def newest(project: Path) -> dict[str, str]:
    """Return the newest run, as `runs list --json` shows it."""
    found: dict[str, str] = json.loads(rayform(project, "runs", "list", "--json").stdout)["items"][0]
    return found


def test_follow_and_logs_of_a_run_at_work(project: Path, gate: Path) -> None:
    """Both show what was printed so far, and end when the run ends."""
    process = start(project)
    try:
        name = newest(project)["name"]
        watchers = [
            subprocess.Popen(
                [sys.executable, "-m", "rayform.cli", "runs", *arguments, name],
                cwd=project,
                stdout=subprocess.PIPE,
                text=True,
            )
            for arguments in (["follow"], ["logs", "-f"])
        ]
        assert watchers[1].stdout is not None
        assert watchers[1].stdout.readline() == "first | first speaks\n"
        gate.write_text("go")
        outputs = [watcher.communicate(timeout=60)[0] for watcher in watchers]
        assert [watcher.returncode for watcher in watchers] == [0, 0]
        assert "second | second goes on" in outputs[0]
        assert "second: completed" in outputs[0]
        assert "second | second goes on" in outputs[1]
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()


def test_stop_and_resume(project: Path, gate: Path) -> None:
    """A stopped run ends soon and goes on later under its own name, without running again what it finished."""
    process = start(project)
    try:
        run = newest(project)
        stopped = rayform(project, "runs", "stop", run["name"])
        assert stopped.returncode == 0, stopped.stderr
        assert process.wait(timeout=60) != 0
        assert newest(project)["status"] == "stopped"
        gate.write_text("go")
        resumed = rayform(project, "runs", "resume", run["name"])
        assert resumed.returncode == 0, resumed.stderr
        again = newest(project)
        assert (again["id"], again["status"]) == (run["id"], "completed")
        assert (project / "first-runs").read_text() == "x"
    finally:
        process.kill()
        process.wait()


@pytest.mark.fault
def test_killed_run_is_interrupted_and_resumes(project: Path, gate: Path) -> None:
    """A run whose process is killed shows as interrupted at the next command, and goes on where it ended."""
    process = start(project)
    process.kill()
    process.wait()
    run = newest(project)
    assert run["status"] == "interrupted"
    gate.write_text("fail")
    failed = rayform(project, "runs", "resume", run["name"])
    assert failed.returncode == 1
    assert "told to fail" in failed.stderr + failed.stdout
    assert newest(project)["status"] == "failed"
    gate.write_text("go")
    assert rayform(project, "runs", "resume", run["name"]).returncode == 0
    assert (project / "first-runs").read_text() == "x"


@pytest.fixture
def failed_on_other(project: Path, gate: Path) -> dict[str, str]:
    """A run that failed on the stack `other`, which shares its catalog with the active stack `default`."""
    register_component("orchestrator", "other", flavor="local", config={"max_workers": 1})
    register_stack("other", orchestrator="other")
    gate.write_text("fail")
    began = subprocess.run(
        [sys.executable, "gated.py"],
        cwd=project,
        env={**os.environ, "RAYFORM_STACK": "other"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert began.returncode == 1, began.stderr
    gate.write_text("go")
    return newest(project)


def test_a_run_goes_on_on_its_own_stack(project: Path, failed_on_other: dict[str, str]) -> None:
    """A run of a stack that isn't active goes on there, under the start of its name too."""
    name = failed_on_other["name"]
    resumed = rayform(project, "runs", "resume", name[:-2])
    assert resumed.returncode == 0, resumed.stderr
    assert f"Run {name} on stack 'other'" in resumed.stderr + resumed.stdout
    assert (newest(project)["status"], newest(project)["stack_name"]) == ("completed", "other")
    assert (project / "first-runs").read_text() == "x"


def test_another_stack_than_the_runs_own_is_refused(project: Path, failed_on_other: dict[str, str]) -> None:
    """Resuming on another stack names the stack that the run began on, and changes nothing."""
    refused = rayform(project, "runs", "resume", failed_on_other["name"], "--stack", "default")
    assert (refused.returncode, "began on stack 'other', not on 'default'" in refused.stderr) == (4, True)
    assert newest(project) == failed_on_other
    named = rayform(project, "runs", "resume", failed_on_other["name"], "--stack", "other")
    assert named.returncode == 0, named.stderr


def test_a_run_of_a_renamed_stack_goes_on_where_that_is_named(
    project: Path, failed_on_other: dict[str, str]
) -> None:
    """A run whose stack isn't registered names the nearest ones; its stack under another name takes it up."""
    rename_stack("other", "others")
    lost = rayform(project, "runs", "resume", failed_on_other["name"])
    assert (lost.returncode, "no stack 'other'" in lost.stderr, "'others'" in lost.stderr) == (3, True, True)
    assert newest(project) == failed_on_other
    resumed = rayform(project, "runs", "resume", failed_on_other["name"], "--stack", "others")
    assert resumed.returncode == 0, resumed.stderr


def test_a_run_that_its_stacks_catalog_lacks_is_refused(
    project: Path, failed_on_other: dict[str, str], tmp_path: Path
) -> None:
    """A run whose stack was given another catalog goes on nowhere, and the error names both stacks."""
    register_component(
        "catalog", "elsewhere", flavor="sqlite", config={"path": str(tmp_path / "elsewhere.db")}
    )
    update_stack("other", catalog="elsewhere")
    refused = rayform(project, "runs", "resume", failed_on_other["name"])
    assert (refused.returncode, "doesn't hold it" in refused.stderr) == (4, True), refused.stderr
    assert "catalog of stack 'default'" in refused.stderr
    assert newest(project) == failed_on_other
