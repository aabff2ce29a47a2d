"""Loads the value of an artifact version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayform_runtime.artifacts.interface import ArtifactStore
    from rayform_runtime.catalog.interface import ArtifactVersion

__all__ = ["load_version"]


def load_version(record: ArtifactVersion, store: ArtifactStore) -> Any:
    """Load the value of a version from its store; `Client` and views come here."""
    if record.external:
        from rayform.registered_data import fetch

        return fetch(store, record.uri, digest=record.digest)
    from rayform_runtime.artifacts.values import load_value

    return load_value(
        store, record.uri, digest=record.digest, type=record.type, materializer=record.materializer
    )
