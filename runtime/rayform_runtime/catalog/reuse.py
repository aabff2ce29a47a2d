"""Results of steps that later runs take from the cache, and what they need for it beyond the cache key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import ArtifactVersion

__all__ = ["CachedResult", "Reuse"]


@dataclass(frozen=True, slots=True)
class Reuse:
    """What a later run needs to take a step's result from the cache, beyond the cache key.

    Args:
        places: the code that the step asked for by computed names: `FILE` or `FILE:NAME`.
        code: digests of that code, by place in it.
        model_metadata: the metadata that the step added to its model version.
    """

    places: Sequence[str] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    model_metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CachedResult:
    """A successful step run under a cache key, with its output versions by output name."""

    step_run_id: UUID
    run_id: UUID
    run_name: str
    cache_key: str
    outputs: Mapping[str, ArtifactVersion]
    reuse: Reuse | None = None
