"""How far a reader must follow a step through the worker's code: files entered, and returns to files already left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import rayform_runtime

# The traced step comes after another one in the same worker. The record is kept at `sys`, since a worker whose modules
# have changed would run no other step.
SCRIPT = """
import json, os, sys
from rayform import pipeline, step

def record(frame, event, argument):
    if event == "call":
        sys.calls.append((frame.f_code.co_filename, frame.f_code.co_name))

@step
def first() -> int:
    sys.calls = []
    sys.setprofile(record)
    return 1

@step
def traced(x: int) -> int:
    return x + 1

@step
def last(x: int) -> int:
    sys.setprofile(None)
    with open(os.environ["CALLS"], "w") as file:
        json.dump(sys.calls, file)
    return x

@pipeline(enable_cache=False)
def way():
    last(traced(first()))

if __name__ == "__main__":
    way()
"""
ROOT = Path(rayform_runtime.__file__).parent
ROOMS = ("execution/", "usercode/")
MOST_FILES, MOST_RETURNS = 10, 8


def test_a_step_enters_few_files_of_the_worker_and_returns_to_few(tmp_path: Path) -> None:
    """From the arrival of a warm step's task to its answer, it takes 10 files and 8 returns at most."""
    script, calls = tmp_path / "way.py", tmp_path / "calls.json"
    script.write_text(SCRIPT)
    environment = {**os.environ, "RAYFORM_HOME": str(tmp_path / "home"), "CALLS": str(calls)}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    recorded = json.loads(calls.read_text())
    names = [name for _, name in recorded]
    start = names.index("receive")
    end = names.index("pack", start)
    assert "traced" in names[start:end]
    entered: list[str] = []
    way: list[str] = []
    for file, name in recorded[names.index("_run", start) : end]:
        place = Path(file).relative_to(ROOT).as_posix() if Path(file).is_relative_to(ROOT) else ""
        if place.startswith(ROOMS) and (not way or place != entered[-1]):
            entered.append(place)
            way.append(f"{place} {name}")
    files = set(entered)
    assert len(files) <= MOST_FILES, way
    assert len(entered) - len(files) <= MOST_RETURNS, way
