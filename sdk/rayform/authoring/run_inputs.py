"""Values that a pipeline's body passes to steps and that only materializers can store: inputs of the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from rayform_runtime.artifacts.materializers.base import Materializer
    from rayform_runtime.artifacts.values import StagedValue
    from rayform_runtime.components import Stack

__all__ = ["ExternalArtifact", "RunInputs"]


class ExternalArtifact:
    """A value, or a stored version, that a pipeline's body passes to a step as an artifact.

    A value that no parameter can hold, such as a data frame, may also be passed as it is.

    Args:
        value: the value; it is saved once as an input of the run, under a name that its content gives.
        materializer: class that saves and loads the value; by default looked up by type.
        id: ID of a stored version, in place of a value.

    Raises:
        UsageError: both a value and an ID are given, or neither is.

    Example:
        >>> train(ExternalArtifact(value=[1.0, 2.0]))  # doctest: +SKIP
    """

    __slots__ = ("id", "materializer", "value")

    def __init__(
        self,
        value: Any = None,
        *,
        materializer: type[Materializer] | None = None,
        id: UUID | str | None = None,
    ) -> None:
        if (value is None) == (id is None):
            raise UsageError(
                "An ExternalArtifact has either a value or the ID of a stored version.",
                hint="Write `ExternalArtifact(value=...)` or `ExternalArtifact(id=...)`.",
            )
        try:
            self.id = None if id is None else UUID(str(id))
        except ValueError:
            raise UsageError(
                f"{id!r} is not the ID of an artifact version.",
                hint="An ID is a UUID; `rayform artifacts versions` lists them.",
            ) from None
        self.value = value
        self.materializer = materializer

    def __repr__(self) -> str:
        return f"ExternalArtifact({f'id={self.id}' if self.id else f'value of type {type(self.value).__name__}'})"


class RunInputs:
    """The values of one pipeline call that are stored as artifacts.

    `add` writes a value's files to a temporary folder at once, so that the step gets the value as it was when it was
    passed. `save` commits them when the stack is known. Nothing is left of values that are never saved.
    """

    def __init__(self) -> None:
        self._staged: dict[UUID, StagedValue] = {}  # by version ID; grows with `add`
        self._folder: TemporaryDirectory[str] | None = None  # made by the first `add`

    def add(self, value: object, *, what: str, materializer: type[Materializer] | None = None) -> UUID:
        """Take a value; return the ID of its version, which is made of its content.

        Args:
            value: the value.
            what: how an error names it, such as `"Argument 'rows' of step 'train'"`.
            materializer: saves it; by default looked up by type.

        Raises:
            UsageError: no materializer takes it, or its type can't be imported by a worker.
        """
        import tempfile

        from rayform_runtime.artifacts.import_paths import import_path, is_importable
        from rayform_runtime.artifacts.materializers.registry import UnsupportedTypeError
        from rayform_runtime.artifacts.values import stage_value

        kind = type(value)
        if not is_importable(kind):
            raise UsageError(
                f"{what} can't be a {import_path(kind)}.",
                why="The type can't be imported by that name, so no worker could load the value.",
                hint="Define the class at the top level of a module.",
            )
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="rayform-inputs-")
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        try:
            staged = stage_value(value, folder, materializer=materializer)
        except UnsupportedTypeError as error:
            raise not_storable(what, value, error) from error
        if staged.id not in self._staged:
            self._staged[staged.id] = staged
        return staged.id

    def save(self, stack: Stack) -> None:
        """Commit all values to the stack's store, and record those that its catalog doesn't have.

        Raises:
            RayformError: the store or the catalog can't be written.
        """
        if not self._staged:
            return
        from rayform_runtime.artifacts.values import commit_staged
        from rayform_runtime.catalog.entities import NewArtifactVersion

        known = stack.catalog.get_artifact_versions(list(self._staged))
        for staged in self._staged.values():
            uri = commit_staged(stack.artifact_store, staged)
            if staged.id in known and known[staged.id].uri == uri:
                continue
            stack.catalog.create_artifact_version(
                NewArtifactVersion(
                    id=staged.id,
                    artifact_name=f"input::{staged.type.rpartition(':')[2].rpartition('.')[2]}",
                    uri=uri,
                    type=staged.type,
                    materializer=staged.materializer,
                    digest=staged.digest,
                    size=staged.size,
                    artifact_type=staged.artifact_type,
                    version=staged.id.hex[:12],
                    metadata=staged.metadata,
                )
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def not_storable(what: str, value: object, error: UsageError) -> UsageError:
    """Return the error for a value that can be neither written into the pipeline nor saved."""
    kind = type(value)
    return UsageError(
        f"{what} can't be a {kind.__module__}.{kind.__qualname__}.",
        why=f"{error.message} {error.why or ''}".strip(),
        hint="Make the value in a step; or save it with `save_artifact(value, name, materializer=...)` and give the "
        "step the stored version; or pass `ExternalArtifact(value=..., materializer=...)`.",
    )
