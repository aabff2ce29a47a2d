"""Artifacts and their versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from rayform.reading.views.base import Field, TagName, View, tag_names

if TYPE_CHECKING:
    from rayform.reading.views.reader import Reader
    from rayform.reading.views.runs import RunView, StepRunView
    from rayform_runtime.catalog.entities import (
        Artifact,  # noqa: F401 - a base class names it in quotes
        ArtifactVersion,
        Visualization,
    )

__all__ = ["ArtifactVersionView", "ArtifactView", "Output"]


AsType: TypeAlias = type | Mapping[str, type] | None
"""A type to load a value as, or types by the import paths of those that they replace."""


class ArtifactVersionView(View["ArtifactVersion"]):
    """One immutable value of an artifact.

    Example:
        >>> Client().get_artifact_version("digits", 3).load()  # doctest: +SKIP
    """

    id: Field[UUID] = Field()
    """Its UUID."""
    name: Field[str] = Field()
    """The artifact's name."""
    version: Field[str] = Field()
    """Its version: a number, or a user-defined name."""
    number: Field[int | None] = Field()
    """Its number, or `None` if a user named it."""
    uri: Field[str] = Field()
    """Where its data is stored."""
    type: Field[str] = Field("artifact_type")
    """What kind of artifact it is: `data`, `model`, …"""
    data_type: Field[str] = Field("type")
    """Import path of the value's type."""
    materializer: Field[str] = Field()
    """Import path of the materializer that saved it."""
    digest: Field[str] = Field()
    """Digest of its data; equal data has equal digests."""
    size: Field[int] = Field()
    """Bytes that it takes in the store."""
    created: Field[datetime] = Field("created_at")
    """When it was made."""
    tags: Field[list[TagName]] = Field(copy=tag_names)
    """Its tags."""

    @cached_property
    def run_metadata(self) -> dict[str, Any]:
        """Its metadata: what materializers extracted and what users logged."""
        if self.record.metadata:
            return dict(self.record.metadata)
        # Lists leave metadata out; read it now.
        return dict(self.client.catalog.get_artifact_version(self.id).metadata)

    @property
    def artifact(self) -> ArtifactView:
        """The artifact that it is a version of."""
        return self.client.get_artifact(self.record.artifact_id)

    @property
    def step(self) -> StepRunView | None:
        """The step run that made it; `None` if a user saved it, or if the run was deleted."""
        step_run_id = self.record.producer_step_run_id
        return self.client.get_run_step(step_run_id) if step_run_id else None

    @property
    def run(self) -> RunView | None:
        """The run that made it; `None` as for `step`."""
        run_id = self.record.producer_run_id
        return self.client.get_pipeline_run(run_id) if run_id else None

    visualizations: Field[tuple[Visualization, ...]] = Field()
    """The pictures of the value that are stored with it."""

    def load(self, *, as_type: AsType = None, trust_pickle: bool = False) -> Any:
        """Load the value and verify its data against the digest.

        Args:
            as_type: the type to make of it, for a value whose own type was renamed or moved; or types by the import
                paths (`"module:Name"`) of those that they replace, wherever in the value these are.
            trust_pickle: whether the value may run code, as a pickle does, and import any module. By default only
                values that your own runs made on this machine may.

        Raises:
            IntegrityError: its data is missing, or differs from what was committed; its type is gone, or no longer
                fits.
            PrerequisiteError: a package that it needs isn't installed.
        """
        return self.client.load_version(self.record, as_type=as_type, trust_pickle=trust_pickle)

    def read(self) -> Any:
        """Load the value (ZenML's older name of `load`)."""
        return self.load()

    def download(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Copy the artifact's files.

        Args:
            path: a folder that doesn't exist yet, or a `.zip` file to pack them into.
            overwrite: replace what is there.

        Returns:
            The path.

        Raises:
            ConflictError: the path exists, and `overwrite` isn't set.
        """
        return self.client.download_version(self.record, Path(path), overwrite=overwrite)

    def download_files(self, path: str | Path, overwrite: bool = False) -> None:
        """Copy the artifact's files into a `.zip` file (ZenML's name)."""
        self.download(path, overwrite=overwrite)

    def visualize(self, name: str | None = None) -> Any:
        """Show its visualizations in a notebook; elsewhere return their content.

        Args:
            name: of one visualization; all by default.

        Returns:
            Nothing in a notebook; elsewhere the content by name, as text (bytes for images).

        Raises:
            NotFoundError: it has no visualization of this name, or none at all.
        """
        from rayform.reading.visualizations import show

        return show(self.record, self.client.artifact_store, name)

    def log_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to its metadata."""
        self.client.log_to("artifact_version", self.id, metadata)
        self.__dict__.pop("run_metadata", None)
        self.record = self.client.catalog.get_artifact_version(self.id)

    def summary(self) -> dict[str, object]:
        """See `View.summary`."""
        return {
            "name": self.name,
            "version": self.version,
            "id": self.id,
            "type": self.type,
            "data type": self.data_type,
            "size": self.size,
            "tags": self.tags,
            "created": self.created,
            "uri": self.uri,
        }


class Output(ArtifactVersionView):
    """One input or output of a step run: nearly always one artifact version, whose attributes it has.

    It is also a sequence of versions: write `outputs["model"].load()` or, as in ZenML, `outputs["model"][0].load()`.
    If a mapped step made several versions, or a step joins several, `load()` returns the list of their values, and
    all other attributes are those of the first version.
    """

    def __init__(self, versions: Sequence[ArtifactVersion], client: Reader) -> None:
        super().__init__(versions[0], client)
        self.versions = tuple(ArtifactVersionView(v, client) for v in versions)

    def load(self, *, as_type: AsType = None, trust_pickle: bool = False) -> Any:
        """Load the value, or the list of values if there are several versions; see `ArtifactVersionView.load`."""
        values = [version.load(as_type=as_type, trust_pickle=trust_pickle) for version in self.versions]
        return values[0] if len(values) == 1 else values

    def __len__(self) -> int:
        return len(self.versions)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> ArtifactVersionView:
        return self.versions[index]

    def __iter__(self) -> Iterator[ArtifactVersionView]:
        return iter(self.versions)


class ArtifactView(View["Artifact"]):
    """A named series of versions."""

    id: Field[UUID] = Field()
    """Its UUID."""
    name: Field[str] = Field()
    """Its name."""
    tags: Field[list[TagName]] = Field(copy=tag_names)
    """Its tags."""
    created: Field[datetime] = Field("created_at")
    """When its first version was made."""
    latest_version_name: Field[str | None] = Field("latest_version")
    """The name of its newest version."""
    run_metadata: Field[dict[str, Any]] = Field("metadata", dict)
    """Metadata of the artifact itself, not of its versions."""

    @property
    def versions(self) -> dict[str, ArtifactVersionView]:
        """Its versions by name, newest first."""
        page = self.client.list_artifact_versions(artifact=self.name, size=10_000)
        return {version.version: version for version in page}

    def summary(self) -> dict[str, object]:
        """See `View.summary`."""
        return {
            "name": self.name,
            "latest version": self.latest_version_name,
            "tags": self.tags,
            "created": self.created,
            "id": self.id,
        }
