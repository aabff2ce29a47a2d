"""A fresh default stack for each test, and scripts run as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Command


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test its own RAYFORM_HOME, and leave no process behind."""
    folder = tmp_path / "rayform-home"
    monkeypatch.setenv("RAYFORM_HOME", str(folder))
    monkeypatch.setenv("RAYFORM_PROGRESS", "off")
    monkeypatch.delenv("RAYFORM_STACK", raising=False)
    monkeypatch.delenv("RAYFORM_PROFILE", raising=False)
    hook = sys.excepthook
    yield folder
    sys.excepthook = hook
    from rayform.stacks.open import close_stacks
    from rayform_runtime.execution.local.early_start import discard_early_launcher

    close_stacks()
    discard_early_launcher()


@pytest.fixture
def command(home: Path, tmp_path: Path) -> Command:
    """Run a program of this environment in a folder of the test's: `command("python", "job.py")`."""

    def run(program: str, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "RAYFORM_HOME": str(home), "RAYFORM_PROGRESS": "plain"}
        return subprocess.run(
            [str(Path(sys.executable).with_name(program)), *arguments],
            cwd=folder or tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
