"""Checks what a step returned against its annotation, and saves it: one artifact version for each output."""

from __future__ import annotations

import errno
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from rayform_core.errors import UsageError
from rayform_core.files import storage_error
from rayform_runtime.artifacts.values import save_value
from rayform_runtime.catalog.entities import NewArtifactVersion
from rayform_runtime.catalog.metadata import as_stored
from rayform_runtime.execution.worker.arguments import type_hints_of
from rayform_runtime.usercode.loading import load_source

if TYPE_CHECKING:
    from rayform_runtime.context import StepContext
    from rayform_runtime.execution.interface import StepTask
    from rayform_runtime.usercode.code_ref import CodeRef

__all__ = ["SavedOutputs", "save_outputs"]


class SavedOutputs(NamedTuple):
    """The committed outputs of a step, in types that every process reads.

    Args:
        versions: the outputs.
        lengths: of lists and tuples, by output name.
        summaries: one line each, by output name.
        step_metadata, run_metadata, model_metadata: what the step added.
    """

    versions: Sequence[NewArtifactVersion]
    lengths: Mapping[str, int]
    summaries: Mapping[str, str]
    step_metadata: Mapping[str, object]
    run_metadata: Mapping[str, object]
    model_metadata: Mapping[str, object]


def save_outputs(
    returned: object, task: StepTask, context: StepContext, function: Callable[..., object]
) -> SavedOutputs:
    """Commit what a step returned to the artifact store.

    Args:
        returned: the step's return value.
        task: the step.
        context: the step's metadata, tags and visualizations.
        function: the step's function, whose annotation says what it returns.

    Raises:
        UsageError: the step returned another number of values than it declares, or other types, or the catalog
            can't keep its metadata or tags. So this step alone fails.
        PrerequisiteError: the disk is full.
    """
    versions: list[NewArtifactVersion] = []
    lengths: dict[str, int] = {}
    summaries: dict[str, str] = {}
    values = _values(returned, task)
    _check(returned, values, task, function)
    for output, value in zip(task.step.outputs, values, strict=True):
        version_id = UUID(task.output_ids[output.name])
        metadata = {**output.run_metadata, **context.additions.output_metadata.get(output.name, {})}
        version = output.version
        if version is not None and task.map_index is not None:
            version = f"{version}-{task.map_index}"  # the instances of a mapped step can't share one name
        if isinstance(value, list | tuple):
            lengths[output.name] = len(value)
            # A later run that takes this from the cache learns from it how wide a map over it is.
            metadata.setdefault("length", len(value))
        try:
            saved = save_value(
                context.stack.artifact_store,
                version_id,
                value,
                declared_type=partial(_declared_type, output.type) if output.type is not None else None,
                materializer=load_source(output.materializer) if output.materializer is not None else None,
                metadata=metadata,
                visualizations=context.additions.output_visualizations.get(output.name),
                keeps_facts=task.step.kept.metadata,
                keeps_pictures=task.step.kept.visualizations,
                step=task.step.key,
                output=output.name,
            )
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise storage_error(error, context.stack.artifact_store.uri) from error
            raise
        manifest = saved.manifest
        versions.append(
            NewArtifactVersion(
                id=version_id,
                artifact_name=output.artifact_name,
                uri=saved.uri,
                type=manifest.type,
                materializer=manifest.materializer,
                digest=manifest.digest,
                size=manifest.size,
                artifact_type=output.artifact_type or saved.artifact_type,
                version=version,
                tags=_tags_as_stored([*output.tags, *context.additions.output_tags.get(output.name, ())]),
                metadata=as_stored(manifest.metadata),
                visualizations=saved.visualizations,
                output_name=output.name,
            )
        )
        summaries[output.name] = str(saved.summary)
    additions = context.additions
    return SavedOutputs(
        versions,
        lengths,
        summaries,
        as_stored(additions.step_metadata),
        as_stored(additions.run_metadata),
        as_stored(additions.model_metadata),
    )


def _tags_as_stored(tags: Sequence[str]) -> Sequence[str]:
    if not tags:
        return ()
    from rayform_runtime.catalog.sql.rows import decode_tags, encode_tags

    return decode_tags(encode_tags(tags))


def _values(returned: object, task: StepTask) -> Sequence[object]:
    """Return one value for each output.

    Raises:
        UsageError: the step returned another number of values than it declares.
    """
    count = len(task.step.outputs)
    if count == 0:
        return []
    if count == 1:
        return [returned]
    if isinstance(returned, tuple | list) and len(returned) == count:
        return returned
    answer = f"{len(returned)} values" if isinstance(returned, tuple | list) else type(returned).__name__
    names = ", ".join(f"'{output.name}'" for output in task.step.outputs)
    raise UsageError(
        f"Step '{task.step.key}' returned {answer}, and it declares {count} outputs: {names}.",
        hint=f"Return a tuple of {count} values.",
    )


def _declared_type(source: CodeRef) -> object:
    """Return the annotated type, or `None` if this process can't find it."""
    try:
        return load_source(source)
    except Exception:  # noqa: BLE001 - only a hint; the value's own type is what counts
        return None


# -- annotations ----------------------------------------------------------------------------------------------


def _check(
    returned: object, values: Sequence[object], task: StepTask, function: Callable[..., object]
) -> None:
    """Refuse what certainly doesn't fit a step's annotation, before anything of it is stored.

    Containers are checked one level deep, and large ones by a sample.

    Args:
        returned: the step's return value.
        values: the value of each output.
        task: the step.
        function: its function.

    Raises:
        UsageError: names the output and both types.
    """
    annotation = getattr(function, "__annotations__", {}).get("return", Any)
    if isinstance(annotation, str):
        annotation = type_hints_of(function).get("return", Any)
    if annotation is Any or (len(values) == 1 and type(values[0]) is annotation):
        return
    outputs = task.step.outputs
    if annotation is None or annotation is types.NoneType:
        if returned is not None and not outputs:
            raise UsageError(
                f"Step '{task.step.key}' returned a value of type '{_shown(returned)}', and it is annotated as "
                "`-> None`.",
                why="The value would be lost.",
                hint="Annotate what the step returns, or return nothing.",
            )
        return
    annotations = [annotation] if len(outputs) == 1 else list(typing.get_args(annotation))
    if len(annotations) != len(outputs):
        return
    if not outputs:
        return
    from rayform_runtime.artifacts.annotations import Fit, shown_type

    for output, value, expected in zip(outputs, values, annotations, strict=True):
        if Fit().check(value, expected) is False:
            raise UsageError(
                f"Output '{output.name}' of step '{task.step.key}' has type '{_shown(value)}', and it is annotated "
                f"as `{shown_type(expected)}`.",
                why=_odd_member(value, expected),
                hint="Return a value of the annotated type, or correct the annotation.",
            )


def _odd_member(value: object, annotation: object) -> str | None:
    """Say which element doesn't fit, if the container itself does."""
    from rayform_runtime.artifacts.annotations import Fit

    if not isinstance(value, list | tuple | dict | set | frozenset) or not Fit(depth=0).check(
        value, annotation
    ):
        return None
    members = value.values() if isinstance(value, dict) else value
    kinds = list(dict.fromkeys(_shown(member) for member in list(members)[:1000]))
    return f"Its elements are of type {', '.join(kinds[:5])}."


def _shown(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
