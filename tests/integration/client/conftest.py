"""A home and a project folder of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rayform.stacks.open import close_stacks


@pytest.fixture(autouse=True)
def closed_stacks() -> Iterator[None]:
    """Connections to a test's catalog end with the test."""
    yield
    close_stacks()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder in which commands run, with a home beside it."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAYFORM_PROGRESS", "plain")
    for variable in ("RAYFORM_STACK", "RAYFORM_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
