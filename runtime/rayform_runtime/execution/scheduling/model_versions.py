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
    """The model versions of one run: each that is named is looked up, or made, once.

    Args:
        catalog: where they are.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: dict[tuple[str, str | None], UUID] = {}

    def of_pipeline(self, spec: PipelineSpec, *, run_id: UUID, known: UUID | None = None) -> UUID | None:
        """Return the pipeline's model version; `known` is what an earlier process of this run chose."""
        if spec.model is None:
            return None
        if known is not None:
            self._known[spec.model.name, spec.model.version] = known
        return self._find(spec.model, run_id, resumed=known is not None)

    def of_steps(
        self, spec: PipelineSpec, pipeline: UUID | None, *, run_id: UUID, resumed: bool
    ) -> dict[str, UUID | None]:
        """Return each step's model version by step key."""
        return {
            step.key: self._find(step.model, run_id, resumed=resumed) if step.model else pipeline
            for step in spec.steps
        }

    def link(self, run_id: UUID) -> None:
        """Link the run to all of them, now that the catalog has it."""
        for version in dict.fromkeys(self._known.values()):
            self._catalog.link_model_version(version, run_ids=[run_id])

    def _find(self, model: ModelSpec, run_id: UUID, *, resumed: bool) -> UUID:
        key = (model.name, model.version)
        if key not in self._known:
            self._known[key] = self._look_up(model, run_id, resumed=resumed)
        return self._known[key]

    def _look_up(self, model: ModelSpec, run_id: UUID, *, resumed: bool) -> UUID:
        if model.version is not None:
            try:
                return self._catalog.get_model_version(model.name, model.version).id
            except NotFoundError:
                if model.version in _NEVER_MADE:
                    raise  # a stage that no version holds, `latest` of nothing
        elif resumed:
            # The version that this run made before it was interrupted.
            try:
                made = self._catalog.list_model_versions(Query({"model": model.name}, size=100, hydrate=True))
            except NotFoundError:
                made = None
            for version in made.items if made is not None else ():
                if run_id in version.run_ids:
                    return version.id
        self._catalog.create_model(
            model.name, description=model.description, license=model.license, exist_ok=True
        )
        version = self._catalog.create_model_version(
            model.name, version=model.version, tags=model.tags, metadata=model.metadata
        )
        return version.id
