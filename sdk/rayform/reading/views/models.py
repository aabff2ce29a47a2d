"""Models and their versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform.reading.views.artifacts import ArtifactVersionView
from rayform.reading.views.base import Field, TagName, View, tag_names
from rayform_core.errors import NotFoundError

if TYPE_CHECKING:
    from rayform.reading.views.runs import RunView
    from rayform_runtime.catalog.entities import (
        Model,  # noqa: F401 - a base class names it in quotes
        ModelStage,
        ModelVersion,  # noqa: F401 - a base class names it in quotes
        StageChange,
    )

__all__ = ["ModelVersionView", "ModelView"]


class ModelView(View["Model"]):
    """A named series of model versions."""

    id: Field[UUID] = Field()
    """Its UUID."""
    name: Field[str] = Field()
    """Its name."""
    description: Field[str | None] = Field()
    """What it is for."""
    license: Field[str | None] = Field()
    """Its licence."""
    tags: Field[list[TagName]] = Field(copy=tag_names)
    """Its tags."""
    run_metadata: Field[dict[str, Any]] = Field("metadata", dict)
    """Metadata of the model itself, not of its versions."""
    created: Field[datetime] = Field("created_at")
    """When its first version was made."""
    latest_version_name: Field[str | None] = Field("latest_version")
    """The name of its newest version."""

    @property
    def versions(self) -> list[ModelVersionView]:
        """Its versions, newest first."""
        return list(self.client.list_model_versions(self.name, size=10_000))

    @property
    def stage_changes(self) -> list[StageChange]:
        """Its history of promotions, oldest first."""
        return self.client.catalog.list_stage_changes(self.id)

    def get_version(self, version: str | int | ModelStage | None = None) -> ModelVersionView:
        """Return one version; see `Client.get_model_version`."""
        return self.client.get_model_version(self.name, version)

    def summary(self) -> dict[str, object]:
        """See `View.summary`."""
        return {
            "name": self.name,
            "latest version": self.latest_version_name,
            "description": self.description,
            "license": self.license,
            "tags": self.tags,
            "created": self.created,
            "id": self.id,
        }


class ModelVersionView(View["ModelVersion"]):
    """One version of a model."""

    id: Field[UUID] = Field()
    """Its UUID."""
    name: Field[str] = Field("version")
    """Its name: the same as `version`; `model.name` is the model's."""
    model_name: Field[str] = Field("name")
    """The model's name."""
    version: Field[str] = Field()
    """Its version: a number, or a user-defined name."""
    number: Field[int | None] = Field()
    """Its number, or `None` if a user named it."""
    stage: Field[ModelStage] = Field()
    """Its stage."""
    description: Field[str | None] = Field()
    """What distinguishes it."""
    tags: Field[list[TagName]] = Field(copy=tag_names)
    """Its tags."""

    @cached_property
    def run_metadata(self) -> dict[str, Any]:
        """Its metadata."""
        if self.record.metadata:
            return dict(self.record.metadata)
        return dict(self.client.catalog.get_model_version(self.record.name, self.record.version).metadata)

    created: Field[datetime] = Field("created_at")
    """When it was made."""

    @property
    def model(self) -> ModelView:
        """The model that it is a version of."""
        return self.client.get_model(self.record.model_id)

    @property
    def pipeline_runs(self) -> dict[str, RunView]:
        """The runs that are linked to it, by name."""
        runs = (self.client.get_pipeline_run(run_id) for run_id in self.record.run_ids)
        return {run.name: run for run in runs}

    @cached_property
    def artifact_versions(self) -> list[ArtifactVersionView]:
        """The artifact versions that are linked to it, newest first."""
        records = self.client.catalog.list_model_version_artifacts(self.id)
        return [ArtifactVersionView(record, self.client) for record in records]

    def get_artifact(self, name: str, version: str | int | None = None) -> ArtifactVersionView | None:
        """Return a linked artifact version, by default the newest of its name; `None` if none is linked."""
        return self._find(name, version, lambda _: True)

    def get_model_artifact(self, name: str, version: str | int | None = None) -> ArtifactVersionView | None:
        """Like `get_artifact`, for artifacts of type `model`."""
        return self._find(name, version, lambda kind: kind == "model")

    def get_data_artifact(self, name: str, version: str | int | None = None) -> ArtifactVersionView | None:
        """Like `get_artifact`, for artifacts that aren't of type `model` or `service`."""
        return self._find(name, version, lambda kind: kind not in ("model", "service"))

    def _find(
        self, name: str, version: str | int | None, accepts_type: Callable[[str], bool]
    ) -> ArtifactVersionView | None:
        for artifact in self.artifact_versions:
            same = artifact.name == name and (version is None or artifact.version == str(version))
            if same and accepts_type(artifact.type):
                return artifact
        return None

    def load_artifact(self, name: str, version: str | int | None = None) -> Any:
        """Load the value of a linked artifact.

        Raises:
            NotFoundError: no artifact of this name is linked; names the nearest ones.
        """
        artifact = self.get_artifact(name, version)
        if artifact is None:
            raise NotFoundError(
                "artifact",
                name if version is None else f"{name}:{version}",
                within=f"in version '{self.version}' of model '{self.model_name}'",
                known=dict.fromkeys(a.name for a in self.artifact_versions),
            )
        return artifact.load()

    def set_stage(self, stage: str | ModelStage, force: bool = False) -> ModelVersionView:
        """Move it to a stage and return its new state; see `Model.set_stage`."""
        return self.client.set_model_stage(self, stage, force=force)

    def log_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to its metadata."""
        self.client.log_to("model_version", self.id, metadata)
        self.__dict__.pop("run_metadata", None)
        self.record = self.client.catalog.get_model_version(self.record.name, self.record.version)

    def summary(self) -> dict[str, object]:
        """See `View.summary`."""
        return {
            "model": self.model_name,
            "version": self.version,
            "stage": self.stage.value,
            "description": self.description,
            "tags": self.tags,
            "metadata": dict(self.record.metadata),
            "created": self.created,
            "id": self.id,
        }
