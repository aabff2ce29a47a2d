"""A home and a project folder of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.homes import closed_stacks, rayform_home

__all__ = ["closed_stacks", "project", "rayform_home"]


@pytest.fixture
def project(rayform_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project folder in which commands run; its home is next to it."""
    monkeypatch.setenv("RAYFORM_PROGRESS", "plain")
    return rayform_home.with_name("project")
