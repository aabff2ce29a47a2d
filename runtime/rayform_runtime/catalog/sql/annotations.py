"""Metadata and tags of whatever the catalog holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from rayform_core.errors import NotFoundError
from rayform_runtime.catalog.entities import Subject
from rayform_runtime.catalog.metadata import decode, encode
from rayform_runtime.catalog.sql.columns import TAGS, TagRow
from rayform_runtime.catalog.sql.database import Session, StoredId
from rayform_runtime.catalog.sql.finder import Part
from rayform_runtime.catalog.sql.rows import checked_name, decode_tags, encode_tags

__all__ = ["Annotations", "add_tags"]

_TABLES = {
    Subject.RUN: ("runs", "run"),
    Subject.STEP_RUN: ("step_runs", "step run"),
    Subject.ARTIFACT: ("artifacts", "artifact"),
    Subject.ARTIFACT_VERSION: ("artifact_versions", "artifact version"),
    Subject.MODEL: ("models", "model"),
    Subject.MODEL_VERSION: ("model_versions", "model version"),
}


def add_tags(session: Session, subject: Subject, tagged: Iterable[tuple[StoredId, Sequence[str]]]) -> None:
    """Add tags to the table by which lists filter; rows of the subject carry them as well."""
    TAGS.write_new(session, [TagRow(subject.value, tag, id) for id, tags in tagged for tag in tags])


class Annotations(Part):
    """Metadata and tags."""

    def log_metadata(self, subject: Subject, id: UUID, metadata: Mapping[str, object]) -> None:
        encode(metadata)  # refuses what can't be kept before anything is locked
        table, what = _TABLES[subject]
        stored = self._database.put_id(id)

        def work(session: Session) -> None:
            rows = session.rows(
                f"SELECT metadata FROM {table} WHERE id = ?{self._database.lock_clause()}", (stored,)
            )
            if not rows:
                raise NotFoundError(what, str(id))
            merged = encode({**decode(rows[0][0]), **metadata})
            session.run(f"UPDATE {table} SET metadata = ? WHERE id = ?", (merged, stored))

        self._database.write(work)

    def update_tags(
        self, subject: Subject, id: UUID, *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> tuple[str, ...]:
        encode_tags(add)
        table, what = _TABLES[subject]
        if subject == Subject.STEP_RUN:
            raise NotFoundError(
                "tag on a step run", ", ".join(add), why="Step runs have no tags; tag their run."
            )
        stored = self._database.put_id(id)

        def work(session: Session) -> tuple[str, ...]:
            rows = session.rows(
                f"SELECT tags FROM {table} WHERE id = ?{self._database.lock_clause()}", (stored,)
            )
            if not rows:
                raise NotFoundError(what, str(id))
            before = set(decode_tags(rows[0][0]))
            after = tuple(sorted((before | {checked_name(tag, "Tag") for tag in add}) - set(remove)))
            session.run(f"UPDATE {table} SET tags = ? WHERE id = ?", (encode_tags(after), stored))
            removed = before - set(after)
            if removed:
                session.many(
                    "DELETE FROM tags WHERE subject = ? AND tag = ? AND subject_id = ?",
                    [(subject.value, tag, stored) for tag in sorted(removed)],
                )
            add_tags(session, subject, [(stored, sorted(set(after) - before))])
            return after

        return self._database.write(work)
