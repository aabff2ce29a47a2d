"""Metadata and tags of runs, artifacts and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from rayform.reading.views.reader import Reader

__all__ = ["log_to", "update_tags"]


def log_to(client: Reader, subject: str, id: UUID, metadata: Mapping[str, Any]) -> None:
    """Add metadata to a run, artifact or model; a key that exists gets the new value.

    Args:
        subject: `run`, `step_run`, `artifact`, `artifact_version`, `model` or `model_version`.
        id: the subject's UUID.
        metadata: values by key.
    """
    from rayform_runtime.catalog.entities import Subject

    client.catalog.log_metadata(Subject(subject), id, metadata)


def update_tags(client: Reader, subject: str, id: UUID, add: Sequence[str], remove: Sequence[str]) -> None:
    """Add and remove tags of a run, artifact or model; see `log_to`."""
    if isinstance(add, str) or isinstance(remove, str):
        raise UsageError("Tags must be a list of strings, not one string.")
    if add or remove:
        from rayform_runtime.catalog.entities import Subject

        client.catalog.update_tags(Subject(subject), id, add=add, remove=remove)
