"""The beginning of a run: records or takes over the run, and loads the results of steps that needn't run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.catalog.calls import RunCall
from rayform_runtime.catalog.entities import NewRun, RunStatus, StepError, StepRun
from rayform_runtime.execution.interface import CodeFacts, LateCodeFacts, RunRequest
from rayform_runtime.execution.scheduling.cache_lookup import missing_data
from rayform_runtime.execution.scheduling.graph import RunGraph, VersionRef, stored_ids
from rayform_runtime.execution.scheduling.loaded_code import LoadedCode
from rayform_runtime.execution.scheduling.model_versions import RunModels
from rayform_runtime.execution.scheduling.records import RunRecords, record_failure
from rayform_runtime.processes.identity import process_started, this_host

if TYPE_CHECKING:
    from rayform_runtime.components import Stack
    from rayform_runtime.spec import StepSpec

__all__ = ["OpenedRun", "RunOpening"]


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run that is recorded as running in this process.

    Args:
        graph: its steps; those that need no running have their outputs.
        records: writes its step runs.
        late_code: the facts about its code, if it was recorded without them.
        calls: of a dynamic pipeline, the calls that earlier processes of this run recorded.
        errors_before: errors of the steps that failed in earlier processes of this run, by step key.
        model_of: returns the model version of a step, which it finds or makes.
    """

    graph: RunGraph
    records: RunRecords
    late_code: LateCodeFacts | None
    calls: Sequence[RunCall]
    errors_before: Mapping[str, StepError]
    model_of: Callable[[StepSpec], UUID | None]


class RunOpening:
    """Opens one run.

    Args:
        request: the run.
        stack: its catalog is written.
        orchestrator_id: the orchestrator's name for the run.
        code_folder: returns the project's folder on this machine; by default the folder that the run was traced in.
    """

    def __init__(
        self,
        request: RunRequest,
        stack: Stack,
        *,
        orchestrator_id: str | None = None,
        code_folder: Callable[[], Path | None] | None = None,
    ) -> None:
        self._request = request
        self._spec = request.spec
        self._stack = stack
        self._catalog = stack.catalog
        self._orchestrator_id = orchestrator_id
        code_root = self._spec.code_root
        self._code_may_change = code_folder is None  # a bundle is what its digest says
        self._code_folder = code_folder or (lambda: Path(code_root) if code_root else None)

    def open(self) -> OpenedRun:
        """Record the run as running in this process, or take it over.

        A failure after that is recorded: the run is interrupted (stopped after Ctrl-C) and can be resumed.

        Raises:
            UsageError, NotFoundError: the pipeline is wired wrongly.
            ConflictError: the name is taken, or the run to resume is running or complete.
            RayformError: the catalog failed.
        """
        request = self._request
        versions = self._catalog.get_artifact_versions(stored_ids(self._spec))
        graph = RunGraph(self._spec, versions, request.only, request.only_index)
        models = RunModels(self._catalog, request.run_id, resumed=request.resume)
        late_code = None
        if request.resume:
            model = self._restart()
        else:
            model = models.of_pipeline(self._spec)
            late_code = self._create(model)
        try:
            if request.resume:
                model = models.of_pipeline(self._spec, chosen_before=model)
            records = RunRecords(
                self._catalog,
                request.run_id,
                models.of_steps(self._spec, model),
                LoadedCode(self._code_folder, may_change=self._code_may_change),
            )
            if request.resume:
                self._take_up(graph)
            if request.only is not None:
                self._take_inputs(graph)
            calls: list[RunCall] = []
            errors: dict[str, StepError] = {}
            if self._spec.is_dynamic and request.resume:
                calls = self._catalog.list_calls(request.run_id)
                step_runs = self._catalog.list_step_runs(request.run_id)
                errors = {s.key: s.error for s in step_runs if s.error is not None}
        except BaseException as error:
            status = RunStatus.STOPPED if isinstance(error, KeyboardInterrupt) else RunStatus.INTERRUPTED
            code = late_code.poll() if late_code is not None else None
            record_failure(
                self._catalog, request.run_id, error, status, code.as_record() if code is not None else None
            )
            raise

        def model_of(step: StepSpec) -> UUID | None:
            if step.model is None:
                return model
            return models.of_steps(self._spec.model_copy(update={"steps": [step]}), model)[step.key]

        return OpenedRun(graph, records, late_code, calls, errors, model_of)

    def _restart(self) -> UUID | None:
        """Take the run over; return the model version that the earlier process chose."""
        run = self._catalog.restart_run(
            self._request.run_id,
            host=this_host(),
            pid=os.getpid(),
            pid_started=process_started(os.getpid()),
            orchestrator_id=self._orchestrator_id,
        )
        return run.model_version_id

    def _create(self, model: UUID | None) -> LateCodeFacts | None:
        """Record the run; return the facts about its code if git has not answered yet."""
        request, spec = self._request, self._spec
        code: CodeFacts | None = request.code
        if request.code_soon is not None:
            code = request.code_soon.poll()
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
                host=this_host(),
                pid=os.getpid(),
                pid_started=process_started(os.getpid()),
                code=(code or request.code).as_record(),
                environment=request.environment,
                model_version_id=model,
                orchestrator_id=self._orchestrator_id,
            )
        )
        return request.code_soon if code is None else None

    def _take_up(self, graph: RunGraph) -> None:
        """Keep what an earlier process of this run finished, and the IDs of what it did not."""
        step_runs = self._catalog.list_step_runs(self._request.run_id)
        outputs = self._outputs_of(step_run for step_run in step_runs if step_run.status.is_successful)
        missing = missing_data(self._stack, [ref.uri for ref in outputs.values()])
        available = {version: ref for version, ref in outputs.items() if ref.uri not in missing}
        for step_run in step_runs:
            if step_run.status.is_successful:
                refs = _by_name(step_run, available)
                graph.keep_finished(step_run.key, step_run.map_index, step_run.id, step_run.status, refs)
            else:
                graph.keep_unfinished(step_run.key, step_run.map_index, step_run.id, step_run.attempt)

    def _take_inputs(self, graph: RunGraph) -> None:
        """Take the outputs of steps that aren't run from the run `inputs_from`.

        Raises:
            UsageError: outputs are needed, and there is no run to take them from.
            NotFoundError: that run has no successful run of a step that is needed.
        """
        source = self._request.inputs_from
        needed = graph.needed_from_elsewhere()
        if not needed:
            return
        if source is None:
            raise UsageError(
                f"Step '{min(needed)}' isn't run, and there is no run to take its outputs from.",
                hint="Name an earlier run.",
            )
        successful = [s for s in self._catalog.list_step_runs(source) if s.status.is_successful]
        step_runs = [s for s in successful if s.key in needed]
        outputs = self._outputs_of(step_runs)
        instances: dict[str, dict[int | None, dict[str, VersionRef]]] = {}
        for step_run in step_runs:
            instances.setdefault(step_run.key, {})[step_run.map_index] = _by_name(step_run, outputs)
        for key in sorted(needed):
            if key not in instances and not graph.nodes[key].spec.is_mapped:
                raise NotFoundError(
                    f"finished step in run {source}",
                    key,
                    known=[s.key for s in successful],
                    hint="Take the inputs from a run in which it succeeded.",
                )
            graph.give(key, instances.get(key, {}))

    def _outputs_of(self, step_runs: Iterable[StepRun]) -> dict[UUID, VersionRef]:
        ids = {version for step_run in step_runs for ids in step_run.outputs.values() for version in ids}
        versions = self._catalog.get_artifact_versions(sorted(ids))
        return {version.id: VersionRef.of(version) for version in versions.values()}


def _by_name(step_run: StepRun, refs: dict[UUID, VersionRef]) -> dict[str, VersionRef]:
    return {name: refs[ids[0]] for name, ids in step_run.outputs.items() if ids and ids[0] in refs}
