"""`UnmaterializedArtifact`: an input that a step gets as its stored version, without its value."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from rayform.reading.views.artifacts import ArtifactVersionView

if TYPE_CHECKING:
    from rayform_runtime.components import Stack

__all__ = ["UnmaterializedArtifact"]


class UnmaterializedArtifact(ArtifactVersionView):
    """An artifact version that a step gets in place of its value: `uri`, `run_metadata`, and `load()` for the value.

    Example:
        >>> @step
        ... def inspect(model: UnmaterializedArtifact) -> str:
        ...     return model.uri
    """

    is_unloaded_input = True
    """Tells the worker to pass the version and to load nothing."""

    @classmethod
    def of_version(cls, id: UUID, stack: Stack) -> UnmaterializedArtifact:
        """Return a stored version, for a worker that runs a step."""
        from rayform.reading.client import Client

        client = Client(stack)
        return cls(client.catalog.get_artifact_version(id), client)
