"""The context of a running step, and of a pipeline whose body is running."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import chain
from typing import TYPE_CHECKING, Any

from rayform.authoring.steps import current_trace
from rayform_core.errors import NoContextError
from rayform_runtime import context as runtime_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rayform.authoring.models import Model
    from rayform.reading.views import Output

__all__ = [
    "PipelineContext",
    "RunningRun",
    "RunningStep",
    "StepContext",
    "get_pipeline_context",
    "get_step_context",
]


class RunningRun:
    """The run that the step belongs to: `id` and `name`, and on request all that the catalog has of it.

    Attributes that it doesn't have itself are those of `RunView`, such as `config`, `steps`, `tags` and `pipeline`.
    """

    def __init__(self, facts: runtime_context.RunInfo) -> None:
        self.id = facts.id
        self.name = facts.name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        from rayform.reading.client import Client

        return getattr(Client().get_pipeline_run(self.id), name)

    def __repr__(self) -> str:
        return f"RunningRun(id={self.id!r}, name={self.name!r})"


class RunningStep:
    """This execution of the step: `id`, `key`, `name` and `attempt`, and on request all that the catalog has of it.

    Attributes that it doesn't have itself are those of `StepRunView`, such as `config` and `run_metadata`.
    """

    def __init__(self, facts: runtime_context.StepRunInfo) -> None:
        self.id = facts.id
        self.key = facts.key
        self.name = facts.name
        self.attempt = facts.attempt

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        from rayform.reading.client import Client

        return getattr(Client().get_run_step(self.id), name)

    def __repr__(self) -> str:
        return f"RunningStep(id={self.id!r}, key={self.key!r}, attempt={self.attempt})"


class StepContext(runtime_context.StepContext):
    """The context of the step that is running.

    Its `model` can load artifacts and be promoted, its `inputs` are the stored versions, and its `pipeline_run` and
    `step_run` have all that the catalog has of them.
    """

    __slots__ = ()

    @property
    def inputs(self) -> Mapping[str, Output]:
        """The artifact versions that the step was called with, by argument name."""
        from rayform.reading.client import Client
        from rayform.reading.views import Output

        client = Client()
        versions = client.catalog.get_artifact_versions(list(chain.from_iterable(self.input_ids.values())))
        groups = {
            name: [versions[version_id] for version_id in ids if version_id in versions]
            for name, ids in self.input_ids.items()
        }
        return {name: Output(group, client) for name, group in groups.items() if group}

    @property
    def pipeline_run(self) -> RunningRun:
        """The run that the step belongs to."""
        return RunningRun(self.run_info)

    @property
    def step_run(self) -> RunningStep:
        """This execution of the step."""
        return RunningStep(self.step_info)

    @property
    def model(self) -> Model:  # type: ignore[override]
        """The model version that this step's outputs and metadata belong to, as a handle.

        Raises:
            UsageError: neither the step nor its pipeline names a model.
        """
        from rayform.authoring.models import Model

        return Model.of_version(super().model.id)


def get_step_context() -> StepContext:
    """Return the context of the step that is running: its run, pipeline, parameters, model and outputs.

    Raises:
        NoContextError: called outside of a running step.

    Example:
        >>> @step
        ... def train() -> None:
        ...     get_step_context().add_output_metadata({"accuracy": 0.9})
    """
    running = runtime_context.get_step_context()
    # This context shares the dictionaries of the worker's, so that metadata added here travels with the result.
    return StepContext(**{f.name: getattr(running, f.name) for f in fields(running)})


@dataclass(frozen=True, slots=True)
class PipelineContext:
    """The pipeline whose body is running.

    Args:
        name: its name.
        enable_cache: whether its steps may be taken from the cache, unless they set it themselves.
        model: the model that its artifacts belong to, if it has one. What is asked of its version is looked up in the
            catalog now, so that stored artifacts of it can be given to steps.
        tags: tags that its run will have.
        extra: the JSON of the option `extra`.
    """

    name: str
    enable_cache: bool
    model: Model | None
    tags: tuple[str, ...]
    extra: Mapping[str, object]


def get_pipeline_context() -> PipelineContext:
    """Return the context of the pipeline whose body is running: its name, model, tags and cache setting.

    Raises:
        NoContextError: called outside of a pipeline's body.

    Example:
        >>> @pipeline
        ... def training() -> None:
        ...     train.with_options(id=f"train_{get_pipeline_context().name}")()
    """
    trace = current_trace.get()
    if trace is None:
        raise NoContextError(
            "get_pipeline_context() is called outside of a pipeline's body.",
            why="It only works while a pipeline's body runs.",
            hint="In a step, use get_step_context().",
        )
    from rayform.authoring.models import Model
    from rayform.authoring.options.values import checked_tags, model_spec, value_or

    options = trace.pipeline.options
    configuration = trace.configuration
    what = f"Pipeline '{trace.pipeline.name}'"
    model = model_spec(value_or(configuration.model, options.get("model")), what=what)
    return PipelineContext(
        name=trace.pipeline.name,
        enable_cache=trace.enable_cache,
        model=None if model is None else Model(**model.model_dump()),
        tags=tuple(checked_tags(what, options.get("tags", ()), configuration.tags)),
        extra=trace.defaults.extra,
    )
