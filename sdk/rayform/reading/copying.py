"""Copies a model version, with its artifacts, from one stack to another.

A model is trained in the cloud and used on a laptop, or the other way round. A copy keeps each artifact version's
UUID, so that it is the same value wherever it lies, and what it came from can be asked of its own stack.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_core.errors import ConflictError, UsageError

if TYPE_CHECKING:
    from uuid import UUID

    from rayform.reading.client import Client
    from rayform.reading.views import ModelVersionView
    from rayform_runtime.catalog.entities import ArtifactVersion, NewArtifactVersion

__all__ = ["copy_model_version"]

COPIED_FROM = "copied_from"
"""Metadata key that says which stack and version a copy was made of."""


def copy_model_version(
    source: Client, target: Client, model: str, version: str | int | None = None, *, stage: str | None = None
) -> ModelVersionView:
    """Copy a model version with its tags, metadata and artifacts, and return the copy.

    Data first, rows last: an interrupted copy leaves no half-made version, and is completed by copying again. What
    was copied before is neither copied nor made twice.

    Args:
        source: a client of the stack that has the version.
        target: a client of the stack that gets it, where it takes the model's next version number.
        model: name of the model.
        version: name, number or stage of the version in `source`; the latest unless told.
        stage: stage that the copy gets in `target`; a version that holds it there is archived.

    Raises:
        UsageError: both are the same stack.
        NotFoundError: `source` has no such version.
        ArtifactMissingError, CorruptArtifactError: an artifact's data is gone or damaged; nothing was recorded.

    Example:
        >>> copied = copy_model_version(Client("prod"), Client("default"), "digits", "production")  # doctest: +SKIP
    """
    if source.artifact_store.uri == target.artifact_store.uri:
        raise UsageError(
            f"Stack '{source.active_stack.name}' and stack '{target.active_stack.name}' share their artifacts.",
            hint="Name another stack to copy from, or promote the version where it is: rayform model promote.",
        )
    found = source.get_model_version(model, version)
    artifacts = source.catalog.list_model_version_artifacts(found.id)
    known = target.catalog.get_artifact_versions([a.id for a in artifacts])
    for artifact in artifacts:
        if artifact.external:
            raise ConflictError(
                f"Artifact '{artifact.name}' version {artifact.version} of model '{model}' can't be copied.",
                why="It is registered data, which lies where its owner put it.",
                hint="Register the data in the other stack as well, or unlink it from the model version.",
            )
    made = [_copied_data(source, target, a) for a in artifacts if a.id not in known]
    for new in made:
        target.catalog.create_artifact_version(new)
    copy_id = _earlier_copy(target, model, found.id)
    if copy_id is None:
        of_model = source.catalog.get_model(found.name)
        target.catalog.create_model(
            of_model.name,
            description=of_model.description,
            license=of_model.license,
            tags=of_model.tags,
            metadata=of_model.metadata,
            exist_ok=True,
        )
        copy_id = target.catalog.create_model_version(
            model,
            description=found.description,
            tags=found.tags,
            metadata={**found.run_metadata, COPIED_FROM: _origin(source, found)},
        ).id
    target.catalog.link_model_version(copy_id, artifact_version_ids=[a.id for a in reversed(artifacts)])
    copy = target.get_model_version_by_id(copy_id)
    return copy.set_stage(stage, force=True) if stage is not None else copy


def _origin(source: Client, version: ModelVersionView) -> dict[str, str]:
    return {"stack": source.active_stack.name, "version": version.version, "id": str(version.id)}


def _earlier_copy(target: Client, model: str, source_id: UUID) -> UUID | None:
    from rayform_runtime.catalog.entities import Query

    page = 1
    while True:
        found = target.catalog.list_model_versions(
            Query({"model": model}, size=1000, page=page, hydrate=True)
        )
        for candidate in found.items:
            origin = candidate.metadata.get(COPIED_FROM)
            if isinstance(origin, dict) and origin.get("id") == str(source_id):
                return candidate.id
        if page >= found.pages:
            return None
        page += 1


def _copied_data(source: Client, target: Client, artifact: ArtifactVersion) -> NewArtifactVersion:
    """Commit the artifact's files in the target store under the same UUID, verified on the way."""
    from rayform_runtime.catalog.entities import NewArtifactVersion

    store = source.artifact_store
    manifest = store.read_manifest(artifact.uri)
    with (
        store.open_local(artifact.uri, digest=artifact.digest) as folder,
        target.artifact_store.staging(artifact.id) as staged,
    ):
        for file in manifest.files:
            place = Path(staged, file.path)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(folder / file.path, place)
        try:
            uri, written = target.artifact_store.commit(
                artifact.id,
                staged,
                type=manifest.type,
                materializer=manifest.materializer,
                metadata=manifest.metadata,
                visualizations=manifest.visualizations,
            )
        except ConflictError:
            # A copy that was interrupted before its row committed the very same bytes.
            uri = target.artifact_store.uri + artifact.uri.removeprefix(store.uri)
            written = target.artifact_store.read_manifest(uri)
            if written.digest != manifest.digest:
                raise
    return NewArtifactVersion(
        id=artifact.id,
        artifact_name=artifact.name,
        uri=uri,
        type=artifact.type,
        materializer=artifact.materializer,
        digest=written.digest,
        size=written.size,
        artifact_type=artifact.artifact_type,
        tags=artifact.tags,
        metadata=artifact.metadata,
        visualizations=artifact.visualizations,
        output_name=artifact.output_name,
    )
