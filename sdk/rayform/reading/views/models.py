"""Models and their versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform.reading.views.artifacts import ArtifactVersionView
from rayform.reading.views.base import View
from rayform_core.errors import NotFoundError

if TYPE_CHECKING:
    from rayform.reading.client import Client
    from rayform.reading.views.runs import RunView
    from rayform_runtime.catalog.entities import Model, ModelStage, ModelVersion, StageChange

__all__ = ["ModelVersionView", "ModelView"]


class ModelView(View):
    """A named series of model versions."""

    def __init__(self, record: Model, client: Client) -> None:
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
    def description(self) -> str | None:
        """What it is for."""
        return self.record.description

    @property
    def license(self) -> str | None:
        """Its licence."""
        return self.record.license

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self.record.tags)

    @property
    def run_metadata(self) -> dict[str, Any]:
        """Metadata of the model itself."""
        return dict(self.record.metadata)

    @property
    def created(self) -> datetime:
        """When its first version was made."""
        return self.record.created_at

    @property
    def latest_version_name(self) -> str | None:
        """Its newest version."""
        return self.record.latest_version

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

    def summary(self) -> dict[str, Any]:
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


class ModelVersionView(View):
    """One version of a model."""

    def __init__(self, record: ModelVersion, client: Client) -> None:
        self.record = record
        self.client = client

    @property
    def id(self) -> UUID:
        """Its UUID."""
        return self.record.id

    @property
    def name(self) -> str:
        """The model's name."""
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
    def stage(self) -> ModelStage:
        """Its stage."""
        return self.record.stage

    @property
    def description(self) -> str | None:
        """What is special about it."""
        return self.record.description

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self.record.tags)

    @cached_property
    def run_metadata(self) -> dict[str, Any]:
        """Its metadata."""
        if self.record.metadata:
            return dict(self.record.metadata)
        return dict(self.client.catalog.get_model_version(self.record.name, self.record.version).metadata)

    @property
    def created(self) -> datetime:
        """When it was made."""
        return self.record.created_at

    @property
    def model(self) -> ModelView:
        """The model that it is a version of."""
        return self.client.get_model(self.record.model_id)

    @property
    def pipeline_runs(self) -> dict[str, RunView]:
        """The runs that are linked to it, by name."""
        found = (self.client.get_pipeline_run(run_id) for run_id in self.record.run_ids)
        return {run.name: run for run in found}

    @cached_property
    def artifact_versions(self) -> list[ArtifactVersionView]:
        """The artifact versions that are linked to it, newest first."""
        found = self.client.catalog.list_model_version_artifacts(self.id)
        return [ArtifactVersionView(record, self.client) for record in found]

    def get_artifact(self, name: str, version: str | int | None = None) -> ArtifactVersionView | None:
        """Return a linked artifact version, the newest of its name unless told; `None` where none is linked."""
        return self._find(name, version, lambda _: True)

    def get_model_artifact(self, name: str, version: str | int | None = None) -> ArtifactVersionView | None:
        """Like `get_artifact`, for artifacts of type `model`."""
        return self._find(name, version, lambda kind: kind == "model")

    def get_data_artifact(self, name: str, version: str | int | None = None) -> ArtifactVersionView | None:
        """Like `get_artifact`, for artifacts that aren't of type `model` or `service`."""
        return self._find(name, version, lambda kind: kind not in ("model", "service"))

    def _find(
        self, name: str, version: str | int | None, wanted: Callable[[str], bool]
    ) -> ArtifactVersionView | None:
        for found in self.artifact_versions:
            same = found.name == name and (version is None or found.version == str(version))
            if same and wanted(found.type):
                return found
        return None

    def load_artifact(self, name: str, version: str | int | None = None) -> Any:
        """Load the value of a linked artifact.

        Raises:
            NotFoundError: none of this name is linked; names its neighbours.
        """
        found = self.get_artifact(name, version)
        if found is None:
            raise NotFoundError(
                "artifact",
                name if version is None else f"{name}:{version}",
                within=f"in version '{self.version}' of model '{self.name}'",
                known=dict.fromkeys(a.name for a in self.artifact_versions),
            )
        return found.load()

    def set_stage(self, stage: str | ModelStage, force: bool = False) -> ModelVersionView:
        """Move it to a stage and return it as it is then; see `Model.set_stage`."""
        return self.client.set_model_stage(self, stage, force=force)

    def log_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to its metadata."""
        self.client.log_to("model_version", self.id, metadata)
        self.__dict__.pop("run_metadata", None)
        self.record = self.client.catalog.get_model_version(self.record.name, self.record.version)

    def summary(self) -> dict[str, Any]:
        """See `View.summary`."""
        return {
            "model": self.name,
            "version": self.version,
            "stage": self.stage.value,
            "description": self.description,
            "tags": self.tags,
            "metadata": dict(self.record.metadata),
            "created": self.created,
            "id": self.id,
        }
