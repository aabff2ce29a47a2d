"""Prune: removes artifact versions that nothing needs, and leftovers of uncommitted writes in the store.

Versions that a kept run, a model version or the tag `keep` needs stay. The catalog decides this
(`rayform_runtime.catalog.sql.pruning`), once when it plans, and again when it deletes.

A leftover is data that a crash left in the store: a write without a manifest, or an attempt that lost the race for one.
It must be so old that no running run can still commit it. Data with a manifest that this catalog doesn't know is an
orphan. It may belong to another catalog that shares the store, so it is removed only if the user asks for that.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from rayform_core.errors import ConflictError, IntegrityError
from rayform_runtime.artifacts.stores.interface import LARGEST_EMBEDDED, MANIFEST_NAME

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore, StoredObject
    from rayform_runtime.catalog.entities import ArtifactVersion
    from rayform_runtime.catalog.interface import Catalog

__all__ = ["Leftover", "PruneReport", "apply_prune", "find_prunable"]

DAY = 86_400.0
_VERSIONS = "versions"
_STAGING = ".staging"
_BATCH = 500
_CLOCK_SKEW = 300.0
"""Seconds by which the store's clock may be behind the clock of the run's machine."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """The objects of one write that was never recorded.

    Args:
        folder: their folder below the store's root.
        kind: `uncommitted`, `lost attempt` or `orphan`.
        keys: the keys of all its objects.
        size: bytes of all its objects.
        modified: when the last object was written, in seconds since 1970.
    """

    folder: str
    kind: str
    keys: tuple[str, ...]
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune would remove, or what it removed.

    Args:
        versions: artifact versions that nothing needs.
        leftovers: data in the store that no version refers to.
        kept: how many versions stay.
        removed: whether the versions and leftovers are already removed.
    """

    versions: tuple[ArtifactVersion, ...]
    leftovers: tuple[Leftover, ...]
    kept: int
    removed: bool = False

    @property
    def size(self) -> int:
        """Bytes that it frees in the store."""
        versions = sum(v.size for v in self.versions if not v.external)
        return versions + sum(leftover.size for leftover in self.leftovers)

    def __bool__(self) -> bool:
        return bool(self.versions or self.leftovers)


def find_prunable(
    catalog: Catalog,
    store: ArtifactStore,
    *,
    older_than: datetime | None = None,
    keep_runs: bool = True,
    leftover_age: float | None = None,
    orphans: bool = False,
) -> PruneReport:
    """Find what nothing needs, without changing anything. See `Client.prune_artifacts`."""
    plan = catalog.plan_prune(older_than=older_than, keep_runs=keep_runs)
    age = DAY if leftover_age is None else leftover_age
    leftovers = _find_leftovers(store, catalog, age, orphans=orphans)
    return PruneReport(tuple(plan.versions), leftovers, plan.kept)


def _find_leftovers(
    store: ArtifactStore, catalog: Catalog, age: float, *, orphans: bool
) -> tuple[Leftover, ...]:
    newest_allowed = _newest_allowed(catalog, age)
    by_folder: dict[str, list[StoredObject]] = defaultdict(list)
    for top in (_VERSIONS, _STAGING):
        for item in store.list_objects(f"{top}/"):
            by_folder["/".join(item.key.split("/")[:2])].append(item)
    folders = sorted(folder for folder in by_folder if _is_ours(folder))
    recorded = _recorded(store, catalog, folders)
    leftovers = []
    for folder in folders:
        leftover = _leftover_in(store, folder, by_folder[folder], is_recorded=folder in recorded)
        if leftover is None or leftover.modified > newest_allowed:
            continue
        if leftover.kind != "orphan" or orphans:
            leftovers.append(leftover)
    return tuple(leftovers)


def _leftover_in(
    store: ArtifactStore, folder: str, objects: list[StoredObject], *, is_recorded: bool
) -> Leftover | None:
    """Return which objects of a folder no version refers to, or `None` if there are none."""
    if is_recorded:
        kind, objects = "lost attempt", _lost_attempts(store, folder, objects)
    elif any(o.key == f"{folder}/{MANIFEST_NAME}" for o in objects):
        kind = "orphan"
    else:
        kind = "uncommitted"
    if not objects:
        return None
    keys = tuple(o.key for o in objects)
    return Leftover(folder, kind, keys, sum(o.size for o in objects), max(o.modified for o in objects))


def _newest_allowed(catalog: Catalog, age: float) -> float:
    """Return the moment (seconds since 1970) before which a leftover must have been written."""
    newest = time.time() - age
    starts = [run.started_at or run.created_at for run in catalog.unfinished_runs()]
    if starts:
        # A running run may have written a version, however long ago, and not have recorded it yet.
        oldest = min(moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in starts)
        newest = min(newest, oldest.timestamp() - _CLOCK_SKEW)
    return newest


def _lost_attempts(store: ArtifactStore, folder: str, objects: list[StoredObject]) -> list[StoredObject]:
    """Return the objects of a committed version that its manifest doesn't count.

    Only cloud stores have them: there each writer has its own folder, and the manifest names the winner's. The
    manifest is read only if there are several folders, or if the data is so small that the winner may have put it
    into the manifest itself.
    """
    data = [o for o in objects if o.key.split("/")[2] != MANIFEST_NAME]
    attempts = {o.key.split("/")[2] for o in data}
    if store.is_local or not data:
        return []
    if len(attempts) == 1 and sum(o.size for o in data) > LARGEST_EMBEDDED:
        return []
    try:
        winner = store.read_manifest(store.uri_of(folder)).folder
    except IntegrityError:
        return []  # Without the manifest the winner is unknown, and a user may still restore the manifest.
    if not winner:
        return []
    return [o for o in data if o.key.split("/")[2] != winner]


def _is_ours(folder: str) -> bool:
    """Whether Rayform made a folder of this name; other data below the store's root must not be removed."""
    top, _, name = folder.partition("/")
    if top == _STAGING:
        return True
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _recorded(store: ArtifactStore, catalog: Catalog, folders: list[str]) -> set[str]:
    """Return those folders whose data has a row in the catalog."""
    recorded: set[str] = set()
    for start in range(0, len(folders), _BATCH):
        uris = {store.uri_of(folder): folder for folder in folders[start : start + _BATCH]}
        recorded.update(uris[uri] for uri in catalog.known_uris(list(uris)))
    return recorded


def apply_prune(catalog: Catalog, store: ArtifactStore, report: PruneReport) -> PruneReport:
    """Remove what a report lists, and report what was removed.

    Rows are deleted before data. After a crash there may be leftovers, which the next prune finds, but never a
    version without data. Versions that are needed by now stay.
    """
    versions = _delete_versions(catalog, store, report.versions)
    recorded = _recorded(store, catalog, [leftover.folder for leftover in report.leftovers])
    leftovers = tuple(lo for lo in report.leftovers if _is_still_unused(store, recorded, lo))
    for leftover in leftovers:
        store.delete_objects(_manifest_first(leftover.keys))
    kept = report.kept + len(report.versions) - len(versions)
    return PruneReport(versions, leftovers, kept, removed=True)


def _delete_versions(
    catalog: Catalog, store: ArtifactStore, versions: tuple[ArtifactVersion, ...]
) -> tuple[ArtifactVersion, ...]:
    """Delete versions with their data, except those that are needed by now; return the deleted ones."""
    deleted: list[ArtifactVersion] = []
    for start in range(0, len(versions), _BATCH):
        batch = versions[start : start + _BATCH]
        if not _delete_rows(catalog, *batch):
            # One of them is needed by now: delete them one by one, and keep those that are needed.
            batch = tuple(v for v in batch if _delete_rows(catalog, v))
        for version in batch:
            if not version.external:
                store.delete(version.uri)
        deleted += batch
    return tuple(deleted)


def _delete_rows(catalog: Catalog, *versions: ArtifactVersion) -> bool:
    """Delete versions from the catalog and return `True`; delete none of them if one is needed."""
    try:
        catalog.delete_artifact_versions([v.id for v in versions])
    except ConflictError:
        return False
    return True


def _is_still_unused(store: ArtifactStore, recorded: set[str], leftover: Leftover) -> bool:
    """Whether nothing committed or recorded the data since the report was made."""
    if leftover.kind == "lost attempt":
        return True
    if leftover.kind == "uncommitted" and leftover.folder.startswith(_VERSIONS):
        return not store.exists(store.uri_of(leftover.folder))
    return leftover.folder not in recorded


def _manifest_first(keys: tuple[str, ...]) -> list[str]:
    """Sort a folder's manifest before its data: data without a manifest is a leftover again."""
    return sorted(keys, key=lambda key: not key.endswith("/" + MANIFEST_NAME))
