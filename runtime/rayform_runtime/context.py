"""The context of a running step: what it can ask about itself, and what it adds to its record.

A context variable holds it, so that nested calls, and threads that were started with a copied context, see their own
step. The step's additions travel back with its result and are recorded together with its outputs. If the step fails,
the additions to its outputs are lost, and the others are recorded with the failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform_core.errors import NoContextError, NotFoundError, UsageError

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import ModelVersion
    from rayform_runtime.components import Stack
    from rayform_runtime.execution.interface import HookTask, StepTask

__all__ = [
    "Additions",
    "PipelineInfo",
    "RunInfo",
    "StepContext",
    "StepRunInfo",
    "context_of",
    "context_of_dead",
    "get_step_context",
    "is_in_step",
    "running_step",
]

_current: ContextVar[StepContext | None] = ContextVar("rayform_step_context", default=None)


@dataclass(frozen=True, slots=True)
class PipelineInfo:
    """The pipeline that the step runs in, with the parameters of this run."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The run that the step belongs to."""

    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class StepRunInfo:
    """This execution of the step: `key` is the step's in its pipeline, `attempt` counts from 1."""

    id: UUID
    key: str
    name: str
    attempt: int


@dataclass(slots=True)
class Additions:
    """What a running step has added so far. Each method `add_...` of `StepContext` adds to one of these."""

    output_metadata: dict[str, dict[str, object]] = field(default_factory=dict)
    """By output name."""
    output_tags: dict[str, list[str]] = field(default_factory=dict)
    """By output name; `remove_output_tags` takes away."""
    output_visualizations: dict[str, dict[str, str | bytes]] = field(default_factory=dict)
    """Contents by file name, by output name."""
    step_metadata: dict[str, object] = field(default_factory=dict)
    run_metadata: dict[str, object] = field(default_factory=dict)
    model_metadata: dict[str, object] = field(default_factory=dict)
    saved: int = 0
    """How many artifact versions it saved by itself."""
    pipeline_state: object = None
    """What the pipeline's `on_init` returned."""
    cleanups: list[Callable[[], object]] = field(default_factory=list)
    """Called, last first, and removed when the step has ended."""


@dataclass(slots=True)
class StepContext:
    """What a running step knows about itself; `get_step_context()` returns it.

    The attributes never change while the step runs, apart from `additions`.

    Attributes:
        pipeline: the pipeline.
        run_info: the run.
        step_info: this execution of the step.
        step_name: the step's key in the pipeline.
        map_index: which element of the list this is; `None` if the step isn't mapped.
        attempt: 1 for the first try.
        input_ids: artifact version IDs of the inputs, by argument name.
        parameters: values of the step's other arguments.
        output_names: names of the step's outputs.
        output_ids: IDs of the artifact versions that the step makes, by output name.
        model_version_id: the model version of `model`, or `None`.
        stack: the stack, to read artifacts and the catalog with.
        additions: what the step has added so far; the worker reads it when the step has ended.

    Example:
        >>> context = get_step_context()  # doctest: +SKIP
        >>> context.add_output_metadata({"accuracy": 0.93}, output_name="model")  # doctest: +SKIP
    """

    pipeline: PipelineInfo
    run_info: RunInfo
    step_info: StepRunInfo
    map_index: int | None
    input_ids: Mapping[str, Sequence[UUID]]
    parameters: Mapping[str, Any]
    output_ids: Mapping[str, UUID]
    model_version_id: UUID | None
    stack: Stack
    additions: Additions = field(default_factory=Additions)

    @property
    def run_id(self) -> UUID:
        """ID of the run."""
        return self.run_info.id

    @property
    def run_name(self) -> str:
        """Name of the run."""
        return self.run_info.name

    @property
    def step_name(self) -> str:
        """The step's key in the pipeline."""
        return self.step_info.key

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return self.step_info.attempt

    @property
    def pipeline_state(self) -> object:
        """What the pipeline's `on_init` returned; `None` if it has none."""
        return self.additions.pipeline_state

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the step's outputs, in order."""
        return tuple(self.output_ids)

    @property
    def model(self) -> ModelVersion:
        """The model version that this step's outputs and metadata belong to.

        Raises:
            UsageError: neither the step nor its pipeline names a model.
        """
        if self.model_version_id is None:
            raise UsageError(
                f"Step '{self.step_name}' has no model.",
                hint="Name one with `@pipeline(model=Model(...))` or `@step(model=Model(...))`.",
            )
        return self.stack.catalog.get_model_version(self.model_version_id)

    # -- adding -------------------------------------------------------------------------------------------
    def add_output_metadata(self, metadata: Mapping[str, object], output_name: str | None = None) -> None:
        """Add metadata to an artifact version that this step makes.

        Args:
            metadata: JSON values by name; a name that is there already is replaced.
            output_name: which output; may be left out if the step has one.

        Raises:
            NotFoundError: the step has no output of this name.
            UsageError: the step has several outputs, or none, and no name is given.
        """
        self.additions.output_metadata.setdefault(self._output(output_name), {}).update(metadata)

    def add_output_tags(self, tags: Sequence[str], output_name: str | None = None) -> None:
        """Add tags to an artifact version that this step makes; arguments and errors as for `add_output_metadata`."""
        added = self.additions.output_tags.setdefault(self._output(output_name), [])
        added += [tag for tag in tags if tag not in added]

    def remove_output_tags(self, tags: Sequence[str], output_name: str | None = None) -> None:
        """Remove tags that `add_output_tags` added."""
        added = self.additions.output_tags.get(self._output(output_name), [])
        added[:] = [tag for tag in added if tag not in tags]

    def add_output_visualization(
        self, file_name: str, content: str | bytes, output_name: str | None = None
    ) -> None:
        """Keep a picture with an output; the suffix of `file_name` is its kind (html, png, csv, md, json)."""
        self.additions.output_visualizations.setdefault(self._output(output_name), {})[file_name] = content

    def add_step_metadata(self, metadata: Mapping[str, object]) -> None:
        """Add metadata to this step run."""
        self.additions.step_metadata.update(metadata)

    def add_run_metadata(self, metadata: Mapping[str, object]) -> None:
        """Add metadata to the run."""
        self.additions.run_metadata.update(metadata)

    def add_model_metadata(self, metadata: Mapping[str, object]) -> None:
        """Add metadata to the step's model version.

        Raises:
            UsageError: neither the step nor its pipeline names a model.
        """
        if self.model_version_id is None:
            _ = self.model  # raises, with what to do
        self.additions.model_metadata.update(metadata)

    def add_cleanup(self, function: Callable[[], object]) -> None:
        """Call `function` in this worker when the step has ended, however it ended; the last one first."""
        self.additions.cleanups.append(function)

    def get_output_id(self, output_name: str | None = None) -> UUID:
        """Return the ID that the output's artifact version will have."""
        return self.output_ids[self._output(output_name)]

    def _output(self, name: str | None) -> str:
        if name is None:
            if len(self.output_ids) == 1:
                return next(iter(self.output_ids))
            raise UsageError(
                f"Step '{self.step_name}' has {len(self.output_ids) or 'no'} outputs.",
                hint="Name one with `output_name`: " + ", ".join(self.output_ids) + "."
                if self.output_ids
                else "Annotate what it returns.",
            )
        if name not in self.output_ids:
            raise NotFoundError(f"output of step '{self.step_name}'", name, known=self.output_ids)
        return name


def get_step_context() -> StepContext:
    """Return the context of the step that is running.

    Raises:
        NoContextError: called outside of a running step.
    """
    context = _current.get()
    if context is None:
        raise NoContextError(
            "No step is running here.",
            why="get_step_context() only works while a step runs in a pipeline.",
            hint="Call it in the step's function, and not when its module is imported; a thread that the step "
            "starts needs `contextvars.copy_context().run`.",
        )
    return context


def is_in_step() -> bool:
    """Whether a step is running here."""
    return _current.get() is not None


def context_of(task: StepTask, stack: Stack) -> StepContext:
    """Return the context of a step that a worker is about to run."""
    step, inputs = task.step, task.inputs.items()
    return StepContext(
        pipeline=PipelineInfo(task.pipeline.name, task.pipeline.parameters),
        run_info=RunInfo(UUID(task.run_id), task.run_name),
        step_info=StepRunInfo(UUID(task.step_run_id), step.key, step.name, task.attempt),
        map_index=task.map_index,
        input_ids={
            name: [UUID(version.id) for version in source.versions]
            for name, source in inputs
            if source.versions is not None
        },
        parameters={name: source.value for name, source in inputs if source.versions is None},
        output_ids={name: UUID(output) for name, output in task.output_ids.items()},
        model_version_id=UUID(task.model_version_id) if task.model_version_id else None,
        stack=stack,
    )


def context_of_dead(task: HookTask, stack: Stack) -> StepContext:
    """Return the context of a step whose worker died, for its hook: it has no inputs and no outputs."""
    dead = task.of_step_run
    assert dead is not None
    return StepContext(
        pipeline=PipelineInfo(task.pipeline.name, task.pipeline.parameters),
        run_info=RunInfo(UUID(task.run_id), task.run_name),
        step_info=StepRunInfo(UUID(dead.id), dead.key, dead.name, dead.attempt),
        map_index=task.map_index,
        input_ids={},
        parameters={},
        output_ids={},
        model_version_id=UUID(task.model_version_id) if task.model_version_id else None,
        stack=stack,
    )


@contextmanager
def running_step(context: StepContext) -> Iterator[StepContext]:
    """Make `context` the current one, and call its cleanups at the end."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
        while context.additions.cleanups:
            context.additions.cleanups.pop()()
