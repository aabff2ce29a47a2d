"""`Reader`: what a view asks of the client that returned it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from rayform.reading.views.artifacts import ArtifactVersionView, ArtifactView
    from rayform.reading.views.base import Page
    from rayform.reading.views.models import ModelVersionView, ModelView
    from rayform.reading.views.runs import PipelineView, RunView, StepRunView
    from rayform_runtime.artifacts.stores.interface import ArtifactStore
    from rayform_runtime.catalog.entities import ArtifactVersion, ModelStage, StepRun
    from rayform_runtime.catalog.interface import Catalog

__all__ = ["Reader", "Ref"]

Ref = str | UUID
"""A name, a UUID, or a unique prefix of one."""


class Reader(Protocol):
    """The part of `Client` that views and the functions behind `Client` use; `Client` documents each method."""

    @property
    def stack_name(self) -> str: ...
    @property
    def is_trusted(self) -> bool: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def artifact_store(self) -> ArtifactStore: ...

    def get_pipeline(self, name: str) -> PipelineView: ...
    def get_pipeline_run(self, name_id_or_prefix: Ref) -> RunView: ...
    def list_pipeline_runs(
        self, sort_by: str | None = None, page: int = 1, size: int = 20, **filters: object
    ) -> Page[RunView]: ...
    def get_run_step(self, step_run_id: Ref) -> StepRunView: ...
    def step_log(self, step: StepRun) -> str: ...

    def get_artifact(self, name_id_or_prefix: Ref) -> ArtifactView: ...
    def list_artifact_versions(
        self,
        sort_by: str | None = None,
        page: int = 1,
        size: int = 20,
        *,
        hydrate: bool = False,
        **filters: object,
    ) -> Page[ArtifactVersionView]: ...
    def load_version(
        self,
        record: ArtifactVersion,
        *,
        as_type: type | Mapping[str, type] | None = None,
        trust_pickle: bool = False,
    ) -> Any: ...
    def download_version(self, record: ArtifactVersion, path: Path, *, overwrite: bool = False) -> Path: ...

    def get_model(self, model_name_or_id: Ref) -> ModelView: ...
    def get_model_version(
        self,
        model_name_or_id: Ref | None = None,
        model_version_name_or_number_or_id: str | int | ModelStage | UUID | None = None,
    ) -> ModelVersionView: ...
    def get_model_version_by_id(self, model_version_id: UUID) -> ModelVersionView: ...
    def list_model_versions(
        self,
        model_name_or_id: Ref | None = None,
        sort_by: str | None = None,
        page: int = 1,
        size: int = 20,
        **filters: object,
    ) -> Page[ModelVersionView]: ...
    def set_model_stage(
        self, version: ModelVersionView, stage: str | ModelStage, *, force: bool = False
    ) -> ModelVersionView: ...

    def log_to(self, subject: str, id: UUID, metadata: Mapping[str, Any]) -> None: ...
