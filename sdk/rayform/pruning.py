"""Removes artifact versions that nothing needs, and what uncommitted writes left behind in the store.

What a kept run, a model version or the tag `keep` needs stays: the catalog decides that, twice, when it plans and
again when it deletes. A leftover is data below the store's folder of versions that no version refers to and that
has lain there for long enough that no run at work can be about to commit it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from rayform_core.errors import ConflictError

if TYPE_CHECKING:
    from rayform.client import Client
    from rayform_runtime.artifacts.interface import ArtifactStore, StoredObject
    from rayform_runtime.catalog.interface import ArtifactVersion, Catalog

__all__ = ["Leftover", "PruneReport", "apply_prune", "find_prunable"]

DAY = 86_400.0
_VERSIONS = "versions"
_STAGING = ".staging"
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Leftover:
    """Objects of one write that was never recorded.

    Args:
        folder: their folder below the store's root.
        keys: all of them.
        size: bytes in all.
        modified: when the last was written, seconds since 1970.
    """

    folder: str
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
    client: Client,
    *,
    older_than: datetime | None = None,
    keep_runs: bool = True,
    leftover_age: float | None = None,
) -> PruneReport:
    """Find what nothing needs; changes nothing. See `Client.prune_artifacts`."""
    plan = client.catalog.plan_prune(older_than=older_than, keep_runs=keep_runs)
    leftovers = _find_leftovers(
        client.artifact_store, client.catalog, DAY if leftover_age is None else leftover_age
    )
    return PruneReport(tuple(plan.versions), leftovers, plan.kept)


def _find_leftovers(store: ArtifactStore, catalog: Catalog, age: float) -> tuple[Leftover, ...]:
    newest_allowed = time.time() - age
    at_work = [run.started_at or run.created_at for run in catalog.unfinished_runs()]
    if at_work:
        # A run may have written a version and not recorded it yet, however long ago.
        oldest = min(moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in at_work)
        newest_allowed = min(newest_allowed, oldest.timestamp())
    grouped: dict[str, list[StoredObject]] = defaultdict(list)
    for top in (_VERSIONS, _STAGING):
        for found in store.list_objects(f"{top}/"):
            grouped["/".join(found.key.split("/")[:2])].append(found)
    old = {
        folder: objects
        for folder, objects in grouped.items()
        if max(o.modified for o in objects) <= newest_allowed and _is_ours(folder)
    }
    known = _known(store, catalog, list(old))
    return tuple(
        Leftover(
            folder,
            tuple(o.key for o in objects),
            sum(o.size for o in objects),
            max(o.modified for o in objects),
        )
        for folder, objects in sorted(old.items())
        if folder not in known
    )


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


def apply_prune(client: Client, report: PruneReport) -> PruneReport:
    """Remove what a report lists, and return what really went.

    Rows go before data, so that a crash leaves leftovers, which the next prune finds, and never a version without
    data. What became needed meanwhile stays.
    """
    store, catalog = client.artifact_store, client.catalog
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
    swept = tuple(lo for lo in report.leftovers if lo.folder not in known)
    for leftover in swept:
        store.delete_objects(_manifest_first(leftover.keys))
    kept = report.kept + len(report.versions) - len(gone)
    return PruneReport(tuple(gone), swept, kept, removed=True)


def _deleted(catalog: Catalog, version: ArtifactVersion) -> bool:
    try:
        catalog.delete_artifact_versions([version.id])
    except ConflictError:
        return False
    return True


def _manifest_first(keys: tuple[str, ...]) -> list[str]:
    from rayform_runtime.artifacts.interface import MANIFEST_NAME

    return sorted(keys, key=lambda key: not key.endswith("/" + MANIFEST_NAME))
