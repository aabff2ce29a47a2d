"""Artifacts and their versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform.reading.views.base import View

if TYPE_CHECKING:
    from rayform.reading.client import Client
    from rayform.reading.views.runs import RunView, StepRunView
    from rayform_runtime.catalog.entities import Artifact, ArtifactVersion, Visualization

__all__ = ["ArtifactVersionView", "ArtifactView", "Output"]


class ArtifactVersionView(View):
    """One immutable value of an artifact.

    Example:
        >>> Client().get_artifact_version("digits", 3).load()  # doctest: +SKIP
    """

    def __init__(self, record: ArtifactVersion, client: Client) -> None:
        self.record = record
        self.client = client

    @property
    def id(self) -> UUID:
        """Its UUID."""
        return self.record.id

    @property
    def name(self) -> str:
        """The artifact's name."""
        return self.record.name

    @property
    def version(self) -> str:
        """Its version: a number, or a person's own name."""
        return self.record.version

    @property
    def number(self) -> int | None:
        """Its number, where it was numbered automatically."""
        return self.record.number

    @property
    def uri(self) -> str:
        """Where its data lies."""
        return self.record.uri

    @property
    def type(self) -> str:
        """What it is to people: `data`, `model`, …"""
        return self.record.artifact_type

    @property
    def data_type(self) -> str:
        """Import path of the value's type."""
        return self.record.type

    @property
    def materializer(self) -> str:
        """Import path of what saved it."""
        return self.record.materializer

    @property
    def digest(self) -> str:
        """Digest of its data; equal values have equal ones."""
        return self.record.digest

    @property
    def size(self) -> int:
        """Bytes in the store."""
        return self.record.size

    @property
    def created(self) -> datetime:
        """When it was made."""
        return self.record.created_at

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self.record.tags)

    @cached_property
    def run_metadata(self) -> dict[str, Any]:
        """Its metadata: what materializers found out and what people logged."""
        if self.record.metadata:
            return dict(self.record.metadata)
        # Lists leave metadata out; one more look gets it.
        return dict(self.client.catalog.get_artifact_version(self.id).metadata)

    @property
    def artifact(self) -> ArtifactView:
        """The artifact that it is a version of."""
        return self.client.get_artifact(self.record.artifact_id)

    @property
    def step(self) -> StepRunView | None:
        """The step run that made it, or `None` where a person saved it, or the run was deleted."""
        made_by = self.record.producer_step_run_id
        return self.client.get_run_step(made_by) if made_by else None

    @property
    def run(self) -> RunView | None:
        """The run that made it, likewise."""
        made_in = self.record.producer_run_id
        return self.client.get_pipeline_run(made_in) if made_in else None

    @property
    def visualizations(self) -> tuple[Visualization, ...]:
        """Pictures of the value that are stored with it."""
        return self.record.visualizations

    def load(self) -> Any:
        """Load the value, verified against its digest.

        Raises:
            IntegrityError: its data is gone, or isn't what was committed.
            PrerequisiteError: a package that it needs isn't installed.
        """
        return self.client.load_version(self.record)

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
        """Show its visualizations in a notebook, or return their text elsewhere.

        Args:
            name: of one visualization; all unless told.

        Returns:
            In a notebook nothing; elsewhere a dict of name to text (bytes for images).

        Raises:
            NotFoundError: it has no visualization of that name, or none at all.
        """
        from rayform.reading.visualizations import show

        return show(self, name)

    def log_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to its metadata."""
        self.client.log_to("artifact_version", self.id, metadata)
        self.__dict__.pop("run_metadata", None)
        self.record = self.client.catalog.get_artifact_version(self.id)

    def summary(self) -> dict[str, Any]:
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
    """What a step run got or made under one name: nearly always one version, which it then is.

    It is also a sequence of its versions: `outputs["model"].load()` and, as in ZenML, `outputs["model"][0].load()`.
    Where a mapped step made several, or a step joins several, `load()` returns the list of values, and the rest
    is that of the first.
    """

    def __init__(self, versions: Sequence[ArtifactVersion], client: Client) -> None:
        super().__init__(versions[0], client)
        self.versions = tuple(ArtifactVersionView(v, client) for v in versions)

    def load(self) -> Any:
        """Load the value, or the list of values where there are several versions."""
        loaded = [version.load() for version in self.versions]
        return loaded[0] if len(loaded) == 1 else loaded

    def __len__(self) -> int:
        return len(self.versions)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> ArtifactVersionView:
        return self.versions[index]

    def __iter__(self) -> Iterator[ArtifactVersionView]:
        return iter(self.versions)


class ArtifactView(View):
    """A named series of versions."""

    def __init__(self, record: Artifact, client: Client) -> None:
        self.record = record
        self.client = client

    @property
    def id(self) -> UUID:
        """Its UUID."""
        return self.record.id

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self.record.tags)

    @property
    def created(self) -> datetime:
        """When its first version was made."""
        return self.record.created_at

    @property
    def latest_version_name(self) -> str | None:
        """Its newest version."""
        return self.record.latest_version

    @property
    def run_metadata(self) -> dict[str, Any]:
        """Metadata of the artifact itself."""
        return dict(self.record.metadata)

    @property
    def versions(self) -> dict[str, ArtifactVersionView]:
        """Its versions by name, newest first."""
        found = self.client.list_artifact_versions(artifact=self.name, size=10_000)
        return {version.version: version for version in found}

    def summary(self) -> dict[str, Any]:
        """See `View.summary`."""
        return {
            "name": self.name,
            "latest version": self.latest_version_name,
            "tags": self.tags,
            "created": self.created,
            "id": self.id,
        }
