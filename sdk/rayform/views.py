"""What `Client` answers with: the catalog's records, with ways to load values and walk to what belongs to them.

Names and shapes are ZenML's responses where the idea is the same. Reading them imports no materializer and no
library of the value's until `.load()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload
from uuid import UUID

from rayform.notebook import html_pairs, html_table, text_pairs
from rayform_core.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from rayform.client import Client
    from rayform_runtime.catalog.interface import (
        Artifact,
        ArtifactVersion,
        Model,
        ModelStage,
        ModelVersion,
        Run,
        RunStatus,
        StageChange,
        StepError,
        StepRun,
        StepStatus,
        Visualization,
    )

__all__ = [
    "ArtifactVersionView",
    "ArtifactView",
    "ModelVersionView",
    "ModelView",
    "Output",
    "Page",
    "PipelineView",
    "RunView",
    "StepRunView",
    "View",
]

V = TypeVar("V", bound="View")


class View:
    """A record of the catalog and the client that it came from."""

    client: Client

    def summary(self) -> dict[str, Any]:
        """Return what a table shows of it, by heading."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return text_pairs(type(self).__name__.removesuffix("View"), self.summary())

    def _repr_html_(self) -> str:
        return html_pairs(type(self).__name__.removesuffix("View"), self.summary())

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and getattr(self, "id", None) == getattr(other, "id", self)

    def __hash__(self) -> int:
        return hash(getattr(self, "id", None))


class Page(Sequence[V], Generic[V]):
    """One page of a list; iterate over it, or over `.items`.

    Attributes:
        items: the items.
        page, size, total: which page, how many items on a full one, how many in all.
    """

    def __init__(self, items: Sequence[V], *, page: int, size: int, total: int) -> None:
        self.items = list(items)
        self.page = page
        self.size = size
        self.total = total

    @property
    def total_pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.total // self.size))

    @property
    def index(self) -> int:  # type: ignore[override]
        """Which page this is, from 1 (ZenML's name)."""
        return self.page

    @property
    def max_size(self) -> int:
        """How many items a full page has (ZenML's name)."""
        return self.size

    @overload
    def __getitem__(self, index: int) -> V: ...
    @overload
    def __getitem__(self, index: slice) -> list[V]: ...
    def __getitem__(self, index: int | slice) -> V | list[V]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[V]:
        return iter(self.items)

    def _title(self) -> str:
        return f"Page {self.page} of {self.total_pages}, {self.total} in all"

    def __repr__(self) -> str:
        rows = [" | ".join(str(v) for v in item.summary().values()) for item in self.items]
        return "\n".join([self._title(), *rows])

    def _repr_html_(self) -> str:
        return html_table(self._title(), [item.summary() for item in self.items])


class ArtifactVersionView(View):
    """One immutable value of an artifact.

    Example:
        >>> Client().get_artifact_version("digits", 3).load()  # doctest: +SKIP
    """

    def __init__(self, record: ArtifactVersion, client: Client) -> None:
        self.record = record
        self.client = client

    @property
    def id(self) -> UUID:
        """Its UUID."""
        return self.record.id

    @property
    def name(self) -> str:
        """The artifact's name."""
        return self.record.name

    @property
    def version(self) -> str:
        """Its version: a number, or a person's own name."""
        return self.record.version

    @property
    def number(self) -> int | None:
        """Its number, where it was numbered automatically."""
        return self.record.number

    @property
    def uri(self) -> str:
        """Where its data lies."""
        return self.record.uri

    @property
    def type(self) -> str:
        """What it is to people: `data`, `model`, …"""
        return self.record.artifact_type

    @property
    def data_type(self) -> str:
        """Import path of the value's type."""
        return self.record.type

    @property
    def materializer(self) -> str:
        """Import path of what saved it."""
        return self.record.materializer

    @property
    def digest(self) -> str:
        """Digest of its data; equal values have equal ones."""
        return self.record.digest

    @property
    def size(self) -> int:
        """Bytes in the store."""
        return self.record.size

    @property
    def created(self) -> datetime:
        """When it was made."""
        return self.record.created_at

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self.record.tags)

    @cached_property
    def run_metadata(self) -> dict[str, Any]:
        """Its metadata: what materializers found out and what people logged."""
        if self.record.metadata:
            return dict(self.record.metadata)
        # Lists leave metadata out; one more look gets it.
        return dict(self.client.catalog.get_artifact_version(self.id).metadata)

    @property
    def artifact(self) -> ArtifactView:
        """The artifact that it is a version of."""
        return self.client.get_artifact(self.record.artifact_id)

    @property
    def step(self) -> StepRunView | None:
        """The step run that made it, or `None` where a person saved it, or the run was deleted."""
        made_by = self.record.producer_step_run_id
        return self.client.get_run_step(made_by) if made_by else None

    @property
    def run(self) -> RunView | None:
        """The run that made it, likewise."""
        made_in = self.record.producer_run_id
        return self.client.get_pipeline_run(made_in) if made_in else None

    @property
    def visualizations(self) -> tuple[Visualization, ...]:
        """Pictures of the value that are stored with it."""
        return self.record.visualizations

    def load(self) -> Any:
        """Load the value, verified against its digest.

        Raises:
            IntegrityError: its data is gone, or isn't what was committed.
            PrerequisiteError: a package that it needs isn't installed.
        """
        return self.client.load_version(self.record)

    def read(self) -> Any:
        """Load the value (ZenML's older name of `load`)."""
        return self.load()

    def download(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Copy the artifact's files.

        Args:
            path: a folder that doesn't exist yet, or a `.zip` file to pack them into.
            overwrite: replace what is there.

        Returns:
            The path.

        Raises:
            ConflictError: the path exists, and `overwrite` isn't set.
        """
        return self.client.download_version(self.record, Path(path), overwrite=overwrite)

    def download_files(self, path: str | Path, overwrite: bool = False) -> None:
        """Copy the artifact's files into a `.zip` file (ZenML's name)."""
        self.download(path, overwrite=overwrite)

    def visualize(self, name: str | None = None) -> Any:
        """Show its visualizations in a notebook, or return their text elsewhere.

        Args:
            name: of one visualization; all unless told.

        Returns:
            In a notebook nothing; elsewhere a dict of name to text (bytes for images).

        Raises:
            NotFoundError: it has no visualization of that name, or none at all.
        """
        from rayform.visualizations import show

        return show(self, name)

    def log_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to its metadata."""
        self.client.log_to("artifact_version", self.id, metadata)
        self.__dict__.pop("run_metadata", None)
        self.record = self.client.catalog.get_artifact_version(self.id)

    def summary(self) -> dict[str, Any]:
        """See `View.summary`."""
        return {
            "name": self.name,
            "version": self.version,
            "id": self.id,
            "type": self.type,
            "data type": self.data_type,
            "size": self.size,
            "tags": self.tags,
            "created": self.created,
            "uri": self.uri,
        }


class Output(ArtifactVersionView):
    """What a step run got or made under one name: nearly always one version, which it then is.

    It is also a sequence of its versions: `outputs["model"].load()` and, as in ZenML, `outputs["model"][0].load()`.
    Where a mapped step made several, or a step joins several, `load()` returns the list of values, and the rest
    is that of the first.
    """

    def __init__(self, versions: Sequence[ArtifactVersion], client: Client) -> None:
        super().__init__(versions[0], client)
        self.versions = tuple(ArtifactVersionView(v, client) for v in versions)

    def load(self) -> Any:
        """Load the value, or the list of values where there are several versions."""
        loaded = [version.load() for version in self.versions]
        return loaded[0] if len(loaded) == 1 else loaded

    def __len__(self) -> int:
        return len(self.versions)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> ArtifactVersionView:
        return self.versions[index]

    def __iter__(self) -> Iterator[ArtifactVersionView]:
        return iter(self.versions)


class ArtifactView(View):
    """A named series of versions."""

    def __init__(self, record: Artifact, client: Client) -> None:
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
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self.record.tags)

    @property
    def created(self) -> datetime:
        """When its first version was made."""
        return self.record.created_at

    @property
    def latest_version_name(self) -> str | None:
        """Its newest version."""
        return self.record.latest_version

    @property
    def run_metadata(self) -> dict[str, Any]:
        """Metadata of the artifact itself."""
        return dict(self.record.metadata)

    @property
    def versions(self) -> dict[str, ArtifactVersionView]:
        """Its versions by name, newest first."""
        found = self.client.list_artifact_versions(artifact=self.name, size=10_000)
        return {version.version: version for version in found}

    def summary(self) -> dict[str, Any]:
        """See `View.summary`."""
        return {
            "name": self.name,
            "latest version": self.latest_version_name,
            "tags": self.tags,
            "created": self.created,
            "id": self.id,
        }


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


class Names(dict[str, V]):
    """A dict whose missing keys raise an error that names the nearest ones (and is a `KeyError` too)."""

    def __init__(self, kind: str, where: str, items: Mapping[str, V]) -> None:
        super().__init__(items)
        self._kind, self._where = kind, where

    def __missing__(self, key: str) -> V:
        raise _MissingNameError(f"{self._kind} in {self._where} called", str(key), known=list(self))


class _MissingNameError(NotFoundError, KeyError):
    """Both of our tree and what a dict raises."""


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
        steps = {
            key: MappedStepView(found) if found[0].record.map_index is not None else found[-1]
            for key, found in grouped.items()
        }
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


class ModelView(View):
    """A named series of model versions."""

    def __init__(self, record: Model, client: Client) -> None:
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
    def description(self) -> str | None:
        """What it is for."""
        return self.record.description

    @property
    def license(self) -> str | None:
        """Its licence."""
        return self.record.license

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self.record.tags)

    @property
    def run_metadata(self) -> dict[str, Any]:
        """Metadata of the model itself."""
        return dict(self.record.metadata)

    @property
    def created(self) -> datetime:
        """When its first version was made."""
        return self.record.created_at

    @property
    def latest_version_name(self) -> str | None:
        """Its newest version."""
        return self.record.latest_version

    @property
    def versions(self) -> list[ModelVersionView]:
        """Its versions, newest first."""
        return list(self.client.list_model_versions(self.name, size=10_000))

    @property
    def stage_changes(self) -> list[StageChange]:
        """Its history of promotions, oldest first."""
        return self.client.catalog.list_stage_changes(self.id)

    def get_version(self, version: str | int | ModelStage | None = None) -> ModelVersionView:
        """Return one version; see `Client.get_model_version`."""
        return self.client.get_model_version(self.name, version)

    def summary(self) -> dict[str, Any]:
        """See `View.summary`."""
        return {
            "name": self.name,
            "latest version": self.latest_version_name,
            "description": self.description,
            "license": self.license,
            "tags": self.tags,
            "created": self.created,
            "id": self.id,
        }


class ModelVersionView(View):
    """One version of a model."""

    def __init__(self, record: ModelVersion, client: Client) -> None:
        self.record = record
        self.client = client

    @property
    def id(self) -> UUID:
        """Its UUID."""
        return self.record.id

    @property
    def name(self) -> str:
        """The model's name."""
        return self.record.name

    @property
    def version(self) -> str:
        """Its version: a number, or a person's own name."""
        return self.record.version

    @property
    def number(self) -> int | None:
        """Its number, where it was numbered automatically."""
        return self.record.number

    @property
    def stage(self) -> ModelStage:
        """Its stage."""
        return self.record.stage

    @property
    def description(self) -> str | None:
        """What is special about it."""
        return self.record.description

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self.record.tags)

    @cached_property
    def run_metadata(self) -> dict[str, Any]:
        """Its metadata."""
        if self.record.metadata:
            return dict(self.record.metadata)
        return dict(self.client.catalog.get_model_version(self.record.name, self.record.version).metadata)

    @property
    def created(self) -> datetime:
        """When it was made."""
        return self.record.created_at

    @property
    def model(self) -> ModelView:
        """The model that it is a version of."""
        return self.client.get_model(self.record.model_id)

    @property
    def pipeline_runs(self) -> dict[str, RunView]:
        """The runs that are linked to it, by name."""
        found = (self.client.get_pipeline_run(run_id) for run_id in self.record.run_ids)
        return {run.name: run for run in found}

    @cached_property
    def artifact_versions(self) -> list[ArtifactVersionView]:
        """The artifact versions that are linked to it, newest first."""
        found = self.client.catalog.list_model_version_artifacts(self.id)
        return [ArtifactVersionView(record, self.client) for record in found]

    def get_artifact(self, name: str, version: str | int | None = None) -> ArtifactVersionView | None:
        """Return a linked artifact version, the newest of its name unless told; `None` where none is linked."""
        return self._find(name, version, lambda _: True)

    def get_model_artifact(self, name: str, version: str | int | None = None) -> ArtifactVersionView | None:
        """Like `get_artifact`, for artifacts of type `model`."""
        return self._find(name, version, lambda kind: kind == "model")

    def get_data_artifact(self, name: str, version: str | int | None = None) -> ArtifactVersionView | None:
        """Like `get_artifact`, for artifacts that aren't of type `model` or `service`."""
        return self._find(name, version, lambda kind: kind not in ("model", "service"))

    def _find(
        self, name: str, version: str | int | None, wanted: Callable[[str], bool]
    ) -> ArtifactVersionView | None:
        for found in self.artifact_versions:
            same = found.name == name and (version is None or found.version == str(version))
            if same and wanted(found.type):
                return found
        return None

    def load_artifact(self, name: str, version: str | int | None = None) -> Any:
        """Load the value of a linked artifact.

        Raises:
            NotFoundError: none of this name is linked; names its neighbours.
        """
        found = self.get_artifact(name, version)
        if found is None:
            raise NotFoundError(
                f"artifact in version '{self.version}' of model '{self.name}' called",
                name if version is None else f"{name}:{version}",
                known=dict.fromkeys(a.name for a in self.artifact_versions),
            )
        return found.load()

    def set_stage(self, stage: str | ModelStage, force: bool = False) -> ModelVersionView:
        """Move it to a stage and return it as it is then; see `Model.set_stage`."""
        return self.client.set_model_stage(self, stage, force=force)

    def log_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to its metadata."""
        self.client.log_to("model_version", self.id, metadata)
        self.__dict__.pop("run_metadata", None)
        self.record = self.client.catalog.get_model_version(self.record.name, self.record.version)

    def summary(self) -> dict[str, Any]:
        """See `View.summary`."""
        return {
            "model": self.name,
            "version": self.version,
            "stage": self.stage.value,
            "description": self.description,
            "tags": self.tags,
            "metadata": dict(self.record.metadata),
            "created": self.created,
            "id": self.id,
        }
