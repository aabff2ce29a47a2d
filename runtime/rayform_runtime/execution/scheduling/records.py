"""Writes step runs to the catalog: in batches, in an order in which a crash loses nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_runtime.catalog.entities import RunStatus, StepError, StepFinish, StepStart, StepStatus, Subject
from rayform_runtime.catalog.interface import Catalog, CatalogBusyError
from rayform_runtime.catalog.reuse import CachedResult
from rayform_runtime.execution.interface import StepResult
from rayform_runtime.execution.scheduling.graph import Instance
from rayform_runtime.execution.scheduling.loaded_code import LoadedCode
from rayform_runtime.spec import StepSpec
from rayform_runtime.usercode.tracebacks import step_error

__all__ = ["RunRecords", "UnrunEnd", "note", "record_failure"]


class UnrunEnd(NamedTuple):
    """How an instance ended that never started: skipped, or failed before."""

    instance: Instance
    status: StepStatus
    error: StepError | None
    metadata: Mapping[str, object] = {}


class RunRecords:
    """Writes the step runs of one run.

    Args:
        catalog: receives the step runs.
        run_id: the run.
        models: model version of each step, by step key.
        loaded_code: reads the code that steps loaded.
    """

    def __init__(
        self, catalog: Catalog, run_id: UUID, models: dict[str, UUID | None], loaded_code: LoadedCode
    ) -> None:
        self._catalog = catalog
        self._run_id = run_id
        self.models = models
        self.loaded_code = loaded_code
        # By step key; each entry comes with the first instance of its step.
        self._resources: dict[str, dict[str, object]] = {}

    def start_of(
        self, instance: Instance, log_uri: str | None = None, *, at: datetime | None = None
    ) -> StepStart:
        """Return the record of an instance that starts at the moment `at`, by default the moment of its commit."""
        spec = instance.node.spec
        return StepStart(
            id=instance.id,
            run_id=self._run_id,
            key=spec.key,
            name=spec.name,
            attempt=instance.attempt,
            map_index=instance.map_index,
            cache_key=instance.cache_key,
            parameters=instance.node.parameters,
            inputs=instance.input_ids(),
            resources=self._resources_of(spec),
            source=str(spec.source),
            code_digest=spec.code_digest or None,
            log_uri=log_uri,
            model_version_id=self.models.get(spec.key),
            started_at=at,
        )

    def _resources_of(self, spec: StepSpec) -> dict[str, object]:
        resources = self._resources.get(spec.key)
        if resources is None:
            resources = spec.resources.model_dump(mode="json", exclude_none=True, exclude={"custom"})
            resources.update(spec.resources.custom)
            self._resources[spec.key] = resources
        return resources

    def record(self, changes: Sequence[StepStart | StepFinish]) -> None:
        """Record starts and ends in this order, in one commit."""
        if changes:
            self._catalog.record_steps(changes)

    def finish_of(self, instance: Instance, result: StepResult, status: StepStatus) -> StepFinish:
        """Return the record of an instance that ended with `status`."""
        return StepFinish(
            instance.id,
            self._run_id,
            status,
            outputs=result.outputs if status is StepStatus.COMPLETED else (),
            metadata=result.metadata,
            error=result.error,
            ended_at=result.ended_at,
            model_version_id=self.models.get(instance.node.key),
            reuse=self.loaded_code.reuse_of(result) if status is StepStatus.COMPLETED else None,
        )

    def finish(self, finishes: Sequence[StepFinish]) -> dict[UUID, StepError]:
        """Record ends, in one commit, and return those that the catalog refused.

        If the catalog refuses the commit (a version name exists already, an input was deleted meanwhile), each
        end is recorded by itself: one step's fault must not cost the others their results.
        """
        if not finishes:
            return {}
        try:
            self._catalog.finish_steps(finishes)
        except CatalogBusyError:
            raise
        except (ConflictError, NotFoundError, UsageError) as error:
            if len(finishes) > 1:
                refused: dict[UUID, StepError] = {}
                for finish in finishes:
                    refused.update(self.finish([finish]))
                return refused
            finish = finishes[0]
            reason = step_error(error)
            self._catalog.finish_steps(
                [
                    StepFinish(
                        finish.id,
                        finish.run_id,
                        StepStatus.FAILED,
                        metadata={} if isinstance(error, UsageError) else finish.metadata,
                        error=reason,
                        ended_at=finish.ended_at,
                    )
                ]
            )
            return {finish.id: reason}
        return {}

    def taken_from_cache(self, pairs: Sequence[tuple[Instance, CachedResult]]) -> None:
        """Record step runs whose results are earlier ones, in one commit."""
        if not pairs:
            return
        self._catalog.record_cached(
            [
                (
                    self.start_of(instance),
                    StepFinish(
                        instance.id,
                        self._run_id,
                        StepStatus.CACHED,
                        cached_from=hit.step_run_id,
                        model_version_id=self.models.get(instance.node.key),
                    ),
                )
                for instance, hit in pairs
            ]
        )
        for instance, hit in pairs:
            model = self.models.get(instance.node.key)
            if model is not None and hit.reuse is not None and hit.reuse.model_metadata:
                self._catalog.log_metadata(Subject.MODEL_VERSION, model, hit.reuse.model_metadata)

    def ended_without_running(self, ends: Sequence[UnrunEnd]) -> None:
        """Record step runs that were skipped, or failed before they could start, in one commit."""
        if ends:
            self._catalog.record_cached(
                [
                    (
                        self.start_of(end.instance),
                        StepFinish(
                            end.instance.id, self._run_id, end.status, error=end.error, metadata=end.metadata
                        ),
                    )
                    for end in ends
                ]
            )

    def metadata_of(self, result: StepResult, step_key: str) -> None:
        """Record the metadata that a step added to its run and its model."""
        if result.run_metadata:
            self._catalog.log_metadata(Subject.RUN, self._run_id, result.run_metadata)
        model = self.models.get(step_key)
        if result.model_metadata and model is not None:
            self._catalog.log_metadata(Subject.MODEL_VERSION, model, result.model_metadata)


def record_failure(
    catalog: Catalog,
    run_id: UUID,
    error: BaseException,
    status: RunStatus,
    code: Mapping[str, object] | None = None,
) -> None:
    """Record that the scheduler itself failed. If the catalog can't be reached, note that on `error`.

    Args:
        catalog, run_id: the run.
        error: what the scheduler raised.
        status: the run's status from now on.
        code: facts about the code that are not recorded yet.
    """
    why = step_error(error)
    try:
        catalog.finish_run(run_id, status, StepError(why.type, why.message), code=code)
    except Exception as second:  # noqa: BLE001 - shown as a note of the first
        note(error, f"The run couldn't be marked as {status}", second)


def note(error: BaseException, what: str, second: Exception) -> None:
    """Note on `error`, which is the one to show, what failed after it."""
    text = f"{what} either: {second}"
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)
