"""A local store, and a function that takes a value through it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rayform_core.ids import new_id
from rayform_runtime.artifacts.stores.config import LocalStoreConfig
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.artifacts.values import SavedValue, load_value, save_value


@pytest.fixture
def local_store(tmp_path: Path) -> LocalArtifactStore:
    """An empty local store."""
    return LocalArtifactStore(LocalStoreConfig(path=str(tmp_path / "store")), stack_name="test")


@pytest.fixture
def through(local_store: LocalArtifactStore) -> Callable[..., tuple[Any, SavedValue]]:
    """Save a value, load it again, and return it with what saving returned."""

    def go(value: Any, **options: Any) -> tuple[Any, SavedValue]:
        saved = save_value(local_store, new_id(), value, **options)
        loaded = load_value(
            local_store,
            saved.uri,
            digest=saved.manifest.digest,
            type=saved.manifest.type,
            materializer=saved.manifest.materializer,
        )
        assert saved.summary
        assert len(saved.summary) <= 72
        assert "\n" not in saved.summary
        return loaded, saved

    return go
