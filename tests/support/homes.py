"""Fixtures: a home of its own for each test, and a client of its default stack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rayform.reading.client import Client
from rayform.stacks.open import close_stacks


@pytest.fixture(autouse=True)
def closed_stacks() -> Iterator[None]:
    """Close the connections to a test's catalog after the test."""
    yield
    close_stacks()


@pytest.fixture
def rayform_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty home, no variables of Rayform, and a working folder without a pinned stack; return the home."""
    home = tmp_path / "home"
    monkeypatch.setenv("RAYFORM_HOME", str(home))
    for variable in ("RAYFORM_STACK", "RAYFORM_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    return home


@pytest.fixture
def client(rayform_home: Path) -> Iterator[Client]:
    """A client of the default stack."""
    with Client() as opened:
        yield opened
