"""Dynamic pipelines as data: all but the calls, which the body makes while the run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rayform.authoring.inputs import Call, input_of
from rayform.authoring.options.steps import StepOptions
from rayform.authoring.pipeline_arguments import PipelineArguments, is_stored
from rayform.authoring.run_inputs import ExternalArtifact, RunInputs
from rayform.authoring.signatures import arguments_of
from rayform_runtime.spec import ImageSpec, Input, PipelineSpec

if TYPE_CHECKING:
    from rayform.authoring.pipelines import Pipeline
    from rayform.authoring.tracing import Trace

__all__ = ["as_dynamic", "local_types"]


def as_dynamic(
    spec: PipelineSpec, trace: Trace, arguments: PipelineArguments, run_inputs: RunInputs
) -> PipelineSpec:
    """Return the spec of a dynamic pipeline, whose body has not run.

    Args:
        spec: the pipeline without steps.
        trace: has the pipeline, and what overrides the options in code.
        arguments: the body's arguments.
        run_inputs: takes the arguments that materializers store.

    Raises:
        UsageError: nothing can store an argument.
    """
    pipeline, configuration = trace.pipeline, trace.configuration
    call = Call(f"the body of pipeline '{pipeline.name}'", None, run_inputs, local_types(spec, pipeline))
    declared = arguments_of(pipeline.entrypoint, kind="Pipeline")
    sources: dict[str, Input] = {}
    for name, value in arguments.values.items():
        if name in arguments.defaulted:
            continue  # the function has the default itself
        sources[name] = input_of(call, declared[name], value)
    stored = [
        name
        for name, value in arguments.values.items()
        if is_stored(value) and not (isinstance(value, ExternalArtifact) and value.id is None)
    ]
    overrides: dict[str, Any] | None = None
    if configuration.steps or any(
        getattr(configuration, name) is not None for name in ("retry", "timeout", "resources", "enable_cache")
    ):
        dump = getattr(configuration, "model_dump", None)
        overrides = dump(mode="json", exclude_defaults=True) if dump is not None else None
    return spec.model_copy(
        update={
            "is_dynamic": True,
            "arguments": sources,
            "stored_arguments": stored,
            "overrides": overrides,
            "step_images": _step_images(trace),
            "enable_cache": True,  # each call says whether it is cached
            "cache_by_default": trace.enable_cache,
        }
    )


def _step_images(trace: Trace) -> dict[str, ImageSpec]:
    """Return the images of the steps in `depends_on` that have one of their own, by the step's name."""
    images: dict[str, ImageSpec] = {}
    for step in trace.pipeline.options.get("depends_on", ()):
        options = StepOptions.of(step.options, what=f"Step '{step.name}'")
        image = options.overridden_by(trace.configuration, step.name, step.name).image
        if image is not None:
            images[step.name] = image
    return images


def local_types(spec: PipelineSpec, pipeline: Pipeline[..., object]) -> Mapping[str, type]:
    """Return the types that only the pickle of a pipeline brings along, by import path."""
    if spec.source.pickled is None:
        return {}
    from rayform_runtime.artifacts.exact_values import types_within

    return types_within(pipeline.entrypoint)
