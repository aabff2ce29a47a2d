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
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from rayform_core.errors import ConflictError, IntegrityError, NotFoundError, RayformError
from rayform_runtime.artifacts.stores.interface import LARGEST_EMBEDDED, MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rayform_runtime.artifacts.stores.interface import ArtifactStore, StoredObject
    from rayform_runtime.catalog.entities import ArtifactVersion
    from rayform_runtime.catalog.interface import Catalog

__all__ = ["Leftover", "PruneReport", "apply_prune", "find_prunable"]

DAY = 86_400.0
_VERSIONS = "versions"
_STAGING = ".staging"
_BATCH = 500
_DELETED_TOGETHER = 50
"""Versions whose data is deleted in one transaction, in which no other process writes to the catalog."""
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
        kept: how many versions stay, without those in `elsewhere`.
        removed: whether the versions and leftovers are already removed.
        elsewhere: how many versions that nothing needs have their data in other stores; they stay.
        saved_by_hand: how many of the kept versions would go if the user named an age: no run made them.
        failed: why versions or leftovers could not be removed, by their URIs.
    """

    versions: tuple[ArtifactVersion, ...]
    leftovers: tuple[Leftover, ...]
    kept: int
    removed: bool = False
    elsewhere: int = 0
    saved_by_hand: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)

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
    # Other stacks may share the catalog and have stores of their own. The ID must fit too: a row could name the data
    # of another version.
    here = [v for v in plan.versions if store.version_of(v.uri) == v.id]
    versions = [v for v in here if older_than is not None or not _is_saved_by_hand(v)]
    age = DAY if leftover_age is None else leftover_age
    leftovers = _find_leftovers(store, catalog, age, orphans=orphans)
    saved_by_hand = len(here) - len(versions)
    return PruneReport(
        tuple(versions),
        leftovers,
        plan.kept + saved_by_hand,
        elsewhere=len(plan.versions) - len(here),
        saved_by_hand=saved_by_hand,
    )


def _is_saved_by_hand(version: ArtifactVersion) -> bool:
    """Whether a user may have saved the version, rather than a run. Arguments of runs have IDs made of their content.

    An output of a deleted run counts as one if it had the artifact's name: it is kept rather than lost.
    """
    is_named_so = version.output_name in (None, version.name)
    return is_named_so and version.producer_run_id is None and version.id.version != 5


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

    A version's row goes only after its data. After a crash there may be rows without data, which nothing needs, and
    which the next prune removes; there is never data that nothing refers to. Versions that are needed by now stay, and
    so do those whose data can't be deleted, which doesn't keep the others from being removed.
    """
    failed: dict[str, str] = {}
    versions = _delete_versions(catalog, store, report.versions, failed)
    recorded = _recorded(store, catalog, [leftover.folder for leftover in report.leftovers])
    leftovers = []
    for leftover in report.leftovers:
        if not _is_still_unused(store, recorded, leftover):
            continue
        try:
            store.delete_objects(_manifest_first(leftover.keys))
        except RayformError as error:
            failed[store.uri_of(leftover.folder)] = _reason(error)
        else:
            leftovers.append(leftover)
    kept = report.kept + len(report.versions) - len(versions)
    return replace(
        report, versions=versions, leftovers=tuple(leftovers), kept=kept, removed=True, failed=failed
    )


def _delete_versions(
    catalog: Catalog, store: ArtifactStore, versions: tuple[ArtifactVersion, ...], failed: dict[str, str]
) -> tuple[ArtifactVersion, ...]:
    """Delete versions with their data, except those that are needed by now; return the deleted ones.

    Args:
        failed: receives why a version could not be deleted, by its URI.
    """
    deleted: list[ArtifactVersion] = []
    for start in range(0, len(versions), _DELETED_TOGETHER):
        batch = versions[start : start + _DELETED_TOGETHER]
        try:
            _delete(catalog, store, batch)
        except RayformError:
            # One of them is needed by now, or can't be deleted: delete the others one by one.
            batch = tuple(v for v in batch if _try_to_delete(catalog, store, v, failed))
        deleted += batch
    return tuple(deleted)


def _delete(catalog: Catalog, store: ArtifactStore, versions: Sequence[ArtifactVersion]) -> None:
    def delete_data() -> None:
        for version in versions:
            if not version.external:
                store.delete(version.uri)

    catalog.delete_artifact_versions([v.id for v in versions], delete_data=delete_data)


def _try_to_delete(
    catalog: Catalog, store: ArtifactStore, version: ArtifactVersion, failed: dict[str, str]
) -> bool:
    try:
        _delete(catalog, store, [version])
    except ConflictError:
        return False
    except NotFoundError:
        return False  # another prune removed it meanwhile
    except RayformError as error:
        failed[version.uri] = _reason(error)
        return False
    return True


def _reason(error: RayformError) -> str:
    return f"{error.message} {error.why or ''}".strip()


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
