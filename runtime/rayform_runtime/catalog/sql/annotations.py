"""Metadata and tags on whatever the catalog keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from rayform_core.errors import NotFoundError
from rayform_runtime.catalog.entities import Subject
from rayform_runtime.catalog.metadata import decode, encode
from rayform_runtime.catalog.sql.database import Session
from rayform_runtime.catalog.sql.finder import SQLBase
from rayform_runtime.catalog.sql.rows import checked_name, decode_tags, encode_tags

__all__ = ["AnnotationCatalog"]

_TABLES = {
    Subject.RUN: ("runs", "run"),
    Subject.STEP_RUN: ("step_runs", "step run"),
    Subject.ARTIFACT: ("artifacts", "artifact"),
    Subject.ARTIFACT_VERSION: ("artifact_versions", "artifact version"),
    Subject.MODEL: ("models", "model"),
    Subject.MODEL_VERSION: ("model_versions", "model version"),
}


class AnnotationCatalog(SQLBase):
    """The part of `SQLCatalog` that is about metadata and tags."""

    def log_metadata(self, subject: Subject, id: UUID, metadata: Mapping[str, Any]) -> None:
        encode(metadata)  # refuses what can't be kept before anything is locked
        table, what = _TABLES[subject]
        stored = self._db.put_id(id)

        def work(session: Session) -> None:
            rows = session.rows(
                f"SELECT metadata FROM {table} WHERE id = ?{self._db.lock_clause()}", (stored,)
            )
            if not rows:
                raise NotFoundError(what, str(id))
            merged = encode({**decode(rows[0][0]), **metadata})
            session.run(f"UPDATE {table} SET metadata = ? WHERE id = ?", (merged, stored))

        self._db.write(work)

    def update_tags(
        self, subject: Subject, id: UUID, *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> tuple[str, ...]:
        encode_tags(add)
        table, what = _TABLES[subject]
        if subject == Subject.STEP_RUN:
            raise NotFoundError(
                "tag on a step run", ", ".join(add), why="Step runs have no tags; tag their run."
            )
        stored = self._db.put_id(id)

        def work(session: Session) -> tuple[str, ...]:
            rows = session.rows(f"SELECT tags FROM {table} WHERE id = ?{self._db.lock_clause()}", (stored,))
            if not rows:
                raise NotFoundError(what, str(id))
            had = set(decode_tags(rows[0][0]))
            kept = tuple(sorted((had | {checked_name(tag, "Tag") for tag in add}) - set(remove)))
            session.run(f"UPDATE {table} SET tags = ? WHERE id = ?", (encode_tags(kept), stored))
            gone = had - set(kept)
            if gone:
                session.many(
                    "DELETE FROM tags WHERE subject = ? AND tag = ? AND subject_id = ?",
                    [(subject.value, tag, stored) for tag in sorted(gone)],
                )
            self._add_tags(session, subject, [(stored, sorted(set(kept) - had))])
            return kept

        return self._db.write(work)
