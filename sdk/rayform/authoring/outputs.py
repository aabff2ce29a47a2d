"""How a step's annotated outputs become specs of artifacts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin

from rayform.authoring.artifact_config import ArtifactConfig
from rayform.authoring.options.tags import Tag, tag_names
from rayform.authoring.parameters import frozen
from rayform.authoring.signatures import Output, concrete_type
from rayform.authoring.sources import type_source
from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.spec import ArtifactType, OutputSpec

if TYPE_CHECKING:
    from rayform.authoring.options.written import SomeMaterializers
    from rayform_runtime.artifacts.materializers.base import Materializer

__all__ = ["ArtifactNames", "materializers_in", "output_specs"]

_NO_CONFIG = ArtifactConfig()


class ArtifactNames:
    """Fills in the placeholders of the names of one trace's artifacts: all get the same date and time."""

    def __init__(self) -> None:
        self._facts: dict[str, str] | None = None  # made for the first name that has a placeholder

    def filled(self, output: Output, substitutions: Mapping[str, str]) -> Output:
        """Return the output with its name filled in.

        Raises:
            UsageError: the name has a placeholder that nothing fills in.
        """
        if "{" not in output.name:
            return output
        if self._facts is None:
            now = datetime.now(UTC)
            self._facts = {"date": now.strftime("%Y_%m_%d"), "time": now.strftime("%H_%M_%S_%f")}
        facts = {**self._facts, **substitutions}
        try:
            name = output.name.format_map(facts)
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise UsageError(
                f"The artifact name '{output.name}' can't be filled in.",
                why=f"{type(error).__name__}: {error}.",
                hint=f"Placeholders that exist: {', '.join('{' + f + '}' for f in facts)}. "
                "Add others with `substitutions=`.",
            ) from None
        return replace(output, name=name)


def materializers_in(
    chosen: SomeMaterializers | Mapping[str, SomeMaterializers] | None,
) -> tuple[type[Materializer], ...]:
    """Return all classes in the option `output_materializers`."""
    if chosen is None:
        return ()
    if isinstance(chosen, Mapping):
        return tuple(itertools.chain.from_iterable(map(materializers_in, chosen.values())))
    return (chosen,) if isinstance(chosen, type) else tuple(chosen)


def _first_fit(
    chosen: SomeMaterializers | None, annotation: object, *, step: str, output: str
) -> type[Materializer] | None:
    """Return the chosen class, or of several the one that takes the annotated type.

    Raises:
        UsageError: several are chosen, and none is for the annotated type.
    """
    candidates = materializers_in(chosen)
    if len(candidates) <= 1:
        return candidates[0] if candidates else None
    type_ = concrete_type(annotation)
    for base in type_.__mro__ if type_ is not None else ():
        for candidate in candidates:
            if base in candidate.ASSOCIATED_TYPES:
                return candidate
    names = ", ".join(candidate.__name__ for candidate in candidates)
    raise UsageError(
        f"Output '{output}' of step '{step}' has several materializers to choose from: {names}.",
        why="None of them has the output's annotated type in its ASSOCIATED_TYPES.",
        hint="Choose one for each output: output_materializers={'NAME': CLASS}.",
    )


def output_specs(
    outputs: Sequence[Output],
    *,
    step: str,
    key: str,
    pipeline: str,
    materializers: SomeMaterializers | Mapping[str, SomeMaterializers] | None,
    tags: Sequence[str] = (),
) -> list[OutputSpec]:
    """Return the outputs of one call of a step, in order.

    Args:
        outputs: what the step's function returns.
        step: the step's name.
        key: its key in the pipeline.
        pipeline: the pipeline's name; it is part of the name of an artifact that the user didn't name.
        materializers: the user's choice, for all outputs or by output name. Of several for one output, the one for
            its annotated type.
        tags: tags of all versions.

    Raises:
        NotFoundError: a materializer is chosen for an output that doesn't exist, or an artifact type is unknown.
        UnsupportedTypeError: no materializer handles an annotated type.
    """
    names = [output.name for output in outputs]
    if isinstance(materializers, Mapping):
        for name in materializers:
            if name not in names:
                raise NotFoundError("output", name, known=names, within=f"of step '{step}'")
        by_output: Mapping[str, SomeMaterializers] = materializers
    else:
        by_output = dict.fromkeys(names, materializers) if materializers else {}
    return [
        _spec(
            output,
            key,
            pipeline,
            _first_fit(by_output.get(output.name), output.annotation, step=key, output=output.name),
            tags,
        )
        for output in outputs
    ]


def _spec(
    output: Output, key: str, pipeline: str, chosen: type[Materializer] | None, tags: Sequence[str]
) -> OutputSpec:
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
        tags=list(dict.fromkeys((*tag_names(config.tags), *tags))),
        exclusive_tags=[tag.name for tag in config.tags if isinstance(tag, Tag) and tag.exclusive],
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
