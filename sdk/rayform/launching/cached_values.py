"""Short summaries of outputs that a run took from the cache, which no worker has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from rayform.sizes import human_size
from rayform_core.errors import RayformError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rayform_runtime.components import Stack

__all__ = ["cached_summaries"]

_SMALL = 100_000
"""Bytes; what is larger isn't loaded for a line of text."""


def cached_summaries(
    stack: Stack, run_id: UUID, wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """Summarise outputs of a finished run.

    Small values of Python's own types are loaded and shown; others are told by type and size, since loading
    them would import their libraries here.

    Args:
        wanted: step keys and output names.
    """
    catalog = stack.catalog
    keys = {key for key, _ in wanted}
    step_runs = [s for s in catalog.list_step_runs(run_id) if s.key in keys and s.map_index is None]
    ids = {(s.key, name): found[0] for s in step_runs for name, found in s.outputs.items() if len(found) == 1}
    versions = catalog.get_artifact_versions([ids[one] for one in wanted if one in ids])
    summaries = {}
    for one in wanted:
        version = versions.get(ids[one]) if one in ids else None
        if version is None:
            continue
        text = f"{version.type.rpartition(':')[2]}, {human_size(version.size)}"
        if version.size <= _SMALL and version.type.startswith("builtins:") and not version.external:
            try:
                text = _summary(stack, version.uri, version.digest, version.type, version.materializer)
            except RayformError:
                pass  # gone or corrupt: the run is over, and loading it will say so
        summaries[one] = text
    return summaries


def _summary(stack: Stack, uri: str, digest: str, type_: str, materializer: str) -> str:
    from rayform_runtime.artifacts.materializers.registry import resolve_materializer
    from rayform_runtime.artifacts.values import load_value

    value = load_value(stack.artifact_store, uri, digest=digest, type=type_, materializer=materializer)
    return resolve_materializer(materializer)().summary(value)
