"""Short summaries of outputs that a run took from the cache, which no worker has loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from rayform.sizes import human_size
from rayform_core.errors import RayformError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rayform.launching.progress import OutputKey
    from rayform_runtime.catalog.entities import ArtifactVersion
    from rayform_runtime.components import Stack

__all__ = ["cached_summaries"]

_MAX_LOADED_BYTES = 100_000
"""A larger value isn't loaded for a line of text."""


def cached_summaries(stack: Stack, run_id: UUID, outputs: Sequence[OutputKey]) -> dict[OutputKey, str]:
    """Summarize outputs of a finished run.

    Small values of Python's own types are loaded and shown. Others are described by type and size, since loading
    them would import their libraries here.
    """
    catalog = stack.catalog
    keys = {output.step_key for output in outputs}
    step_runs = {s.key: s for s in catalog.list_step_runs(run_id) if s.key in keys and s.map_index is None}
    ids = {}
    for output in outputs:
        step_run = step_runs.get(output.step_key)
        version_ids = step_run.outputs.get(output.name, ()) if step_run else ()
        if len(version_ids) == 1:
            ids[output] = version_ids[0]
    versions = catalog.get_artifact_versions(list(ids.values()))
    return {output: _summary(stack, versions[id_]) for output, id_ in ids.items() if id_ in versions}


def _summary(stack: Stack, version: ArtifactVersion) -> str:
    if version.size <= _MAX_LOADED_BYTES and version.type.startswith("builtins:") and not version.external:
        from rayform_runtime.artifacts.materializers.registry import resolve_materializer
        from rayform_runtime.artifacts.values import load_value

        try:
            value = load_value(
                stack.artifact_store,
                version.uri,
                digest=version.digest,
                type=version.type,
                materializer=version.materializer,
            )
            return resolve_materializer(version.materializer)().summary(value)
        except RayformError:
            pass  # gone or corrupt: the run is over, and loading the artifact reports it
    return f"{version.type.rpartition(':')[2]}, {human_size(version.size)}"
