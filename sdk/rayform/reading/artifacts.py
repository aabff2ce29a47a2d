"""The functions of `Client` that read and change artifacts and their versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayform.reading import listing
from rayform.reading.metadata import update_tags
from rayform.reading.views.artifacts import ArtifactVersionView, ArtifactView
from rayform.reading.views.base import Page
from rayform.reading.views.reader import Reader, Ref

if TYPE_CHECKING:
    from rayform.reading.lineage import Lineage
    from rayform.reading.pruning import PruneReport
    from rayform_runtime.catalog.entities import ArtifactVersion


def get_artifact(client: Reader, name_id_or_prefix: Ref) -> ArtifactView:
    """Return an artifact by its name, its UUID or a unique prefix of the UUID."""
    return ArtifactView(client.catalog.get_artifact(name_id_or_prefix), client)


def list_artifacts(
    client: Reader, sort_by: str | None = None, page: int = 1, size: int = 20, **filters: object
) -> Page[ArtifactView]:
    """List artifacts; see `list_pipeline_runs`."""
    query = listing.query_of(sort_by, page, size, filters)
    return listing.page_of(client.catalog.list_artifacts, ArtifactView, client, query)


def update_artifact(
    client: Reader,
    name_id_or_prefix: Ref,
    new_name: str | None = None,
    add_tags: Sequence[str] = (),
    remove_tags: Sequence[str] = (),
) -> ArtifactView:
    """Change an artifact's name or tags.

    Raises:
        ConflictError: another artifact has the new name.
    """
    artifact = get_artifact(client, name_id_or_prefix)
    if new_name is not None:
        client.catalog.rename_artifact(artifact.id, new_name)
    update_tags(client, "artifact", artifact.id, add_tags, remove_tags)
    return get_artifact(client, artifact.id)


def delete_artifact(client: Reader, name_id_or_prefix: Ref) -> None:
    """Delete an artifact that has no versions.

    Raises:
        ConflictError: it has versions.
    """
    client.catalog.delete_artifact(get_artifact(client, name_id_or_prefix).id)


def get_artifact_version(
    client: Reader, name_id_or_prefix: Ref, version: str | int | None = None
) -> ArtifactVersionView:
    """Return an artifact version.

    Args:
        name_id_or_prefix: the version's UUID or a unique prefix of it, or the artifact's name.
        version: with a name, its version; the latest by default.

    Raises:
        NotFoundError: there is no such version; names the nearest ones.

    Example:
        >>> Client().get_artifact_version("digits", 3).run_metadata  # doctest: +SKIP
    """
    return ArtifactVersionView(client.catalog.get_artifact_version(name_id_or_prefix, version), client)


def list_artifact_versions(
    client: Reader,
    sort_by: str | None = None,
    page: int = 1,
    size: int = 20,
    *,
    hydrate: bool = False,
    **filters: object,
) -> Page[ArtifactVersionView]:
    """List artifact versions; see `list_pipeline_runs`.

    Args:
        hydrate: load the metadata of all of them now; by default each is looked up when you read it.
    """
    query = listing.query_of(sort_by, page, size, filters, hydrate=hydrate)
    return listing.page_of(client.catalog.list_artifact_versions, ArtifactVersionView, client, query)


def update_artifact_version(
    client: Reader,
    name_id_or_prefix: Ref,
    version: str | int | None = None,
    add_tags: Sequence[str] = (),
    remove_tags: Sequence[str] = (),
) -> ArtifactVersionView:
    """Change a version's tags; its value never changes."""
    view = get_artifact_version(client, name_id_or_prefix, version)
    update_tags(client, "artifact_version", view.id, add_tags, remove_tags)
    return get_artifact_version(client, view.id)


def delete_artifact_version(
    client: Reader,
    name_id_or_prefix: Ref,
    version: str | int | None = None,
    *,
    delete_metadata: bool = True,
    delete_from_artifact_store: bool = True,
    force: bool = False,
) -> None:
    """Delete a version: its data, and then its rows in the catalog.

    Args:
        name_id_or_prefix: which version; see `get_artifact_version`.
        version: see `get_artifact_version`.
        delete_metadata: `False` deletes only the data.
        delete_from_artifact_store: `False` keeps the data. Registered data, which Rayform didn't write, always
            stays.
        force: delete it even if a model version or a step run refers to it.

    Raises:
        ConflictError: something refers to it, and `force` isn't set. Nothing was deleted.
    """
    record = client.catalog.get_artifact_version(name_id_or_prefix, version)

    def delete_data() -> None:
        if delete_from_artifact_store and not record.external:
            client.artifact_store.delete(record.uri)

    if delete_metadata:
        client.catalog.delete_artifact_versions([record.id], force=force, delete_data=delete_data)
    else:
        delete_data()


def prune_artifacts(
    client: Reader,
    *,
    older_than: datetime | None = None,
    keep_runs: bool = True,
    dry_run: bool = False,
    leftover_age: float | None = None,
    orphans: bool = False,
) -> PruneReport:
    """Remove artifact versions that nothing needs, and what crashed writes left in the store.

    Versions that a kept run, a model version or the tag `keep` needs are never removed; nor is registered data, nor
    what lies in the store of another stack that shares the catalog. Values that you saved by hand (`save_artifact`)
    are removed only with `older_than`.

    Args:
        older_than: only versions made before this moment.
        keep_runs: a version that a run made or used is needed; with `False` only models and tags keep one.
        dry_run: only report what would be removed.
        leftover_age: how many seconds old uncommitted data must be, so that a running run is safe; a day by
            default.
        orphans: also remove committed data that this catalog doesn't know. Don't use it if another catalog shares
            the store.

    Returns:
        What was removed, or would be.
    """
    from rayform.reading.pruning import apply_prune, find_prunable

    catalog, store = client.catalog, client.artifact_store
    report = find_prunable(
        catalog, store, older_than=older_than, keep_runs=keep_runs, leftover_age=leftover_age, orphans=orphans
    )
    return report if dry_run else apply_prune(catalog, store, report)


def get_lineage(
    client: Reader,
    name_id_or_prefix: Ref,
    version: str | int | None = None,
    *,
    upstream: bool = True,
    downstream: bool = True,
    depth: int | None = None,
) -> Lineage:
    """Return what a version was made from, and what was made from it.

    Args:
        name_id_or_prefix: which version; see `get_artifact_version`.
        version: see `get_artifact_version`.
        upstream: include what it was made from.
        downstream: include what was made from it.
        depth: how many step runs to go each way; all by default.
    """
    from rayform.reading.lineage import Lineage

    record = client.catalog.get_artifact_version(name_id_or_prefix, version)
    return Lineage(client.catalog.lineage(record.id, upstream=upstream, downstream=downstream, depth=depth))


def load_version(
    client: Reader,
    record: ArtifactVersion,
    *,
    as_type: type | Mapping[str, type] | None = None,
    trust_pickle: bool = False,
) -> Any:
    """Load the value of a version; `ArtifactVersionView.load` calls this."""
    from rayform_runtime.artifacts.values import load_value

    return load_value(
        client.artifact_store,
        record.uri,
        digest=record.digest,
        type=record.type,
        materializer=record.materializer,
        as_type=as_type,
        trusted=trust_pickle or client.is_trusted,
    )


def download_version(client: Reader, record: ArtifactVersion, path: Path, *, overwrite: bool = False) -> Path:
    """Copy a version's files; `ArtifactVersionView.download` calls this."""
    from rayform.reading.downloads import download

    return download(record, client.artifact_store, path, overwrite=overwrite)
