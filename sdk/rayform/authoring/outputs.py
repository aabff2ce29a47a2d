"""How a step's annotated outputs become specs of artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from rayform.authoring.annotations import concrete_type, outputs_of
from rayform.authoring.parameters import frozen
from rayform.authoring.sources import type_source
from rayform.authoring.steps import Step
from rayform_core.errors import NotFoundError
from rayform_runtime.spec import ArtifactType, OutputSpec

__all__ = ["output_specs"]


def output_specs(
    step: Step[Any, Any],
    key: str,
    *,
    pipeline: str,
    materializers: type[Any] | Mapping[str, type[Any]] | None,
) -> list[OutputSpec]:
    """Return the outputs of one call of a step, in order.

    Args:
        step: the step.
        key: its key in the pipeline.
        pipeline: the pipeline's name, for artifacts that have none of their own.
        materializers: what the person chose, for all outputs or by output name.

    Raises:
        NotFoundError: a materializer is chosen for an output that isn't there.
        UnsupportedTypeError: no materializer takes an annotated type.
    """
    outputs = outputs_of(step)
    chosen = materializers
    by_output: Mapping[str, type[Any]] = (
        chosen if isinstance(chosen, Mapping) else {o.name: chosen for o in outputs} if chosen else {}
    )
    if unknown := [n for n in by_output if n not in {o.name for o in outputs}]:
        raise NotFoundError(
            "output", unknown[0], known=[o.name for o in outputs], within=f"of step '{step.name}'"
        )
    specs = []
    for output in outputs:
        config = output.config
        type_ = concrete_type(output.annotation)
        materializer = (config and config.materializer) or by_output.get(output.name)
        if materializer is None and not _is_plain(output.annotation):
            from rayform_runtime.artifacts.values import check_type

            check_type(output.annotation, step=key, output=output.name)
        specs.append(
            OutputSpec(
                name=output.name,
                # One that a person named is one series whichever pipeline makes it; the rest can't clash.
                artifact_name=output.name if output.is_named else f"{pipeline}::{key}::{output.name}",
                type=type_source(type_) if type_ else None,
                materializer=type_source(materializer) if materializer else None,
                artifact_type=_artifact_type(config.artifact_type, key, output.name) if config else None,
                version=str(config.version) if config and config.version is not None else None,
                tags=config.tags if config else [],
                run_metadata=frozen(
                    config.run_metadata, Any, what=f"Metadata of output '{output.name}' of step '{key}'"
                )
                if config
                else {},
            )
        )
    return specs


def _artifact_type(given: Any, step: str, output: str) -> ArtifactType | None:
    if given is None:
        return None
    try:
        return ArtifactType(given)
    except ValueError:
        raise NotFoundError(
            f"artifact type (of output '{output}' of step '{step}')", str(given), known=list(ArtifactType)
        ) from None


def _is_plain(annotation: Any) -> bool:
    """Whether a type is Python's own through and through: stored as JSON, with nothing to look up."""
    if annotation in (int, float, str, bool, bytes, None, list, dict, tuple, set, Any):
        return True
    return get_origin(annotation) in (list, dict, tuple, set) and all(map(_is_plain, get_args(annotation)))
