"""`add_tags` and `remove_tags`: tags of runs, artifacts and artifact versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from rayform.authoring.options.tags import Tag, tag_names
from rayform.running_step import running_step
from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from rayform.reading.client import Client

__all__ = ["add_tags", "remove_tags"]


def add_tags(
    tags: str | Tag | Sequence[str | Tag],
    *,
    run: str | UUID | None = None,
    artifact: str | UUID | None = None,
    artifact_version_id: str | UUID | None = None,
    artifact_name: str | None = None,
    artifact_version: str | int | None = None,
    infer_artifact: bool = False,
    pipeline: str | UUID | None = None,
) -> None:
    """Add tags to a run, an artifact or an artifact version; inside a step, by default to its run.

    Args:
        tags: one tag or several. An exclusive `Tag` is taken away from the other runs of the pipeline, or from the
            other versions of the artifact.
        run: this run.
        artifact: this artifact.
        artifact_version_id: this artifact version.
        artifact_name, artifact_version: this version of this artifact; by default the latest.
        infer_artifact: inside a step, its output called `artifact_name`; by default its only output.
        pipeline: refused: pipelines have no tags; their runs have.

    Raises:
        UsageError: the arguments name nothing or several things.
        NotFoundError: the named thing doesn't exist.

    Example:
        >>> add_tags(["reviewed"], artifact_name="report")  # doctest: +SKIP
    """
    some = [tags] if isinstance(tags, str | Tag) else list(tags)
    _change(
        some,
        [],
        run=run,
        artifact=artifact,
        artifact_version_id=artifact_version_id,
        artifact_name=artifact_name,
        artifact_version=artifact_version,
        infer_artifact=infer_artifact,
        pipeline=pipeline,
    )


def remove_tags(
    tags: str | Tag | Sequence[str | Tag],
    *,
    run: str | UUID | None = None,
    artifact: str | UUID | None = None,
    artifact_version_id: str | UUID | None = None,
    artifact_name: str | None = None,
    artifact_version: str | int | None = None,
    infer_artifact: bool = False,
    pipeline: str | UUID | None = None,
) -> None:
    """Remove tags; arguments and errors as for `add_tags`. A tag that isn't there is no error.

    Example:
        >>> remove_tags(["reviewed"], artifact_name="report", artifact_version=3)  # doctest: +SKIP
    """
    some = [tags] if isinstance(tags, str | Tag) else list(tags)
    _change(
        [],
        some,
        run=run,
        artifact=artifact,
        artifact_version_id=artifact_version_id,
        artifact_name=artifact_name,
        artifact_version=artifact_version,
        infer_artifact=infer_artifact,
        pipeline=pipeline,
    )


def _change(
    add: Sequence[str | Tag],
    remove: Sequence[str | Tag],
    *,
    run: str | UUID | None,
    artifact: str | UUID | None,
    artifact_version_id: str | UUID | None,
    artifact_name: str | None,
    artifact_version: str | int | None,
    infer_artifact: bool,
    pipeline: str | UUID | None,
) -> None:
    if pipeline is not None:
        raise UsageError(
            "Pipelines have no tags.", hint="Tag a run: run=…, or all runs: `@pipeline(tags=[...])`."
        )
    named = [x for x in (run, artifact, artifact_version_id or artifact_name, infer_artifact) if x]
    if len(named) > 1 and not (infer_artifact and artifact_name and len(named) == 2):
        raise UsageError(
            "The arguments name several things.",
            why="One call changes the tags of one thing.",
            hint="Call it once for each.",
        )
    step = running_step()
    if infer_artifact:
        if step is None:
            raise UsageError(
                "infer_artifact=True works only inside a running step.", hint="Name the artifact."
            )
        if add:
            step.add_output_tags(tag_names(add), output_name=artifact_name)
        else:
            step.remove_output_tags(tag_names(remove), output_name=artifact_name)
        return
    from rayform.reading.client import Client

    client = Client()
    if run is None and not named:
        if step is None:
            raise UsageError(
                "Nothing is named, and no step is running.",
                hint="Name it, for instance with run=… or artifact_name=….",
            )
        run = step.run_id
    if run is not None:
        _tag_run(client, run, add, remove)
    elif artifact is not None:
        client.update_artifact(artifact, add_tags=tag_names(add), remove_tags=tag_names(remove))
    else:
        version = client.get_artifact_version(artifact_version_id or str(artifact_name), artifact_version)
        others = client.list_artifact_versions(artifact=version.name, size=10_000)
        for tag in add:
            if isinstance(tag, Tag) and tag.exclusive:
                for other in others:
                    if other.id != version.id and tag.name in other.tags:
                        client.update_artifact_version(other.id, remove_tags=[tag.name])
        client.update_artifact_version(version.id, add_tags=tag_names(add), remove_tags=tag_names(remove))


def _tag_run(client: Client, run: str | UUID, add: Sequence[str | Tag], remove: Sequence[str | Tag]) -> None:
    view = client.get_pipeline_run(run)
    for tag in add:
        if isinstance(tag, Tag) and tag.exclusive:
            for other in client.list_pipeline_runs(pipeline=view.pipeline_name, tag=tag.name, size=10_000):
                if other.id != view.id:
                    client.update_pipeline_run(other.id, remove_tags=[tag.name])
    client.update_pipeline_run(view.id, add_tags=tag_names(add), remove_tags=tag_names(remove))
