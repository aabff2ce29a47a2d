"""Stored artifact versions as inputs: which values in a pipeline's body stand for one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

__all__ = ["stored_version_id", "stored_version_ids"]


def stored_version_ids(value: Any) -> list[str]:
    """Return the IDs of all versions that `value` stands for: several for what a mapped step made."""
    versions = getattr(value, "versions", None)
    if stored_version_id(value) is not None and isinstance(versions, tuple):
        return [str(version.id) for version in versions]
    found = stored_version_id(value)
    return [] if found is None else [found]


def stored_version_id(value: Any) -> str | None:
    """Return the ID of the artifact version that `value` stands for, or `None` where it is something else.

    Both the catalog's record and what `Client().get_artifact_version(...)` returns count. They are told by
    what they have rather than by class, so that tracing needs not import the client.
    """
    if not type(value).__module__.startswith(("rayform.", "rayform_runtime.catalog.")):
        return None
    identifier = getattr(value, "id", None)
    if isinstance(identifier, UUID) and hasattr(value, "uri") and hasattr(value, "materializer"):
        return str(identifier)
    return None
