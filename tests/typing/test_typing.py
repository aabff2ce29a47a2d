"""An editor completes what people write: mypy and pyright agree on a file of intended user code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
INTENDED = Path(__file__).with_name("intended_use.py")


@pytest.mark.slow
def test_mypy_accepts_intended_use(tmp_path: Path) -> None:
    """mypy in strict mode sees the types that the file asserts and refuses what it marks as wrong."""
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "--config-file="]
    rooms = [
        str(REPOSITORY / room) for room in ("core", "sdk", "runtime", "server", "provisioner", "localstack")
    ]
    done = subprocess.run(
        [
            *command,
            "--ignore-missing-imports",
            "--follow-imports=silent",
            f"--cache-dir={tmp_path}",
            INTENDED,
        ],
        cwd=REPOSITORY,
        env={**os.environ, "MYPYPATH": os.pathsep.join(rooms)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_pyright_accepts_intended_use(tmp_path: Path) -> None:
    """pyright sees the types that the file asserts and refuses what it marks as wrong."""
    settings = {
        "include": [str(INTENDED)],
        "extraPaths": [str(REPOSITORY / room) for room in ("core", "sdk", "runtime")],
        "pythonVersion": "3.11",
        "typeCheckingMode": "standard",
        "reportMissingImports": "none",
        "reportMissingModuleSource": "none",
        "reportUnnecessaryTypeIgnoreComment": "error",
        "enableTypeIgnoreComments": False,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
