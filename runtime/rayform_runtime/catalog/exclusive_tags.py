"""Takes exclusive tags of a run and of its outputs away from earlier runs and versions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from rayform_runtime.catalog.entities import Query, Subject

if TYPE_CHECKING:
    from rayform_runtime.catalog.interface import Catalog
    from rayform_runtime.spec import PipelineSpec

__all__ = ["apply_exclusive_tags"]


def apply_exclusive_tags(catalog: Catalog, spec: PipelineSpec, run_id: UUID) -> None:
    """Leave each exclusive tag to this run, and to the versions that this run made.

    Args:
        catalog: where the tags are.
        spec: names the tags.
        run_id: the run.
    """
    for tag in spec.exclusive_tags:
        runs = catalog.list_runs(Query(filters={"pipeline": spec.name, "tag": tag}, size=10_000))
        for run in runs.items:
            if run.id != run_id:
                catalog.update_tags(Subject.RUN, run.id, remove=[tag])
    names = {(o.artifact_name, tag) for step in spec.steps for o in step.outputs for tag in o.exclusive_tags}
    for name, tag in sorted(names):
        versions = catalog.list_artifact_versions(Query(filters={"artifact": name, "tag": tag}, size=10_000))
        own = [version for version in versions.items if version.producer_run_id == run_id]
        for version in versions.items:
            if own and version.id != own[0].id:
                catalog.update_tags(Subject.ARTIFACT_VERSION, version.id, remove=[tag])
