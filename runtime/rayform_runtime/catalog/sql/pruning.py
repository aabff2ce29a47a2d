"""Pruning: which versions nothing needs any more. `rayform.reading.pruning` deletes them, with their data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rayform_runtime.catalog.entities import PrunePlan
from rayform_runtime.catalog.sql.artifacts import VERSION_DETAILS, VERSION_TABLES
from rayform_runtime.catalog.sql.columns import ARTIFACT_VERSIONS
from rayform_runtime.catalog.sql.database import Row, Session, chunks, marks
from rayform_runtime.catalog.sql.finder import Part
from rayform_runtime.catalog.sql.rows import microseconds, read_artifact_version

__all__ = ["KEEP_TAG", "Pruning"]

KEEP_TAG = "keep"
"""Versions with this tag, and versions of artifacts with it, are never pruned."""

_NEEDED_BY_MODEL = """EXISTS (SELECT 1 FROM model_version_artifacts l WHERE l.artifact_version_id = v.id)
 OR EXISTS (SELECT 1 FROM model_version_runs l WHERE l.run_id = v.producer_run_id)
 OR EXISTS (SELECT 1 FROM step_inputs i JOIN step_runs s ON s.id = i.step_run_id
 JOIN model_version_runs l ON l.run_id = s.run_id WHERE i.artifact_version_id = v.id)
 OR EXISTS (SELECT 1 FROM cached_outputs c JOIN step_runs s ON s.id = c.step_run_id
 JOIN model_version_runs l ON l.run_id = s.run_id WHERE c.artifact_version_id = v.id)"""
_NEEDED_BY_RUN = """v.producer_run_id IS NOT NULL
 OR EXISTS (SELECT 1 FROM step_inputs i WHERE i.artifact_version_id = v.id)
 OR EXISTS (SELECT 1 FROM cached_outputs c WHERE c.artifact_version_id = v.id)"""
_NEEDED_BY_LIVE_RUN = """EXISTS (SELECT 1 FROM runs r WHERE r.id = v.producer_run_id
 AND r.status IN ('initializing', 'running'))
 OR EXISTS (SELECT 1 FROM step_inputs i JOIN step_runs s ON s.id = i.step_run_id JOIN runs r ON r.id = s.run_id
 WHERE i.artifact_version_id = v.id AND r.status IN ('initializing', 'running'))
 OR EXISTS (SELECT 1 FROM cached_outputs c JOIN step_runs s ON s.id = c.step_run_id JOIN runs r ON r.id = s.run_id
 WHERE c.artifact_version_id = v.id AND r.status IN ('initializing', 'running'))"""
_TAGGED = (
    f"EXISTS (SELECT 1 FROM tags t WHERE t.subject_id IN (v.id, v.artifact_id) AND t.tag = '{KEEP_TAG}')"
)


class Pruning(Part):
    """Versions that nothing needs."""

    def plan_prune(self, *, older_than: datetime | None = None, keep_runs: bool = True) -> PrunePlan:
        reasons_to_keep = [
            _NEEDED_BY_MODEL,
            _TAGGED,
            "v.external",
            _NEEDED_BY_RUN if keep_runs else _NEEDED_BY_LIVE_RUN,
        ]
        test = " AND ".join(f"NOT ({reason})" for reason in reasons_to_keep)
        values: list[object] = []
        if older_than is not None:
            test += " AND v.created_at < ?"
            values.append(microseconds(older_than))

        def read(session: Session) -> tuple[list[Row], int]:
            rows = session.rows(
                f"SELECT {ARTIFACT_VERSIONS.columns(without=VERSION_DETAILS)} FROM {VERSION_TABLES} "
                f"WHERE {test} ORDER BY v.created_at, v.id",
                values,
            )
            return rows, session.rows("SELECT count(*) FROM artifact_versions")[0][0]

        rows, total = self._database.read(read)
        versions = tuple(read_artifact_version(row, self._database) for row in rows)
        return PrunePlan(versions, max(0, total - len(rows)))

    def known_uris(self, uris: Sequence[str]) -> set[str]:
        unique = [uri for uri in dict.fromkeys(uris) if "\0" not in uri]

        def read(session: Session) -> set[str]:
            return {
                uri
                for some in chunks(unique)
                for (uri,) in session.rows(
                    f"SELECT uri FROM artifact_versions WHERE uri IN ({marks(len(some))})", some
                )
            }

        return self._database.read(read)
