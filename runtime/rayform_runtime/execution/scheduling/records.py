"""What the scheduler writes to the catalog: batches, in an order in which a crash loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_runtime.catalog.entities import (
    CachedResult,
    NewArtifactVersion,
    StepError,
    StepFinish,
    StepStart,
    StepStatus,
    Subject,
)
from rayform_runtime.catalog.interface import Catalog, CatalogBusyError
from rayform_runtime.execution.interface import StepResult
from rayform_runtime.execution.scheduling.graph import Instance
from rayform_runtime.spec import StepSpec
from rayform_runtime.usercode.tracebacks import step_error

__all__ = ["RunRecords", "step_finish"]


class RunRecords:
    """Writes step runs of one run.

    Args:
        catalog: where to.
        run_id: the run.
        models: model version of each step, by step key.
    """

    def __init__(self, catalog: Catalog, run_id: UUID, models: dict[str, UUID | None]) -> None:
        self.catalog = catalog
        self.run_id = run_id
        self.models = models
        self._resources: dict[str, dict[str, Any]] = {}

    def start_of(
        self, instance: Instance, log_uri: str | None = None, *, at: datetime | None = None
    ) -> StepStart:
        """Return the record of an instance that begins, `at` a moment or with its commit."""
        spec = instance.node.spec
        return StepStart(
            id=instance.id,
            run_id=self.run_id,
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

    def _resources_of(self, spec: StepSpec) -> dict[str, Any]:
        known = self._resources.get(spec.key)
        if known is None:
            known = spec.resources.model_dump(mode="json", exclude_none=True, exclude={"custom"})
            known.update(spec.resources.custom)
            self._resources[spec.key] = known
        return known

    def start(self, starts: Sequence[StepStart]) -> None:
        """Record that step runs begin, in one commit."""
        if starts:
            self.catalog.start_steps(starts)

    def record(self, changes: Sequence[StepStart | StepFinish]) -> None:
        """Record beginnings and ends in this order, in one commit."""
        if changes:
            self.catalog.record_steps(changes)

    def finish(self, finishes: Sequence[StepFinish]) -> dict[UUID, StepError]:
        """Record ends, in one commit, and return those that the catalog refused.

        A version name that exists already, or an input that was deleted meanwhile, is the fault of one step
        and must not take the others' results with it: then each is recorded by itself.
        """
        if not finishes:
            return {}
        try:
            self.catalog.finish_steps(finishes)
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
            self.catalog.finish_steps(
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
        self.catalog.record_cached(
            [
                (
                    self.start_of(instance),
                    StepFinish(
                        instance.id,
                        self.run_id,
                        StepStatus.CACHED,
                        cached_from=found.step_run_id,
                        model_version_id=self.models.get(instance.node.key),
                    ),
                )
                for instance, found in pairs
            ]
        )

    def ended_without_running(
        self, instances: Sequence[tuple[Instance, StepStatus, StepError | None]]
    ) -> None:
        """Record step runs that were skipped, or failed before they could start, in one commit."""
        if instances:
            self.catalog.record_cached(
                [
                    (self.start_of(i), StepFinish(i.id, self.run_id, status, error=error))
                    for i, status, error in instances
                ]
            )

    def metadata_of(self, result: StepResult, step_key: str) -> None:
        """Record what a step said of its run and its model."""
        if result.run_metadata:
            self.catalog.log_metadata(Subject.RUN, self.run_id, result.run_metadata)
        model = self.models.get(step_key)
        if result.model_metadata and model is not None:
            self.catalog.log_metadata(Subject.MODEL_VERSION, model, result.model_metadata)


def step_finish(
    instance: Instance,
    run_id: UUID,
    result: StepResult,
    *,
    status: StepStatus,
    model_version_id: UUID | None = None,
) -> StepFinish:
    """Return the record of an end."""
    outputs: Sequence[NewArtifactVersion] = result.outputs if status is StepStatus.COMPLETED else ()
    return StepFinish(
        instance.id,
        run_id,
        status,
        outputs=outputs,
        metadata=result.metadata,
        error=result.error,
        ended_at=result.ended_at,
        model_version_id=model_version_id,
    )
