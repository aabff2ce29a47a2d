"""How a step's annotated outputs become specs of artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin

from rayform.authoring.artifact_config import ArtifactConfig
from rayform.authoring.parameters import frozen
from rayform.authoring.signatures import Output, concrete_type
from rayform.authoring.sources import type_source
from rayform_core.errors import NotFoundError
from rayform_runtime.spec import ArtifactType, OutputSpec

if TYPE_CHECKING:
    from rayform_runtime.artifacts.materializers.base import Materializer

__all__ = ["output_specs"]

_NO_CONFIG = ArtifactConfig()


def output_specs(
    outputs: Sequence[Output],
    *,
    step: str,
    key: str,
    pipeline: str,
    materializers: type[Materializer] | Mapping[str, type[Materializer]] | None,
) -> list[OutputSpec]:
    """Return the outputs of one call of a step, in order.

    Args:
        outputs: what the step's function returns.
        step: the step's name.
        key: its key in the pipeline.
        pipeline: the pipeline's name; it is part of the name of an artifact that the user didn't name.
        materializers: the user's choice, for all outputs or by output name.

    Raises:
        NotFoundError: a materializer is chosen for an output that doesn't exist, or an artifact type is unknown.
        UnsupportedTypeError: no materializer handles an annotated type.
    """
    names = [output.name for output in outputs]
    if isinstance(materializers, Mapping):
        for name in materializers:
            if name not in names:
                raise NotFoundError("output", name, known=names, within=f"of step '{step}'")
        by_output = materializers
    else:
        by_output = dict.fromkeys(names, materializers) if materializers else {}
    return [_spec(output, key, pipeline, by_output.get(output.name)) for output in outputs]


def _spec(output: Output, key: str, pipeline: str, chosen: type[Materializer] | None) -> OutputSpec:
    config = output.config or _NO_CONFIG
    type_ = concrete_type(output.annotation)
    materializer = config.materializer or chosen
    if materializer is None and not _is_plain(output.annotation):
        from rayform_runtime.artifacts.type_checks import check_type

        check_type(output.annotation, step=key, output=output.name)
    return OutputSpec(
        name=output.name,
        # All pipelines add to one artifact of a name that the user chose; the other names can't clash.
        artifact_name=output.name if output.is_named else f"{pipeline}::{key}::{output.name}",
        type=type_source(type_) if type_ else None,
        materializer=type_source(materializer) if materializer else None,
        artifact_type=_artifact_type(config.artifact_type, key, output.name),
        version=None if config.version is None else str(config.version),
        tags=config.tags,
        run_metadata=cast(
            "dict[str, object]",
            frozen(config.run_metadata, what=f"Metadata of output '{output.name}' of step '{key}'"),
        ),
    )


def _artifact_type(name: ArtifactType | str | None, step: str, output: str) -> ArtifactType | None:
    if name is None:
        return None
    try:
        return ArtifactType(name)
    except ValueError:
        raise NotFoundError(
            "artifact type",
            str(name),
            known=list(ArtifactType),
            within=f"of output '{output}' of step '{step}'",
        ) from None


def _is_plain(annotation: object) -> bool:
    """Whether a type consists only of Python's own types: stored as JSON, with nothing to look up."""
    if annotation in (int, float, str, bool, bytes, None, list, dict, tuple, set, Any):
        return True
    return get_origin(annotation) in (list, dict, tuple, set) and all(map(_is_plain, get_args(annotation)))
