"""Pipelines, their runs and the runs of steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform.reading.views.artifacts import ArtifactVersionView, Output
from rayform.reading.views.base import Config, Field, Names, Page, TagName, View, tag_names
from rayform_core.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from rayform.reading.views.models import ModelVersionView
    from rayform.reading.views.reader import Reader
    from rayform_runtime.catalog.entities import (
        ArtifactVersion,
        PipelineSummary,
        Run,
        RunStatus,
        StepError,
        StepRun,
        StepStatus,
    )

__all__ = ["MappedStepView", "PipelineView", "RunView", "StepRunView"]


class StepRunView(View["StepRun"]):
    """One execution of a step."""

    def __init__(
        self, record: StepRun, client: Reader, loaded: Mapping[UUID, ArtifactVersion] | None = None
    ) -> None:
        super().__init__(record, client)
        self._loaded = loaded

    id: Field[UUID] = Field()
    """Its UUID."""
    name: Field[str] = Field("key")
    """Its key in the pipeline."""

    @property
    def status(self) -> StepStatus:
        """Its status."""
        return self.record.status

    @property
    def is_successful(self) -> bool:
        """Whether its outputs can be used."""
        return self.record.status.is_successful

    error: Field[StepError | None] = Field()
    """Why it failed."""

    @property
    def start_time(self) -> datetime | None:
        """When it began."""
        return self.record.started_at

    @property
    def end_time(self) -> datetime | None:
        """When it ended."""
        return self.record.ended_at

    parameters: Field[dict[str, Any]] = Field(copy=dict)
    """The arguments that it was called with, apart from artifacts."""
    run_metadata: Field[dict[str, Any]] = Field("metadata", dict)
    """Its metadata."""

    @property
    def config(self) -> Config:
        """The step as it stands in the traced pipeline, as JSON (`StepSpec`), with the `parameters` of this run."""
        steps = self.run.config.get("steps", ())
        spec: dict[str, Any] = next((step for step in steps if step.get("key") == self.record.key), {})
        return Config({**spec, "parameters": dict(self.record.parameters)})

    @property
    def run(self) -> RunView:
        """Its run."""
        return self.client.get_pipeline_run(self.record.run_id)

    def _versions(self, ids: Mapping[str, Sequence[UUID]]) -> dict[str, Output]:
        all_ids = list(itertools.chain.from_iterable(ids.values()))
        by_id = self._loaded
        if by_id is None or not by_id.keys() >= set(all_ids):
            by_id = self.client.catalog.get_artifact_versions(all_ids)
        versions = {name: [by_id[i] for i in group if i in by_id] for name, group in ids.items()}
        return {name: Output(group, self.client) for name, group in versions.items() if group}

    @cached_property
    def inputs(self) -> dict[str, Output]:
        """The artifact versions that it was called with, by argument name."""
        return self._versions(self.record.inputs)

    @cached_property
    def outputs(self) -> dict[str, Output]:
        """The artifact versions that it made (or took from the cache), by output name."""
        return Names("output", f"step '{self.name}'", self._versions(self.record.outputs))

    @property
    def input(self) -> Output:
        """Its only input.

        Raises:
            UsageError: it has none or several.
        """
        return self._only(self.inputs, "input")

    @property
    def output(self) -> Output:
        """Its only output.

        Raises:
            UsageError: it has none or several.
        """
        return self._only(self.outputs, "output")

    def _only(self, outputs: Mapping[str, Output], what: str) -> Output:
        if len(outputs) != 1:
            names = ", ".join(f"'{name}'" for name in outputs) or "none"
            raise UsageError(
                f"Step '{self.name}' has {len(outputs)} {what}s, not one.",
                why=f"Its {what}s: {names}.",
                hint=f"Name the one you mean: .{what}s['NAME'].",
            )
        return next(iter(outputs.values()))

    def logs(self) -> str:
        """Return what it printed and logged."""
        return self.client.step_log(self.record)

    def summary(self) -> dict[str, object]:
        """See `View.summary`."""
        return {
            "name": self.name,
            "status": self.status.value,
            "started": self.start_time,
            "ended": self.end_time,
            "inputs": {k: len(v) for k, v in self.record.inputs.items()},
            "outputs": list(self.record.outputs),
            "id": self.id,
        }


class MappedStepView(StepRunView):
    """A step that ran once for each element of a list: one view of all its instances."""

    def __init__(self, instances: Sequence[StepRunView]) -> None:
        first = instances[0]
        super().__init__(first.record, first.client)
        self.instances = tuple(instances)

    @property
    def status(self) -> StepStatus:
        """The status that its instances share, or the first that isn't a success."""
        return next((i.status for i in self.instances if not i.is_successful), self.instances[0].status)

    @property
    def is_successful(self) -> bool:
        """Whether all instances succeeded."""
        return all(i.is_successful for i in self.instances)

    @property
    def end_time(self) -> datetime | None:
        """When the last instance ended; `None` while one is running."""
        ends = [i.end_time for i in self.instances if i.end_time is not None]
        return max(ends) if len(ends) == len(self.instances) else None

    @property
    def start_time(self) -> datetime | None:
        """When the first instance began."""
        return min((i.start_time for i in self.instances if i.start_time is not None), default=None)

    def _joined(self, pick: Callable[[StepRunView], Mapping[str, Output]]) -> dict[str, Output]:
        grouped: dict[str, list[ArtifactVersion]] = {}
        for instance in self.instances:
            for name, output in pick(instance).items():
                grouped.setdefault(name, []).extend(v.record for v in output)
        return {name: Output(versions, self.client) for name, versions in grouped.items()}

    @cached_property
    def inputs(self) -> dict[str, Output]:
        """The inputs of all instances, by argument name."""
        return self._joined(lambda i: i.inputs)

    @cached_property
    def outputs(self) -> dict[str, Output]:
        """The outputs of all instances, by output name, in the order of the list."""
        return Names("output", f"step '{self.name}'", self._joined(lambda i: i.outputs))

    def logs(self) -> str:
        """Return what all instances printed and logged, one after the other."""
        return "".join(i.logs() for i in self.instances)


class RunView(View["Run"]):
    """A pipeline run.

    Example:
        >>> Client().get_pipeline_run("train-2026").steps["trainer"].outputs["model"].load()  # doctest: +SKIP
    """

    id: Field[UUID] = Field()
    """Its UUID."""
    name: Field[str] = Field()
    """Its name."""
    status: Field[RunStatus] = Field()
    """Its status."""

    @property
    def pipeline(self) -> PipelineView:
        """Its pipeline."""
        return self.client.get_pipeline(self.record.pipeline)

    pipeline_name: Field[str] = Field("pipeline")
    """Its pipeline's name."""
    stack_name: Field[str] = Field()
    """The stack that it ran on."""
    parameters: Field[dict[str, Any]] = Field(copy=dict)
    """The pipeline's parameters."""

    @property
    def config(self) -> Config:
        """The traced pipeline as JSON (`PipelineSpec`); its keys are attributes too."""
        return Config(self._hydrated.spec)

    @property
    def recorded_stack(self) -> Mapping[str, Any]:
        """The stack as it was when the run began, as JSON (`StackSpec`)."""
        return self._hydrated.stack

    @property
    def code(self) -> Mapping[str, Any]:
        """Facts about its code, such as the git commit."""
        return self._hydrated.code

    @cached_property
    def _hydrated(self) -> Run:
        return self.record if self.record.spec else self.client.catalog.get_run(self.id)

    tags: Field[list[TagName]] = Field(copy=tag_names)
    """Its tags."""

    @property
    def run_metadata(self) -> dict[str, Any]:
        """Its metadata."""
        return dict(self._hydrated.metadata)

    error: Field[StepError | None] = Field()
    """Why it failed."""
    created: Field[datetime] = Field("created_at")
    """When it was created."""
    start_time: Field[datetime | None] = Field("started_at")
    """When it began."""
    end_time: Field[datetime | None] = Field("ended_at")
    """When it ended."""

    @property
    def model_version(self) -> ModelVersionView | None:
        """The model version that it belongs to."""
        version_id = self.record.model_version_id
        return self.client.get_model_version_by_id(version_id) if version_id else None

    @cached_property
    def step_runs(self) -> list[StepRunView]:
        """All its step runs; each instance of a mapped step is one of them."""
        records = self.client.catalog.list_step_runs(self.id)
        ids = {i for r in records for group in (*r.inputs.values(), *r.outputs.values()) for i in group}
        loaded = self.client.catalog.get_artifact_versions(sorted(ids))
        return [StepRunView(record, self.client, loaded) for record in records]

    @cached_property
    def steps(self) -> dict[str, StepRunView]:
        """Its steps by key; a mapped step is a `MappedStepView` with all its `.instances`."""
        grouped: dict[str, list[StepRunView]] = {}
        for step in self.step_runs:
            grouped.setdefault(step.record.key, []).append(step)
        steps: dict[str, StepRunView] = {}
        for key, group in grouped.items():
            if group[0].record.map_index is None:
                steps[key] = group[-1]
            else:  # on a cluster the instances don't start in the order of the list
                steps[key] = MappedStepView(sorted(group, key=lambda step: step.record.map_index or 0))
        return Names("step", f"run '{self.name}'", steps)

    @property
    def artifact_versions(self) -> list[ArtifactVersionView]:
        """All versions that its steps made."""
        return [version for step in self.step_runs for output in step.outputs.values() for version in output]

    def refresh(self) -> RunView:
        """Return the run as it is now."""
        return self.client.get_pipeline_run(self.id)

    def summary(self) -> dict[str, object]:
        """See `View.summary`."""
        return {
            "name": self.name,
            "status": self.status.value,
            "pipeline": self.pipeline_name,
            "stack": self.stack_name,
            "started": self.start_time,
            "ended": self.end_time,
            "tags": self.tags,
            "id": self.id,
        }


class PipelineView(View["PipelineSummary"]):
    """A pipeline that has runs."""

    record: PipelineSummary

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def id(self) -> str:
        """Its name: pipelines have no other identity."""
        return self.name

    @property
    def runs(self) -> Page[RunView]:
        """Its newest runs."""
        return self.client.list_pipeline_runs(pipeline=self.name)

    @property
    def last_run(self) -> RunView:
        """Its newest run.

        Raises:
            NotFoundError: all its runs were deleted.
        """
        newest = self.client.list_pipeline_runs(pipeline=self.name, size=1)
        if not newest:
            raise NotFoundError("run of pipeline", self.name)
        return newest[0]

    @property
    def last_successful_run(self) -> RunView:
        """Its newest run that completed.

        Raises:
            NotFoundError: no run completed.
        """
        newest = self.client.list_pipeline_runs(pipeline=self.name, status="completed", size=1)
        if not newest:
            raise NotFoundError("completed run of pipeline", self.name)
        return newest[0]

    def get_runs(
        self, sort_by: str | None = None, page: int = 1, size: int = 20, **filters: object
    ) -> Page[RunView]:
        """List its runs; see `Client.list_pipeline_runs`."""
        return self.client.list_pipeline_runs(sort_by, page, size, pipeline=self.name, **filters)

    def summary(self) -> dict[str, object]:
        """See `View.summary`."""
        return asdict(self.record)
