"""Asks the cache for the results of steps that are ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from uuid import UUID

from pydantic import ValidationError

from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.artifacts.stores.interface import ArtifactStore
from rayform_runtime.catalog.entities import Query, StepRun
from rayform_runtime.catalog.reuse import CachedResult
from rayform_runtime.components import Stack
from rayform_runtime.execution.interface import CacheDecision, RunRequest
from rayform_runtime.execution.scheduling.cache_keys import StaticParts, cache_key, explain_miss, static_parts
from rayform_runtime.execution.scheduling.graph import Instance
from rayform_runtime.execution.scheduling.loaded_code import LoadedCode
from rayform_runtime.execution.scheduling.pending_records import PendingRecords
from rayform_runtime.spec import PipelineSpec, StepSpec

__all__ = ["CacheAnswer", "CacheLookup", "missing_data"]

_PREFETCH_FROM = 4
"""Pipelines with at least this many steps ask for the keys of their last run all at once."""


@dataclass(frozen=True, slots=True)
class CacheAnswer:
    """The answer of the cache for some instances.

    Args:
        hits: instances with their earlier results.
        misses: instances that must run.
        decisions: for each instance, by its ID.
    """

    hits: Sequence[tuple[Instance, CachedResult]]
    misses: list[Instance]
    decisions: Mapping[UUID, CacheDecision]


class CacheLookup:
    """Looks up earlier results for one run.

    Args:
        request: the run.
        stack: its catalog has the earlier results, and its store their data.
        pending: results of this run that are not in the catalog yet.
        loaded_code: reads the code that earlier steps loaded.
    """

    def __init__(
        self, request: RunRequest, stack: Stack, pending: PendingRecords, loaded_code: LoadedCode
    ) -> None:
        self._request = request
        self._spec = request.spec
        self._catalog = stack.catalog
        self._stack = stack
        self._pending = pending
        self._loaded_code = loaded_code
        self._static: dict[str, StaticParts] = {s.key: static_parts(self._spec, s) for s in self._spec.steps}

    def add(self, step: StepSpec) -> None:
        """Take up a step that was added while the run goes on."""
        self._static[step.key] = static_parts(self._spec, step)

    @property
    def is_used(self) -> bool:
        """Whether this run takes anything from the cache."""
        return not self._request.no_cache and self._request.only is None

    @cached_property
    def _of_last_run(self) -> dict[str, CachedResult]:
        """Results with the keys of the pipeline's last run: a run of unchanged code needs no others."""
        if self._request.resume or len(self._spec.steps) < _PREFETCH_FROM:
            return {}
        runs = self._catalog.list_runs(Query({"pipeline": self._spec.name}, size=2)).items
        last = next((run for run in runs if run.id != self._request.run_id), None)
        if last is None:
            return {}
        keys = [step_run.cache_key for step_run in self._catalog.list_step_runs(last.id)]
        return self._catalog.find_cached([key for key in keys if key])

    def look_up(self, ready: Sequence[Instance]) -> CacheAnswer:
        """Set the cache key of each instance that may have one, and find earlier results."""
        decisions: dict[UUID, CacheDecision] = {}
        cachable: list[tuple[Instance, str]] = []
        for instance in ready:
            static = self._static[instance.node.key]
            if static.why_not is not None:
                decisions[instance.id] = CacheDecision(False, static.why_not)
                continue
            key = instance.cache_key = cache_key(
                static, instance.node.parameters, instance.key_inputs(), instance.node.exact
            )
            if self.is_used:
                cachable.append((instance, key))
            else:
                decisions[instance.id] = CacheDecision(False, "This run doesn't use the cache.", key)
        results = self._find([key for _, key in cachable])
        changed = {
            key: places
            for key, result in results.items()
            if (places := self._loaded_code.changed(result.reuse))
        }
        hits = self._whole(
            [(instance, results[key]) for instance, key in cachable if key in results and key not in changed]
        )
        for instance, hit in hits:
            reason = f"Taken from run '{hit.run_name}'."
            decisions[instance.id] = CacheDecision(True, reason, instance.cache_key, from_run=hit.run_name)
        for instance, key in cachable:
            if instance.id in decisions:
                continue
            if key in changed:
                shown = ", ".join(_described(place) for place in changed[key][:5])
                reason = f"Changed since run '{results[key].run_name}': {shown}, which the step loaded."
                decisions[instance.id] = CacheDecision(False, reason, key, changed=tuple(changed[key]))
            else:
                decisions[instance.id] = self._why_missed(instance, key, is_gone=key in results)
        return CacheAnswer(hits, [i for i in ready if not decisions[i.id].hit], decisions)

    def _find(self, keys: Sequence[str]) -> Mapping[str, CachedResult]:
        """Return the earlier results for these keys; the mapping may hold other keys too."""
        if not keys:
            return {}
        if self._pending.holds_any(keys):
            self._pending.write()  # one of the instances may have this very result
        unknown = [key for key in keys if key not in self._of_last_run]
        return {**self._of_last_run, **self._catalog.find_cached(unknown)} if unknown else self._of_last_run

    def _whole(self, hits: Sequence[tuple[Instance, CachedResult]]) -> list[tuple[Instance, CachedResult]]:
        """Return the hits that have all outputs of their step, with their data."""
        uris = [version.uri for _, hit in hits for version in hit.outputs.values()]
        missing = missing_data(self._stack, uris)
        return [(instance, hit) for instance, hit in hits if _is_whole(instance.node.spec, hit, missing)]

    def _why_missed(self, instance: Instance, key: str, *, is_gone: bool) -> CacheDecision:
        if is_gone:
            return CacheDecision(False, "Its earlier result is no longer in the artifact store.", key)
        if not self._request.explain_cache:
            return CacheDecision(False, "There is no earlier result with the same key.", key)
        candidates = self._catalog.find_cache_candidates(self._spec.name, instance.node.key)
        same = [c for c in candidates if c.map_index == instance.map_index] or candidates
        ids = {v for c in same for inputs in c.inputs.values() for v in inputs}
        versions = self._catalog.get_artifact_versions(sorted(ids))
        return explain_miss(
            key,
            instance.node.parameters,
            instance.key_inputs(),
            same,
            versions,
            self._run_name,
            partial(self._changes, instance.node.spec),
        )

    def _changes(self, step: StepSpec, part: str, candidate: StepRun) -> list[str]:
        """Name what has changed in a part of the key since an earlier run, as far as that run's spec tells."""
        try:
            document = self._catalog.get_run(candidate.run_id).spec
            earlier = PipelineSpec.model_validate(document)
        except (NotFoundError, ValidationError):
            return []  # the run was deleted, or an older version of Rayform wrote its spec
        if part == "code":
            before = earlier.parts_of(candidate.code_digest or "")
            now = self._spec.parts_of(step.code_digest)
        elif part == "cache_on":
            before = next((s.cache_on for s in earlier.steps if s.key == step.key), {})
            now = step.cache_on
        else:
            return []
        if not before or not now:
            return []
        places = sorted(place for place in {**before, **now} if before.get(place) != now.get(place))
        return [_described(place) for place in places]

    def _run_name(self, run_id: UUID) -> str:
        try:
            return self._catalog.get_run(run_id).name
        except NotFoundError:
            return str(run_id)  # it was deleted in the meantime


def missing_data(stack: Stack, uris: Sequence[str]) -> set[str]:
    """Return those of the artifacts whose data is gone from the stack's store."""
    if not uris:
        return set()
    store = stack.artifact_store
    unique = list(dict.fromkeys(uris))
    if store.is_local or len(unique) == 1:
        return {uri for uri in unique if not _exists(store, uri)}
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(16, len(unique))) as pool:
        exist = pool.map(partial(_exists, store), unique)
        return {uri for uri, exists in zip(unique, exist, strict=True) if not exists}


def _described(place: str) -> str:
    """Return the words for a place: `FILE:NAME`, or a file or value that the step's cache depends on."""
    file, colon, name = place.partition(":")
    if not colon:
        return place
    return f"the top level of {file}" if name == "<import>" else f"'{name}' in {file}"


def _exists(store: ArtifactStore, uri: str) -> bool:
    try:
        return store.exists(uri)
    except UsageError:
        return False  # it is in another store: the folder was moved, or the stack has a new bucket


def _is_whole(spec: StepSpec, hit: CachedResult, missing: set[str]) -> bool:
    if set(hit.outputs) < {o.name for o in spec.outputs}:
        return False
    return not any(v.uri in missing for v in hit.outputs.values())
