"""Saves what a step returned, one artifact version for each output."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from rayform_core.errors import UsageError
from rayform_core.files import storage_error
from rayform_runtime.artifacts.values import save_value
from rayform_runtime.catalog.entities import NewArtifactVersion
from rayform_runtime.catalog.metadata import as_stored
from rayform_runtime.execution.worker.return_checks import check_returned
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
    check_returned(returned, values, task, function)
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
                declared_type=_declared_type(output.type) if output.type is not None else None,
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
