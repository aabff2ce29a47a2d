"""How a run begins: it is recorded or taken over, and what needs no running is filled in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.catalog.entities import NewRun, StepRun
from rayform_runtime.execution.interface import RunRequest
from rayform_runtime.execution.scheduling.graph import RunGraph, VersionRef, stored_ids
from rayform_runtime.execution.scheduling.liveness import process_started, this_host
from rayform_runtime.execution.scheduling.model_versions import RunModels
from rayform_runtime.execution.scheduling.records import RunRecords

if TYPE_CHECKING:
    from rayform_runtime.components import Stack
    from rayform_runtime.execution.scheduling.cache_lookup import CacheLookup

__all__ = ["RunOpening"]


class RunOpening:
    """The beginning of one run, in the order `graph`, `record`, `records`, `fill`.

    Args:
        request: the run.
        stack: whose catalog is written.
        orchestrator_id: what the orchestrator calls the run.
    """

    def __init__(self, request: RunRequest, stack: Stack, *, orchestrator_id: str | None = None) -> None:
        self._request = request
        self._spec = request.spec
        self._stack = stack
        self._catalog = stack.catalog
        self._orchestrator_id = orchestrator_id
        self._models = RunModels(self._catalog)
        self._model: UUID | None = None
        self.code_is_late = False
        """Whether the run was recorded before the facts of its code were known."""

    def graph(self) -> RunGraph:
        """Lay out the steps.

        Raises:
            UsageError, NotFoundError: the pipeline is wired wrongly; nothing was recorded.
        """
        versions = self._catalog.get_artifact_versions(stored_ids(self._spec))
        return RunGraph(self._spec, versions, self._request.only, self._request.only_index)

    def record(self) -> None:
        """Record the run as at work in this process, or take it over.

        Raises:
            ConflictError: the name is taken, or the run that shall be resumed is at work or complete.
        """
        request, spec = self._request, self._spec
        pid = os.getpid()
        host, started = this_host(), process_started(pid) or time.time()
        if request.resume:
            run = self._catalog.restart_run(
                request.run_id, host=host, pid=pid, pid_started=started, orchestrator_id=self._orchestrator_id
            )
            self._model = self._models.of_pipeline(spec, run_id=request.run_id, known=run.model_version_id)
            return
        self._model = self._models.of_pipeline(spec, run_id=request.run_id)
        soon = request.code_soon.poll() if request.code_soon is not None else None
        self.code_is_late = request.code_soon is not None and soon is None
        self._catalog.create_run(
            NewRun(
                id=request.run_id,
                name=request.run_name,
                pipeline=spec.name,
                spec=spec.model_dump(mode="json"),
                stack_name=self._stack.name,
                stack=self._stack.spec.model_dump(mode="json"),
                parameters=spec.parameters,
                tags=spec.tags,
                user=request.user,
                host=host,
                pid=pid,
                pid_started=started,
                code=(soon or request.code).as_record(),
                environment=request.environment,
                model_version_id=self._model,
                orchestrator_id=self._orchestrator_id,
            )
        )

    def records(self) -> RunRecords:
        """Return what writes the run's steps, with the model version of each."""
        request, spec = self._request, self._spec
        by_step = self._models.of_steps(spec, self._model, run_id=request.run_id, resumed=request.resume)
        if spec.model or any(s.model for s in spec.steps):
            self._models.link(request.run_id)
        return RunRecords(self._catalog, request.run_id, by_step)

    def fill(self, graph: RunGraph, cache: CacheLookup) -> None:
        """Put in what an earlier process of this run finished, or what another run gives."""
        if self._request.resume:
            self._take_up(graph, cache)
        if self._request.only is not None:
            self._give_inputs(graph)

    def _take_up(self, graph: RunGraph, cache: CacheLookup) -> None:
        step_runs = self._catalog.list_step_runs(self._request.run_id)
        outputs = self._outputs_of(s for s in step_runs if s.status.is_successful)
        missing = cache.missing_data([ref.uri for ref in outputs.values()])
        there = {version: ref for version, ref in outputs.items() if ref.uri not in missing}
        for step_run in step_runs:
            if step_run.status.is_successful:
                refs = _by_name(step_run, there)
                graph.finished_before(step_run.key, step_run.map_index, step_run.id, step_run.status, refs)
            else:
                graph.remember(step_run.key, step_run.map_index, step_run.id, step_run.attempt)

    def _give_inputs(self, graph: RunGraph) -> None:
        """Take the outputs of steps that aren't run from the run `inputs_from`.

        Raises:
            UsageError: outputs are needed, and there is no run to take them from.
            NotFoundError: that run has no successful run of a step that is needed.
        """
        source = self._request.inputs_from
        wanted = {u.key for n in graph.nodes.values() if not n.is_given for u in n.upstream if u.is_given}
        if not wanted:
            return
        if source is None:
            raise UsageError(
                f"Step '{sorted(wanted)[0]}' isn't run, and there is no run to take its outputs from.",
                hint="Name an earlier run.",
            )
        successful = [s for s in self._catalog.list_step_runs(source) if s.status.is_successful]
        step_runs = [s for s in successful if s.key in wanted]
        outputs = self._outputs_of(step_runs)
        given: dict[str, dict[int | None, dict[str, VersionRef]]] = {}
        for step_run in step_runs:
            given.setdefault(step_run.key, {})[step_run.map_index] = _by_name(step_run, outputs)
        for key in sorted(wanted):
            if key not in given and not graph.nodes[key].spec.is_mapped:
                raise NotFoundError(
                    f"finished step in run {source}",
                    key,
                    known=[s.key for s in successful],
                    hint="Take the inputs from a run in which it succeeded.",
                )
            graph.give(key, given.get(key, {}))

    def _outputs_of(self, step_runs: Iterable[StepRun]) -> dict[UUID, VersionRef]:
        ids = {v for s in step_runs for versions in s.outputs.values() for v in versions}
        found = self._catalog.get_artifact_versions(sorted(ids))
        return {v.id: VersionRef.of(v) for v in found.values()}


def _by_name(step_run: StepRun, known: dict[UUID, VersionRef]) -> dict[str, VersionRef]:
    return {name: known[ids[0]] for name, ids in step_run.outputs.items() if ids and ids[0] in known}
