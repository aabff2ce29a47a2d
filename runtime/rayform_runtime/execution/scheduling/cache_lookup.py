"""Asks the cache for the results of steps that are ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.artifacts.stores.interface import ArtifactStore
from rayform_runtime.catalog.entities import CachedResult, Query
from rayform_runtime.catalog.interface import Catalog
from rayform_runtime.components import Stack
from rayform_runtime.execution.interface import CacheDecision, RunRequest
from rayform_runtime.execution.scheduling.cache_keys import StaticParts, cache_key, explain_miss, static_parts
from rayform_runtime.execution.scheduling.graph import Instance
from rayform_runtime.spec import StepSpec

__all__ = ["CacheLookup", "Found"]

_PREFETCH_FROM = 4
"""Pipelines with at least this many steps ask for the keys of their last run all at once."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a lookup gave: `decisions` has each instance's, by its ID."""

    hits: Sequence[tuple[Instance, CachedResult]]
    misses: list[Instance]
    decisions: Mapping[UUID, CacheDecision]


class CacheLookup:
    """The cache as one run sees it.

    Args:
        request: the run.
        catalog: where earlier results are recorded.
        stack: whose store holds them.
    """

    def __init__(self, request: RunRequest, catalog: Catalog, stack: Stack) -> None:
        self._request = request
        self._spec = request.spec
        self._catalog = catalog
        self._stack = stack
        self._static: dict[str, StaticParts] = {s.key: static_parts(self._spec, s) for s in self._spec.steps}
        self._prefetched: dict[str, CachedResult] = {}

    @property
    def is_used(self) -> bool:
        """Whether this run takes anything from the cache."""
        request = self._request
        return not request.no_cache and request.only is None

    def prefetch(self) -> None:
        """Look up the keys of the pipeline's last run at once: a run of unchanged code then asks no more."""
        if not self.is_used or self._request.resume or len(self._spec.steps) < _PREFETCH_FROM:
            return
        if all(s.why_not is not None for s in self._static.values()):
            return
        runs = self._catalog.list_runs(Query({"pipeline": self._spec.name}, size=2)).items
        last = next((run for run in runs if run.id != self._request.run_id), None)
        if last is not None:
            keys = [s.cache_key for s in self._catalog.list_step_runs(last.id) if s.cache_key]
            self._prefetched = self._catalog.find_cached(keys)

    def set_keys(self, ready: Sequence[Instance]) -> None:
        """Set the cache key of each instance that may have one."""
        for instance in ready:
            static = self._static[instance.node.key]
            if static.why_not is None:
                instance.cache_key = cache_key(static, instance.node.parameters, instance.key_inputs())

    def look_up(self, ready: Sequence[Instance]) -> Found:
        """Find earlier results for instances that `set_keys` was called for."""
        decisions: dict[UUID, CacheDecision] = {}
        asked: list[Instance] = []
        for instance in ready:
            static = self._static[instance.node.key]
            if static.why_not is not None:
                decisions[instance.id] = CacheDecision(False, static.why_not)
            elif self.is_used:
                asked.append(instance)
            else:
                reason = "This run doesn't use the cache."
                decisions[instance.id] = CacheDecision(False, reason, instance.cache_key)
        unknown = [i.cache_key for i in asked if i.cache_key and i.cache_key not in self._prefetched]
        found = {**self._prefetched, **self._catalog.find_cached(unknown)} if unknown else self._prefetched
        known = [(i, found[i.cache_key]) for i in asked if i.cache_key in found]
        missing = self.missing_data([v.uri for _, hit in known for v in hit.outputs.values()])
        hits = [(i, hit) for i, hit in known if _is_whole(i.node.spec, hit, missing)]
        for instance, hit in hits:
            reason = f"Taken from run '{hit.run_name}'."
            decisions[instance.id] = CacheDecision(True, reason, instance.cache_key, from_run=hit.run_name)
        for instance in asked:
            if instance.id not in decisions:
                gone = instance.cache_key in found
                decisions[instance.id] = self._why_missed(instance, gone=gone)
        return Found(hits, [i for i in ready if not decisions[i.id].hit], decisions)

    def missing_data(self, uris: Sequence[str]) -> set[str]:
        """Return those of the artifacts whose data is gone from the store."""
        if not uris:
            return set()
        store = self._stack.artifact_store
        unique = list(dict.fromkeys(uris))
        if store.uri.startswith("file:") or len(unique) == 1:
            return {uri for uri in unique if not _exists(store, uri)}
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(16, len(unique))) as pool:
            return {
                u
                for u, there in zip(unique, pool.map(partial(_exists, store), unique), strict=True)
                if not there
            }

    def _why_missed(self, instance: Instance, *, gone: bool) -> CacheDecision:
        key = instance.cache_key or ""
        if gone:
            return CacheDecision(False, "Its earlier result is no longer in the artifact store.", key)
        if not self._request.explain_cache:
            return CacheDecision(False, "There is no earlier result with the same key.", key)
        candidates = self._catalog.find_cache_candidates(self._spec.name, instance.node.key)
        same = [c for c in candidates if c.map_index == instance.map_index] or candidates
        ids = {v for c in same for given in c.inputs.values() for v in given}
        versions = self._catalog.get_artifact_versions(sorted(ids))
        return explain_miss(
            key, instance.node.parameters, instance.key_inputs(), same, versions, self._run_name
        )

    def _run_name(self, run_id: UUID) -> str:
        try:
            return self._catalog.get_run(run_id).name
        except NotFoundError:
            return str(run_id)  # it was deleted meanwhile


def _exists(store: ArtifactStore, uri: str) -> bool:
    try:
        return store.exists(uri)
    except UsageError:
        return False  # it lies in another store: the folder was moved, or the stack has a new bucket


def _is_whole(spec: StepSpec, hit: CachedResult, missing: set[str]) -> bool:
    if set(hit.outputs) < {o.name for o in spec.outputs}:
        return False
    return not any(v.uri in missing for v in hit.outputs.values())
