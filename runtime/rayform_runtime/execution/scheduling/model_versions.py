"""Finds or makes the model versions that a run's artifacts and metadata belong to."""

from __future__ import annotations

from uuid import UUID

from rayform_core.errors import NotFoundError
from rayform_runtime.catalog.entities import ModelStage, Query
from rayform_runtime.catalog.interface import Catalog
from rayform_runtime.spec import ModelSpec, PipelineSpec

__all__ = ["RunModels"]

_NEVER_MADE = ("latest", *(stage.value for stage in ModelStage if stage is not ModelStage.NONE))


class RunModels:
    """The model versions of one run; looks up or makes each of them once.

    Args:
        catalog: holds the model versions.
        run_id: the run.
        resumed: whether an earlier process of this run has made some.
    """

    def __init__(self, catalog: Catalog, run_id: UUID, *, resumed: bool) -> None:
        self._catalog = catalog
        self._run_id = run_id
        self._resumed = resumed
        self._versions: dict[tuple[str, str | None], UUID] = {}

    def of_pipeline(self, spec: PipelineSpec, chosen_before: UUID | None = None) -> UUID | None:
        """Return the pipeline's model version: the one that an earlier process of this run chose, if any."""
        if spec.model is None:
            return None
        if chosen_before is not None:
            self._versions[spec.model.name, spec.model.version] = chosen_before
            return chosen_before
        # An earlier process that recorded the run without a version has made none for it.
        return self._find(spec.model, resumed=False)

    def of_steps(self, spec: PipelineSpec, pipeline: UUID | None) -> dict[str, UUID | None]:
        """Return each step's model version by step key, and link the run, which is recorded, to all of them.

        Args:
            spec: the pipeline.
            pipeline: its model version, for steps without a model of their own.
        """
        versions = {
            step.key: self._find(step.model, resumed=self._resumed) if step.model else pipeline
            for step in spec.steps
        }
        for version in dict.fromkeys(self._versions.values()):
            self._catalog.link_model_version(version, run_ids=[self._run_id])
        return versions

    def _find(self, model: ModelSpec, *, resumed: bool) -> UUID:
        key = (model.name, model.version)
        if key not in self._versions:
            self._versions[key] = self._look_up(model, resumed=resumed)
        return self._versions[key]

    def _look_up(self, model: ModelSpec, *, resumed: bool) -> UUID:
        if model.version is not None:
            try:
                return self._catalog.get_model_version(model.name, model.version).id
            except NotFoundError:
                if model.version in _NEVER_MADE:
                    raise  # a stage that no version holds, `latest` of nothing
        elif resumed:
            version = self._made_before(model)
            if version is not None:
                return version
        self._catalog.create_model(
            model.name, description=model.description, license=model.license, exist_ok=True
        )
        new = self._catalog.create_model_version(
            model.name, version=model.version, tags=model.tags, metadata=model.metadata
        )
        return new.id

    def _made_before(self, model: ModelSpec) -> UUID | None:
        """Return the version that this run made before it was interrupted."""
        try:
            page = self._catalog.list_model_versions(Query({"model": model.name}, size=100, hydrate=True))
        except NotFoundError:
            return None
        return next((version.id for version in page.items if self._run_id in version.run_ids), None)
