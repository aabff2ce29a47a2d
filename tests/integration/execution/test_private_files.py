"""Everything that a run makes on this machine is private to its user."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import json, os, stat, sys
from pathlib import Path

from rayform import pipeline, step


def modes(*roots):
    found = {}
    for root in roots:
        for folder, folders, files in os.walk(root):
            for name in [*folders, *files]:
                path = os.path.join(folder, name)
                found[path] = os.lstat(path).st_mode
    return found


@step
def make() -> list[int]:
    print("a line")
    return list(range(100_000))


@step
def look(values: list[int]) -> str:
    return json.dumps(modes(os.environ["RAYFORM_HOME"], os.environ["TMPDIR"]))


@pipeline
def watched():
    return look(make())


if __name__ == "__main__":
    run = watched()
    print(run.steps["look"].output.load())
"""


def test_a_run_opens_nothing_to_others(tmp_path: Path) -> None:
    """With the usual umask of 022, no folder or file that a run makes, while it runs or after, is open to others."""
    project, home, temporary = tmp_path / "project", tmp_path / "deep" / "er" / "home", tmp_path / "tmp"
    project.mkdir()
    temporary.mkdir()
    (project / "watched.py").write_text(_PROGRAM)
    done = subprocess.run(
        [sys.executable, "watched.py"],
        cwd=project,
        env={**os.environ, "RAYFORM_HOME": str(home), "TMPDIR": str(temporary), "RAYFORM_PROGRESS": "off"},
        capture_output=True,
        text=True,
        umask=0o022,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    modes: dict[str, int] = json.loads(done.stdout.strip().splitlines()[-1])
    for root in (tmp_path / "deep", home, temporary):
        for path in [root, *root.rglob("*")]:
            modes[str(path)] = path.lstat().st_mode
    del modes[str(temporary)]
    assert any(path.startswith(str(home / "local" / "artifacts")) for path in modes)
    folders = {path: oct(mode & 0o777) for path, mode in modes.items() if stat.S_ISDIR(mode)}
    assert {path: mode for path, mode in folders.items() if mode != "0o700"} == {}
    files = {path: oct(mode & 0o777) for path, mode in modes.items() if stat.S_ISREG(mode)}
    assert {path: mode for path, mode in files.items() if int(mode, 8) & 0o077} == {}
