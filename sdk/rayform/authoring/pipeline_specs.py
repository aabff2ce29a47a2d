"""The last part of a trace: the `PipelineSpec` of the steps that the body called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rayform.authoring.flow.conditions import refuse_condition
from rayform.authoring.options.tags import Tag
from rayform.authoring.options.values import checked, checked_environment, checked_tags, model_spec, value_or
from rayform.authoring.pipeline_arguments import returned_outputs
from rayform.authoring.sources import source_of
from rayform_runtime.spec import PipelineSpec
from rayform_runtime.usercode.module_index import save_indexes

if TYPE_CHECKING:
    from rayform.authoring.options.steps import StepOptions
    from rayform.authoring.tracing import Trace
    from rayform_runtime.usercode.digest import StepCode

__all__ = ["dependencies_of", "pipeline_spec"]


def pipeline_spec(trace: Trace, parameters: Mapping[str, object], result: object) -> PipelineSpec:
    """Return the traced pipeline.

    Args:
        trace: has the steps.
        parameters: values of the pipeline's arguments, for users.
        result: what the body returned.

    Raises:
        UsageError: an option is wrong, or the body returned something else than outputs.
    """
    pipeline, configuration = trace.pipeline, trace.configuration
    options = pipeline.options
    what = f"Pipeline '{pipeline.name}'"
    refuse_condition(what, options)
    return checked(
        PipelineSpec,
        what,
        name=pipeline.name,
        source=source_of(pipeline, what=what),
        parameters=parameters,
        has_exact_values=True,
        steps=list(trace.steps.values()),
        outputs=returned_outputs(what, result),
        # A step's own setting overrides the pipeline's, so this is only false if it is false for all steps.
        enable_cache=any(step.enable_cache for step in trace.steps.values()),
        model=model_spec(value_or(configuration.model, options.get("model")), what=what),
        image=trace.defaults.image,
        environment=checked_environment(
            what, {**options.get("environment", {}), **configuration.environment}
        ),
        tags=checked_tags(what, options.get("tags", ()), configuration.tags),
        exclusive_tags=[
            tag.name for tag in options.get("tags", ()) if isinstance(tag, Tag) and tag.exclusive
        ],
        run_name=value_or(configuration.run_name, options.get("run_name")),
        extra=trace.defaults.extra,
        substitutions=trace.defaults.substitutions,
        **_code_of(trace.code),
    )


def dependencies_of(function: Callable[..., object], options: StepOptions, *, what: str) -> dict[str, str]:
    """Return the digests of what a step's result depends on, in addition to its code and inputs."""
    if not options.cache_files and options.cache_on is None:
        return {}
    from rayform.authoring.cache_on import cache_dependencies

    return cache_dependencies(function, options.cache_files, options.cache_on, what=what)


def _code_of(codes: Mapping[str, StepCode]) -> dict[str, object]:
    """Return the fields of a `PipelineSpec` that say which code the steps can reach."""
    save_indexes()
    parts: dict[str, str] = {}
    for code in codes.values():
        parts.update(code.parts)
    position = {place: index for index, place in enumerate(parts)}
    reached = {digest: [position[place] for place in code.parts] for digest, code in codes.items()}
    return {"code_parts": parts, "code_reached": reached}
