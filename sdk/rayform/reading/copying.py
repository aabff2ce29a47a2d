"""Copies a model version, with its artifacts, from one stack to another.

For instance to train a model in the cloud and use it on a laptop. A copied artifact version keeps its UUID, so it is
the same value in every stack, and its lineage can be read in the stack that it came from.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_core.errors import ConflictError, UsageError
from rayform_core.files import make_private

if TYPE_CHECKING:
    from uuid import UUID

    from rayform.reading.client import Client
    from rayform.reading.views import ModelVersionView
    from rayform_runtime.catalog.entities import ArtifactVersion, NewArtifactVersion

__all__ = ["copy_model_version"]

COPIED_FROM = "copied_from"
"""Metadata key of a copy: the stack and version that it was copied from."""


def copy_model_version(
    source: Client, target: Client, model: str, version: str | int | None = None, *, stage: str | None = None
) -> ModelVersionView:
    """Copy a model version with its tags, metadata and artifacts, and return the copy.

    Data is copied first and rows are written last. An interrupted copy leaves no incomplete version; copy again to
    complete it. Artifacts and versions that were copied before aren't copied again.

    Args:
        source: a client of the stack that has the version.
        target: a client of the stack that receives it; there it gets the model's next version number.
        model: name of the model.
        version: name, number or stage of the version in `source`; the latest by default.
        stage: the copy's stage in `target`; the version that has this stage there is archived.

    Raises:
        UsageError: both are the same stack.
        NotFoundError: `source` has no such version.
        ArtifactMissingError, CorruptArtifactError: an artifact's data is missing or damaged; nothing was recorded.

    Example:
        >>> copied = copy_model_version(Client("prod"), Client("default"), "digits", "production")  # doctest: +SKIP
    """
    if source.artifact_store.uri == target.artifact_store.uri:
        raise UsageError(
            f"Stack '{source.active_stack.name}' and stack '{target.active_stack.name}' share one artifact store.",
            hint="Name another stack to copy from, or promote the version itself: rayform model promote.",
        )
    original = source.get_model_version(model, version)
    artifacts = source.catalog.list_model_version_artifacts(original.id)
    copied = target.catalog.get_artifact_versions([a.id for a in artifacts])
    for artifact in artifacts:
        if artifact.external:
            raise ConflictError(
                f"Artifact '{artifact.name}' version {artifact.version} of model '{model}' can't be copied.",
                why="It is registered data, which Rayform didn't write and doesn't move.",
                hint="Register the data in the other stack too, or unlink it from the model version.",
            )
    new = [_copied_data(source, target, a) for a in artifacts if a.id not in copied]
    for record in new:
        target.catalog.create_artifact_version(record)
    copy_id = _earlier_copy(target, model, original.id) or _create_copy(source, target, original)
    target.catalog.link_model_version(copy_id, artifact_version_ids=[a.id for a in reversed(artifacts)])
    copy = target.get_model_version_by_id(copy_id)
    return copy.set_stage(stage, force=True) if stage is not None else copy


def _create_copy(source: Client, target: Client, original: ModelVersionView) -> UUID:
    """Create the version in `target`, and its model if that doesn't exist there; return the version's UUID."""
    model = source.catalog.get_model(original.model_name)
    target.catalog.create_model(
        model.name,
        description=model.description,
        license=model.license,
        tags=model.tags,
        metadata=model.metadata,
        exist_ok=True,
    )
    return target.catalog.create_model_version(
        model.name,
        description=original.description,
        tags=original.tags,
        metadata={**original.run_metadata, COPIED_FROM: _origin(source, original)},
    ).id


def _origin(source: Client, version: ModelVersionView) -> dict[str, str]:
    return {"stack": source.active_stack.name, "version": version.version, "id": str(version.id)}


def _earlier_copy(target: Client, model: str, source_id: UUID) -> UUID | None:
    from rayform_runtime.catalog.entities import Query

    page = 1
    while True:
        versions = target.catalog.list_model_versions(
            Query({"model": model}, size=1000, page=page, hydrate=True)
        )
        for candidate in versions.items:
            origin = candidate.metadata.get(COPIED_FROM)
            if isinstance(origin, dict) and origin.get("id") == str(source_id):
                return candidate.id
        if page >= versions.pages:
            return None
        page += 1


def _copied_data(source: Client, target: Client, artifact: ArtifactVersion) -> NewArtifactVersion:
    """Commit the artifact's files to the target store under the same UUID; reading them verifies them."""
    from rayform_runtime.artifacts.stores.manifest import is_own
    from rayform_runtime.catalog.entities import NewArtifactVersion

    store = source.artifact_store
    manifest = store.read_manifest(artifact.uri)
    with (
        store.open_local(artifact.uri, digest=artifact.digest) as folder,
        target.artifact_store.staging(artifact.id) as staged,
    ):
        for file in manifest.files:
            place = Path(staged, file.path)
            make_private(place.parent)
            shutil.copyfile(folder / file.path, place)
        try:
            uri, written = target.artifact_store.commit(
                artifact.id,
                staged,
                type=manifest.type,
                materializer=manifest.materializer,
                metadata=manifest.metadata,
                visualizations=manifest.visualizations,
                is_own=is_own(manifest),
            )
        except ConflictError:
            # An earlier copy, interrupted before it wrote its row, has committed the same bytes.
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
