"""One fixture, `store`: an empty store of each implementation in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rayform_runtime.artifacts.config import LocalStoreConfig
from rayform_runtime.artifacts.interface import ArtifactStore
from rayform_runtime.artifacts.local import LocalArtifactStore


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches and staging folders of this test alone."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(params=["local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactStore]:
    """An empty store."""
    yield LocalArtifactStore(LocalStoreConfig(path=str(tmp_path / "store with space")), stack_name="test")
