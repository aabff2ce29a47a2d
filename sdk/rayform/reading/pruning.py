"""Removes artifact versions that nothing needs, and what uncommitted writes left behind in the store.

What a kept run, a model version or the tag `keep` needs stays: the catalog decides that, twice, when it plans and
again when it deletes. A leftover is data that a crash left behind, old enough that no run at work can be about to
commit it: a write without a manifest, or an attempt that lost the race for one. Data with a manifest that this catalog
doesn't know (an orphan) may be another catalog's that shares the store, so it goes only where a person says so.
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
"""Seconds by which the store's clock may be behind that of the run's machine."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Objects of one write that was never recorded.

    Args:
        folder: their folder below the store's root.
        kind: `uncommitted`, `lost attempt` or `orphan`.
        keys: all of them.
        size: bytes in all.
        modified: when the last was written, seconds since 1970.
    """

    folder: str
    kind: str
    keys: tuple[str, ...]
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What goes, or went.

    Args:
        versions: artifact versions that nothing needs.
        leftovers: data in the store that no version refers to.
        kept: how many versions stay.
        removed: whether it was done.
    """

    versions: tuple[ArtifactVersion, ...]
    leftovers: tuple[Leftover, ...]
    kept: int
    removed: bool = False

    @property
    def size(self) -> int:
        """Bytes in the store that go."""
        mine = sum(v.size for v in self.versions if not v.external)
        return mine + sum(leftover.size for leftover in self.leftovers)

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
    """Find what nothing needs; changes nothing. See `Client.prune_artifacts`."""
    plan = catalog.plan_prune(older_than=older_than, keep_runs=keep_runs)
    age = DAY if leftover_age is None else leftover_age
    leftovers = _find_leftovers(store, catalog, age, orphans=orphans)
    return PruneReport(tuple(plan.versions), leftovers, plan.kept)


def _find_leftovers(
    store: ArtifactStore, catalog: Catalog, age: float, *, orphans: bool
) -> tuple[Leftover, ...]:
    newest_allowed = _newest_allowed(catalog, age)
    grouped: dict[str, list[StoredObject]] = defaultdict(list)
    for top in (_VERSIONS, _STAGING):
        for found in store.list_objects(f"{top}/"):
            grouped["/".join(found.key.split("/")[:2])].append(found)
    ours = {folder: objects for folder, objects in grouped.items() if _is_ours(folder)}
    known = _known(store, catalog, list(ours))
    leftovers = []
    for folder, objects in sorted(ours.items()):
        committed = any(o.key == f"{folder}/{MANIFEST_NAME}" for o in objects)
        kind = "uncommitted"
        if folder in known:
            kind, objects = "lost attempt", _lost_attempts(store, folder, objects)
        elif committed:
            kind = "orphan"
        if not objects or (kind == "orphan" and not orphans):
            continue
        modified = max(o.modified for o in objects)
        if modified <= newest_allowed:
            keys = tuple(o.key for o in objects)
            leftovers.append(Leftover(folder, kind, keys, sum(o.size for o in objects), modified))
    return tuple(leftovers)


def _newest_allowed(catalog: Catalog, age: float) -> float:
    newest = time.time() - age
    at_work = [run.started_at or run.created_at for run in catalog.unfinished_runs()]
    if at_work:
        # A run may have written a version and not recorded it yet, however long ago.
        oldest = min(moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in at_work)
        newest = min(newest, oldest.timestamp() - _CLOCK_SKEW)
    return newest


def _lost_attempts(store: ArtifactStore, folder: str, objects: list[StoredObject]) -> list[StoredObject]:
    """Return the objects of a committed version that its manifest doesn't count.

    Only stores in a cloud have them: each writer has a folder of its own there, and the manifest names the
    winner's. The manifest is read only where there is more than one, or where it is so small that the winner lies in
    the manifest itself.
    """
    data = [o for o in objects if o.key.split("/")[2] != MANIFEST_NAME]
    attempts = {o.key.split("/")[2] for o in data}
    if store.uri.startswith("file:") or not data:
        return []
    if len(attempts) == 1 and sum(o.size for o in data) > LARGEST_EMBEDDED:
        return []
    try:
        winner = store.read_manifest(f"{store.uri}/{folder}").folder
    except IntegrityError:
        return []  # Which data is the winner's can't be told, and a person may restore the manifest.
    if not winner:
        return []
    return [o for o in objects if o.key.split("/")[2] not in (winner, MANIFEST_NAME)]


def _is_ours(folder: str) -> bool:
    """Whether we made a folder of this name; another's data below our root isn't ours to remove."""
    top, _, name = folder.partition("/")
    if top == _STAGING:
        return True
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _known(store: ArtifactStore, catalog: Catalog, folders: list[str]) -> set[str]:
    known: set[str] = set()
    for start in range(0, len(folders), _BATCH):
        uris = {f"{store.uri}/{folder}": folder for folder in folders[start : start + _BATCH]}
        known.update(uris[uri] for uri in catalog.known_uris(list(uris)))
    return known


def apply_prune(catalog: Catalog, store: ArtifactStore, report: PruneReport) -> PruneReport:
    """Remove what a report lists, and return what really went.

    Rows go before data, so that a crash leaves leftovers, which the next prune finds, and never a version without
    data. What became needed meanwhile stays.
    """
    gone: list[ArtifactVersion] = []
    for start in range(0, len(report.versions), _BATCH):
        batch = report.versions[start : start + _BATCH]
        try:
            catalog.delete_artifact_versions([v.id for v in batch])
            removed = list(batch)
        except ConflictError:
            # One of them is needed now; find out which.
            removed = [v for v in batch if _deleted(catalog, v)]
        for version in removed:
            if not version.external:
                store.delete(version.uri)
        gone += removed
    known = _known(store, catalog, [lo.folder for lo in report.leftovers])
    swept = tuple(lo for lo in report.leftovers if _still_loose(store, known, lo))
    for leftover in swept:
        store.delete_objects(_manifest_first(leftover.keys))
    kept = report.kept + len(report.versions) - len(gone)
    return PruneReport(tuple(gone), swept, kept, removed=True)


def _still_loose(store: ArtifactStore, known: set[str], leftover: Leftover) -> bool:
    """Whether nobody committed or recorded the data since it was found."""
    if leftover.kind == "lost attempt":
        return True
    if leftover.kind == "uncommitted" and leftover.folder.startswith(_VERSIONS):
        return not store.exists(f"{store.uri}/{leftover.folder}")
    return leftover.folder not in known


def _deleted(catalog: Catalog, version: ArtifactVersion) -> bool:
    try:
        catalog.delete_artifact_versions([version.id])
    except ConflictError:
        return False
    return True


def _manifest_first(keys: tuple[str, ...]) -> list[str]:
    return sorted(keys, key=lambda key: not key.endswith("/" + MANIFEST_NAME))
