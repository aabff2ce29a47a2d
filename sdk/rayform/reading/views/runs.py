"""Pipelines, their runs and the runs of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform.reading.views.artifacts import ArtifactVersionView, Output
from rayform.reading.views.base import Names, Page, View
from rayform_core.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from rayform.reading.client import Client
    from rayform.reading.views.models import ModelVersionView
    from rayform_runtime.catalog.entities import (
        ArtifactVersion,
        Run,
        RunStatus,
        StepError,
        StepRun,
        StepStatus,
    )

__all__ = ["MappedStepView", "PipelineView", "RunView", "StepRunView"]


class StepRunView(View):
    """One execution of a step."""

    def __init__(
        self, record: StepRun, client: Client, known: Mapping[UUID, ArtifactVersion] | None = None
    ) -> None:
        self.record = record
        self.client = client
        self._known = known

    @property
    def id(self) -> UUID:
        """Its UUID."""
        return self.record.id

    @property
    def name(self) -> str:
        """Its key in the pipeline."""
        return self.record.key

    @property
    def status(self) -> StepStatus:
        """Where it stands."""
        return self.record.status

    @property
    def is_successful(self) -> bool:
        """Whether its outputs can be used."""
        return self.record.status.is_successful

    @property
    def error(self) -> StepError | None:
        """Why it failed."""
        return self.record.error

    @property
    def start_time(self) -> datetime | None:
        """When it began."""
        return self.record.started_at

    @property
    def end_time(self) -> datetime | None:
        """When it ended."""
        return self.record.ended_at

    @property
    def parameters(self) -> dict[str, Any]:
        """The values that it was called with that aren't artifacts."""
        return dict(self.record.parameters)

    @property
    def run_metadata(self) -> dict[str, Any]:
        """Its metadata."""
        return dict(self.record.metadata)

    @property
    def run(self) -> RunView:
        """Its run."""
        return self.client.get_pipeline_run(self.record.run_id)

    def _versions(self, ids: Mapping[str, Sequence[UUID]]) -> dict[str, Output]:
        wanted = [version_id for group in ids.values() for version_id in group]
        known = self._known
        if known is None or any(version_id not in known for version_id in wanted):
            known = self.client.catalog.get_artifact_versions(wanted)
        found = {name: [known[i] for i in group if i in known] for name, group in ids.items()}
        return {name: Output(versions, self.client) for name, versions in found.items() if versions}

    @cached_property
    def inputs(self) -> dict[str, Output]:
        """The artifact versions that it got, by argument name."""
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

    def _only(self, found: Mapping[str, Output], what: str) -> Output:
        if len(found) != 1:
            names = ", ".join(f"'{name}'" for name in found) or "none"
            raise UsageError(
                f"Step '{self.name}' has {len(found)} {what}s, so there is no such thing as its {what}.",
                why=f"There are: {names}.",
                hint=f"Name one: .{what}s['NAME'].",
            )
        return next(iter(found.values()))

    def logs(self) -> str:
        """Return what it printed and logged."""
        return self.client.step_log(self.record)

    def summary(self) -> dict[str, Any]:
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
    """A step that ran once for each element of a list; as a step run, what its instances are together."""

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
        """When the last instance ended; `None` while one is at work."""
        ends = [i.end_time for i in self.instances]
        known = [end for end in ends if end is not None]
        return max(known) if len(known) == len(ends) else None

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


class RunView(View):
    """A pipeline run.

    Example:
        >>> Client().get_pipeline_run("train-2026").steps["trainer"].outputs["model"].load()  # doctest: +SKIP
    """

    def __init__(self, record: Run, client: Client) -> None:
        self.record = record
        self.client = client

    @property
    def id(self) -> UUID:
        """Its UUID."""
        return self.record.id

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def status(self) -> RunStatus:
        """Where it stands."""
        return self.record.status

    @property
    def pipeline(self) -> PipelineView:
        """Its pipeline."""
        return self.client.get_pipeline(self.record.pipeline)

    @property
    def pipeline_name(self) -> str:
        """Its pipeline's name."""
        return self.record.pipeline

    @property
    def stack_name(self) -> str:
        """The stack that it ran on."""
        return self.record.stack_name

    @property
    def parameters(self) -> dict[str, Any]:
        """The pipeline's parameters."""
        return dict(self.record.parameters)

    @property
    def config(self) -> Mapping[str, Any]:
        """The traced pipeline as JSON (`PipelineSpec`)."""
        return self._hydrated.spec

    @property
    def recorded_stack(self) -> Mapping[str, Any]:
        """The stack as it was when the run began, as JSON (`StackSpec`)."""
        return self._hydrated.stack

    @property
    def code(self) -> Mapping[str, Any]:
        """Facts of the code that it ran, such as the git commit."""
        return self._hydrated.code

    @cached_property
    def _hydrated(self) -> Run:
        return self.record if self.record.spec else self.client.catalog.get_run(self.id)

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self.record.tags)

    @property
    def run_metadata(self) -> dict[str, Any]:
        """Its metadata."""
        return dict(self._hydrated.metadata)

    @property
    def error(self) -> StepError | None:
        """Why it failed."""
        return self.record.error

    @property
    def created(self) -> datetime:
        """When it was asked for."""
        return self.record.created_at

    @property
    def start_time(self) -> datetime | None:
        """When it began."""
        return self.record.started_at

    @property
    def end_time(self) -> datetime | None:
        """When it ended."""
        return self.record.ended_at

    @property
    def model_version(self) -> ModelVersionView | None:
        """The model version that it works on."""
        mine = self.record.model_version_id
        return self.client.get_model_version_by_id(mine) if mine else None

    @cached_property
    def step_runs(self) -> list[StepRunView]:
        """All its step runs, each instance of a mapped step by itself."""
        records = self.client.catalog.list_step_runs(self.id)
        ids = {i for r in records for group in (*r.inputs.values(), *r.outputs.values()) for i in group}
        known = self.client.catalog.get_artifact_versions(sorted(ids))
        return [StepRunView(record, self.client, known) for record in records]

    @cached_property
    def steps(self) -> dict[str, StepRunView]:
        """Its steps by their key; a mapped one stands for all its instances (`.instances`)."""
        grouped: dict[str, list[StepRunView]] = {}
        for step in self.step_runs:
            grouped.setdefault(step.record.key, []).append(step)
        steps: dict[str, StepRunView] = {}
        for key, found in grouped.items():
            if found[0].record.map_index is None:
                steps[key] = found[-1]
            else:  # on a cluster the instances don't start in the order of the list
                steps[key] = MappedStepView(sorted(found, key=lambda step: step.record.map_index or 0))
        return Names("step", f"run '{self.name}'", steps)

    @property
    def artifact_versions(self) -> list[ArtifactVersionView]:
        """All versions that its steps made."""
        return [version for step in self.step_runs for output in step.outputs.values() for version in output]

    def refresh(self) -> RunView:
        """Return the run as it stands now."""
        return self.client.get_pipeline_run(self.id)

    def summary(self) -> dict[str, Any]:
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


class PipelineView(View):
    """A pipeline that has runs."""

    def __init__(self, record: Mapping[str, Any], client: Client) -> None:
        self.record = record
        self.client = client

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.record["name"])

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
            NotFoundError: it has none any more.
        """
        found = self.client.list_pipeline_runs(pipeline=self.name, size=1)
        if not found:
            raise NotFoundError("run of pipeline", self.name)
        return found[0]

    @property
    def last_successful_run(self) -> RunView:
        """Its newest run that completed.

        Raises:
            NotFoundError: none did.
        """
        found = self.client.list_pipeline_runs(pipeline=self.name, status="completed", size=1)
        if not found:
            raise NotFoundError("completed run of pipeline", self.name)
        return found[0]

    def get_runs(self, **filters: Any) -> Page[RunView]:
        """List its runs; see `Client.list_pipeline_runs`."""
        return self.client.list_pipeline_runs(pipeline=self.name, **filters)

    def summary(self) -> dict[str, Any]:
        """See `View.summary`."""
        return dict(self.record)
