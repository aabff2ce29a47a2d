"""The context of a running step, and of a pipeline whose body is running."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rayform.authoring.steps import current_trace
from rayform_core.errors import UsageError
from rayform_runtime import context as runtime_context

if TYPE_CHECKING:
    from rayform.reading.views import ModelVersionView
    from rayform_runtime.spec import ModelSpec

__all__ = ["PipelineContext", "StepContext", "get_pipeline_context", "get_step_context"]


class StepContext(runtime_context.StepContext):
    """The context of the step that is running. Its `model` can load artifacts and be promoted."""

    __slots__ = ()

    @property
    def model(self) -> ModelVersionView:  # type: ignore[override]
        """The model version that this step's outputs and metadata belong to.

        Raises:
            UsageError: neither the step nor its pipeline names a model.
        """
        from rayform.reading.client import Client

        record = super().model
        return Client().get_model_version_by_id(record.id)


def get_step_context() -> StepContext:
    """Return the context of the step that is running: its run, pipeline, parameters, model and outputs.

    Raises:
        UsageError: called outside of a running step.

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
        model: the model that its artifacts belong to, if it has one.
        tags: tags that its run will have.
    """

    name: str
    enable_cache: bool
    model: ModelSpec | None
    tags: tuple[str, ...]


def get_pipeline_context() -> PipelineContext:
    """Return the context of the pipeline whose body is running: its name, model, tags and cache setting.

    Raises:
        UsageError: called outside of a pipeline's body.

    Example:
        >>> @pipeline
        ... def training() -> None:
        ...     train.with_options(id=f"train_{get_pipeline_context().name}")()
    """
    trace = current_trace.get()
    if trace is None:
        raise UsageError(
            "get_pipeline_context() is called outside of a pipeline's body.",
            why="It only works while a pipeline's body runs.",
            hint="In a step, use get_step_context().",
        )
    from rayform.authoring.options import model_spec, value_or

    options = trace.pipeline.options
    configuration = trace.configuration
    model = value_or(configuration.model, options.get("model"))
    return PipelineContext(
        name=trace.pipeline.name,
        enable_cache=trace.enable_cache,
        model=model_spec(model, what=f"Pipeline '{trace.pipeline.name}'"),
        tags=(*options.get("tags", ()), *configuration.tags),
    )
