"""Artifacts and their versions in the catalog: numbering, look-up, lists, deletion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import (
    Artifact,
    ArtifactVersion,
    NewArtifactVersion,
    Page,
    Query,
    Subject,
)
from rayform_runtime.catalog.metadata import encode
from rayform_runtime.catalog.sql.database import (
    ForeignKeyViolation,
    Row,
    Session,
    UniqueViolation,
    chunks,
    marks,
)
from rayform_runtime.catalog.sql.filters import Field, Kind, Listing
from rayform_runtime.catalog.sql.finder import SQLBase
from rayform_runtime.catalog.sql.rows import (
    VERSION_COLUMNS,
    VERSION_DETAILS,
    artifact_record,
    checked_name,
    encode_tags,
    encode_visualizations,
    moment,
    now,
    version_record,
)

__all__ = ["ArtifactCatalog"]

T = TypeVar("T")
LATEST = "latest"
MAX_NUMBER = 2**53
"""A version named by a whole number up to this one is counted on from; a larger one is just a name."""

VERSIONS = Listing(
    what="Artifact versions",
    id="v.id",
    subject=Subject.ARTIFACT_VERSION,
    metadata="v.metadata",
    fields={
        "id": Field("v.id", Kind.ID),
        "artifact_id": Field("v.artifact_id", Kind.ID),
        "version": Field("v.version"),
        "number": Field("v.number", Kind.NUMBER, nullable=True),
        "sequence": Field("v.sequence", Kind.NUMBER),
        "type": Field("v.type"),
        "artifact_type": Field("v.artifact_type"),
        "materializer": Field("v.materializer"),
        "uri": Field("v.uri"),
        "digest": Field("v.digest"),
        "size": Field("v.size", Kind.NUMBER),
        "created_at": Field("v.created_at", Kind.MOMENT),
        "producer_step_run_id": Field("v.producer_step_run_id", Kind.ID, nullable=True),
        "producer_run_id": Field("v.producer_run_id", Kind.ID, nullable=True),
        "run_id": Field("v.producer_run_id", Kind.ID, nullable=True),
        "output_name": Field("v.output_name", nullable=True),
        "external": Field("v.external", Kind.BOOL),
    },
    within={
        "name": ("v.artifact_id IN (SELECT n.id FROM artifacts n WHERE {})", Field("n.name")),
        "artifact": ("v.artifact_id IN (SELECT n.id FROM artifacts n WHERE {})", Field("n.name")),
        "run": ("v.producer_run_id IN (SELECT n.id FROM runs n WHERE {})", Field("n.name")),
        "pipeline": ("v.producer_run_id IN (SELECT n.id FROM runs n WHERE {})", Field("n.pipeline")),
        "model_version_id": (
            "v.id IN (SELECT l.artifact_version_id FROM model_version_artifacts l WHERE {})",
            Field("l.model_version_id", Kind.ID),
        ),
        "model": (
            "v.id IN (SELECT l.artifact_version_id FROM model_version_artifacts l JOIN model_versions mv "
            "ON mv.id = l.model_version_id JOIN models m ON m.id = mv.model_id WHERE {})",
            Field("m.name"),
        ),
    },
    sorted_by={"name": Field("a.name")},
)
ARTIFACTS = Listing(
    what="Artifacts",
    id="a.id",
    subject=Subject.ARTIFACT,
    metadata="a.metadata",
    fields={
        "id": Field("a.id", Kind.ID),
        "name": Field("a.name"),
        "created_at": Field("a.created_at", Kind.MOMENT),
    },
    within={
        "type": ("a.id IN (SELECT v.artifact_id FROM artifact_versions v WHERE {})", Field("v.type")),
        "artifact_type": (
            "a.id IN (SELECT v.artifact_id FROM artifact_versions v WHERE {})",
            Field("v.artifact_type"),
        ),
    },
)
_VERSION_TABLES = "artifact_versions v JOIN artifacts a ON a.id = v.artifact_id"
_ALL_VERSION_COLUMNS = VERSION_COLUMNS + VERSION_DETAILS
_ARTIFACT_COLUMNS = (
    "a.id, a.name, a.created_at, a.tags, a.metadata, (SELECT l.version FROM artifact_versions l "
    "WHERE l.artifact_id = a.id ORDER BY l.sequence DESC LIMIT 1)"
)
# Allots numbers: the row stays locked until the commit, so no two writers get one number. The new count starts
# from the highest number that anybody chose by hand, where that is higher.
_ALLOT = """INSERT INTO artifacts AS a (id, name, created_at, last_number, last_sequence) VALUES (?, ?, ?, ?, ?)
 ON CONFLICT (name) DO UPDATE SET last_sequence = a.last_sequence + ?,
 last_number = CASE WHEN a.last_number < ? THEN ? ELSE a.last_number END + ?
 RETURNING id, last_number, last_sequence"""
_INSERT = f"""INSERT INTO artifact_versions (id, artifact_id, sequence, version, number, type, artifact_type,
 materializer, uri, digest, size, created_at, producer_step_run_id, producer_run_id, output_name, output_position,
 external, tags, metadata, visualizations) VALUES ({marks(20)})"""
_LINK = """INSERT INTO model_version_artifacts (model_version_id, artifact_version_id) VALUES (?, ?)
 ON CONFLICT DO NOTHING"""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What of a new version can be checked and encoded before the transaction."""

    tags: str | None
    metadata: str | None
    visualizations: str | None
    chosen_number: int


class ArtifactCatalog(SQLBase):
    """The part of `SQLCatalog` that is about artifacts."""

    def _prepared(self, version: NewArtifactVersion) -> _Prepared:
        checked_name(version.artifact_name, "Artifact name")
        chosen = 0
        if version.version is not None:
            checked_name(version.version, "Version")
            if version.version == LATEST:
                raise UsageError(f"A version can't be called '{LATEST}'.", why="It means the newest one.")
            chosen = chosen_number(version.version)
        return _Prepared(
            encode_tags(version.tags),
            encode(version.metadata),
            encode_visualizations(version.visualizations),
            chosen,
        )

    def _insert_versions(
        self,
        session: Session,
        todo: Sequence[tuple[NewArtifactVersion, _Prepared, UUID | None, UUID | None, int]],
        links: Sequence[tuple[UUID, UUID]],
    ) -> dict[UUID, ArtifactVersion]:
        """Number and insert new versions, given with the step run and run that made them and their position."""
        put = self._db.put_id
        by_name: dict[str, list[int]] = {}
        for index, (new, *_) in enumerate(todo):
            by_name.setdefault(new.artifact_name, []).append(index)
        allotted: dict[int, tuple[Any, int, int | None]] = {}
        # In one order everywhere, so that two writers never wait for each other's artifacts.
        for name in sorted(by_name):
            self._allot(session, name, [(i, todo[i][0], todo[i][1]) for i in by_name[name]], allotted)
        at = now()
        created = moment(at)
        rows, made = [], {}
        for index, (new, prepared, step_id, run_id, position) in enumerate(todo):
            artifact_id, sequence, number = allotted[index]
            version = new.version if new.version is not None else str(number)
            rows.append(
                (
                    put(new.id),
                    artifact_id,
                    sequence,
                    version,
                    number,
                    new.type,
                    new.artifact_type,
                    new.materializer,
                    new.uri,
                    new.digest,
                    new.size,
                    at,
                    put(step_id) if step_id else None,
                    put(run_id) if run_id else None,
                    new.output_name,
                    position,
                    new.external,
                    prepared.tags,
                    prepared.metadata,
                    prepared.visualizations,
                )
            )
            made[new.id] = ArtifactVersion(
                id=new.id,
                artifact_id=self._db.get_id(artifact_id),
                name=new.artifact_name,
                version=version,
                number=number,
                type=new.type,
                artifact_type=new.artifact_type,
                materializer=new.materializer,
                uri=new.uri,
                digest=new.digest,
                size=new.size,
                created_at=created,
                producer_step_run_id=step_id,
                producer_run_id=run_id,
                output_name=new.output_name,
                external=new.external,
                tags=tuple(sorted(set(new.tags))) if new.tags else (),
                metadata=dict(new.metadata),
                visualizations=tuple(new.visualizations),
            )
        if len(rows) == 1:
            session.run(_INSERT, rows[0])
        else:
            session.many(_INSERT, rows)
        self._add_tags(
            session, Subject.ARTIFACT_VERSION, [(put(new.id), new.tags) for new, *_ in todo if new.tags]
        )
        if links:
            session.many(_LINK, [(put(model), put(version)) for model, version in links])
        return made

    def _allot(
        self,
        session: Session,
        name: str,
        news: Sequence[tuple[int, NewArtifactVersion, _Prepared]],
        allotted: dict[int, tuple[Any, int, int | None]],
    ) -> None:
        automatic = sum(new.version is None for _, new, _ in news)
        chosen = max(prepared.chosen_number for _, _, prepared in news)
        artifact_id, last_number, last_sequence = session.rows(
            _ALLOT,
            (
                self._db.put_id(new_id()),
                name,
                now(),
                chosen + automatic,
                len(news),
                len(news),
                chosen,
                chosen,
                automatic,
            ),
        )[0]
        number, sequence = last_number - automatic, last_sequence - len(news)
        for index, new, _ in news:
            sequence += 1
            if new.version is None:
                number += 1
            allotted[index] = (artifact_id, sequence, number if new.version is None else None)

    def _write_versions(self, work: Callable[[Session], T], outputs: Sequence[NewArtifactVersion]) -> T:
        try:
            return self._db.write(work)
        except UniqueViolation as error:
            raise self._conflict(error, outputs) from error
        except ForeignKeyViolation as error:
            raise NotFoundError(
                "model version or run", "of this step", hint="It was deleted meanwhile."
            ) from error

    def _conflict(self, error: UniqueViolation, outputs: Sequence[NewArtifactVersion]) -> ConflictError:
        return self._taken(outputs) or ConflictError(
            "An artifact version exists already.", why=f"The database says: {error}."
        )

    def _taken(self, outputs: Sequence[NewArtifactVersion]) -> ConflictError | None:
        for new in outputs:
            where = "v.id = ?" if new.version is None else "v.id = ? OR (a.name = ? AND v.version = ?)"
            values = (
                self._db.put_id(new.id),
                *(() if new.version is None else (new.artifact_name, new.version)),
            )
            rows = self._db.read(
                lambda s, w=where, v=values: s.rows(  # type: ignore[misc]
                    f"SELECT a.name, v.version, v.id FROM {_VERSION_TABLES} WHERE {w}", v
                )
            )
            if rows:
                return ConflictError(
                    f"Artifact '{rows[0][0]}' has a version '{rows[0][1]}' already.",
                    why=f"It is {self._db.get_id(rows[0][2])}; versions never change.",
                    hint="Choose another version, or none to get the next number.",
                )
        return None

    def create_artifact_version(
        self, version: NewArtifactVersion, *, model_version_id: UUID | None = None
    ) -> ArtifactVersion:
        prepared = self._prepared(version)
        links = [(model_version_id, version.id)] if model_version_id else []

        def work(session: Session) -> ArtifactVersion:
            known = self._versions_by_id(session, [version.id]).get(version.id)
            if known is not None and (known.name, known.uri) == (version.artifact_name, version.uri):
                return known  # the answer to this very commit got lost before
            return self._insert_versions(session, [(version, prepared, None, None, 0)], links)[version.id]

        return self._write_versions(work, [version])

    def get_artifact(self, ref: str | UUID) -> Artifact:
        def read(session: Session) -> list[Row]:
            id = self._find(session, "artifacts", "artifact", ref)
            return session.rows(f"SELECT {_ARTIFACT_COLUMNS} FROM artifacts a WHERE a.id = ?", (id,))

        rows = self._db.read(read)
        if not rows:
            raise NotFoundError("artifact", str(ref))
        return artifact_record(rows[0], self._db)

    def get_artifact_version(self, ref: str | UUID, version: str | int | None = None) -> ArtifactVersion:
        def read(session: Session) -> ArtifactVersion:
            if isinstance(ref, UUID) and version is None:
                found = self._versions_by_id(session, [ref])
                if found:
                    return found[ref]
                raise NotFoundError("artifact version", str(ref))
            if isinstance(ref, str) and version is None:
                named = session.rows(
                    "SELECT id FROM artifacts WHERE name = ?", (ref.replace("\0", "\ufffd"),)
                )
                if not named:
                    return self._version_by_prefix(session, ref)
            return self._version_of(session, ref, version)

        return self._db.read(read)

    def _version_by_prefix(self, session: Session, ref: str) -> ArtifactVersion:
        try:
            id = self._find(session, "artifact_versions", "artifact version", ref, name=None)
        except NotFoundError:
            raise NotFoundError(
                "artifact or artifact version", ref, known=self._names(session, "artifacts", "name")
            ) from None
        return self._one_version(session, "v.id = ?", (id,)) or _gone(ref)

    def _version_of(self, session: Session, ref: str | UUID, version: str | int | None) -> ArtifactVersion:
        id = self._find(session, "artifacts", "artifact", ref)
        if version is None or version == LATEST:
            found = self._one_version(session, "v.artifact_id = ? ORDER BY v.sequence DESC LIMIT 1", (id,))
        else:
            wanted = str(version).replace("\0", "\ufffd")
            found = self._one_version(session, "v.artifact_id = ? AND v.version = ?", (id, wanted))
        if found is None:
            known = session.rows(
                "SELECT version FROM artifact_versions WHERE artifact_id = ? ORDER BY sequence DESC LIMIT 1000",
                (id,),
            )
            raise NotFoundError(
                "version",
                str(version or LATEST),
                known=[row[0] for row in known],
                within=f"of artifact '{ref}'",
            )
        return found

    def _one_version(self, session: Session, test: str, values: Sequence[Any]) -> ArtifactVersion | None:
        rows = session.rows(f"SELECT {_ALL_VERSION_COLUMNS} FROM {_VERSION_TABLES} WHERE {test}", values)
        return version_record(rows[0], self._db) if rows else None

    def get_artifact_versions(self, ids: Sequence[UUID]) -> dict[UUID, ArtifactVersion]:
        return self._db.read(lambda session: self._versions_by_id(session, ids))

    def _versions_by_id(self, session: Session, ids: Sequence[UUID]) -> dict[UUID, ArtifactVersion]:
        found = {}
        for test, values in self._db.within("v.id", [self._db.put_id(id) for id in ids]):
            for row in session.rows(
                f"SELECT {_ALL_VERSION_COLUMNS} FROM {_VERSION_TABLES} WHERE {test}", values
            ):
                version = version_record(row, self._db)
                found[version.id] = version
        return found

    def list_artifacts(self, query: Query = Query()) -> Page[Artifact]:
        return self._page(
            query,
            ARTIFACTS,
            columns=_ARTIFACT_COLUMNS,
            tables="artifacts a",
            counted="artifacts a",
            records=lambda _, rows: [artifact_record(row, self._db) for row in rows],
        )

    def list_artifact_versions(self, query: Query = Query()) -> Page[ArtifactVersion]:
        return self._page(
            query,
            VERSIONS,
            columns=_ALL_VERSION_COLUMNS if query.hydrate else VERSION_COLUMNS,
            tables=_VERSION_TABLES,
            counted="artifact_versions v",
            records=lambda _, rows: [version_record(row, self._db) for row in rows],
        )

    def rename_artifact(self, artifact_id: UUID, name: str) -> Artifact:
        checked_name(name, "Artifact name")
        try:
            changed = self._db.write(
                lambda s: s.run(
                    "UPDATE artifacts SET name = ? WHERE id = ?", (name, self._db.put_id(artifact_id))
                )
            )
        except UniqueViolation as error:
            raise ConflictError(
                f"There is an artifact '{name}' already.", hint="Choose another name."
            ) from error
        if not changed:
            raise NotFoundError("artifact", str(artifact_id))
        return self.get_artifact(artifact_id)

    def delete_artifact_versions(self, ids: Sequence[UUID], *, force: bool = False) -> None:
        put = self._db.put_id
        wanted = [put(id) for id in dict.fromkeys(ids)]

        def work(session: Session) -> None:
            for some in chunks(wanted):
                within = f"({marks(len(some))})"
                there = {
                    row[0]
                    for row in session.rows(f"SELECT id FROM artifact_versions WHERE id IN {within}", some)
                }
                missing = [id for id in some if id not in there]
                if missing:
                    raise NotFoundError("artifact version", str(self._db.get_id(missing[0])))
                if not force:
                    self._refuse_used(session, some)
                session.run(f"DELETE FROM tags WHERE subject_id IN {within}", some)
                session.run(f"DELETE FROM artifact_versions WHERE id IN {within}", some)

        self._db.write(work)

    def _refuse_used(self, session: Session, ids: Sequence[Any]) -> None:
        within = f"({marks(len(ids))})"
        rows = session.rows(
            "SELECT a.name, v.version, m.name, mv.version FROM model_version_artifacts l "
            "JOIN model_versions mv ON mv.id = l.model_version_id JOIN models m ON m.id = mv.model_id "
            "JOIN artifact_versions v ON v.id = l.artifact_version_id JOIN artifacts a ON a.id = v.artifact_id "
            f"WHERE l.artifact_version_id IN {within} LIMIT 1",
            ids,
        )
        used = "Model '{}' version '{}' refers to it."
        if not rows:
            rows = session.rows(
                "SELECT a.name, v.version, s.name, r.name FROM step_inputs i JOIN step_runs s ON s.id = i.step_run_id "
                "JOIN runs r ON r.id = s.run_id JOIN artifact_versions v ON v.id = i.artifact_version_id "
                f"JOIN artifacts a ON a.id = v.artifact_id WHERE i.artifact_version_id IN {within} LIMIT 1",
                ids,
            )
            used = "Step '{}' of run '{}' took it as an input."
        if not rows:
            rows = session.rows(
                "SELECT a.name, v.version, s.name, r.name FROM artifact_versions v "
                "JOIN step_runs s ON s.id = v.producer_step_run_id JOIN runs r ON r.id = s.run_id "
                f"JOIN artifacts a ON a.id = v.artifact_id WHERE v.id IN {within} AND r.status = 'running' LIMIT 1",
                ids,
            )
            used = "Step '{}' made it in run '{}', which is at work and may still need it."
        if rows:
            name, version, *user = rows[0]
            raise ConflictError(
                f"Version '{version}' of artifact '{name}' is in use.",
                why=used.format(*user),
                hint="Delete that first, or delete it all the same: `--force`, or `force=True` in Python. "
                "Nothing was deleted.",
            )

    def delete_artifact(self, artifact_id: UUID) -> None:
        id = self._db.put_id(artifact_id)

        def work(session: Session) -> None:
            rows = session.rows(f"SELECT name FROM artifacts WHERE id = ?{self._db.lock_clause()}", (id,))
            if not rows:
                raise NotFoundError("artifact", str(artifact_id))
            count = session.rows("SELECT count(*) FROM artifact_versions WHERE artifact_id = ?", (id,))[0][0]
            if count:
                raise ConflictError(
                    f"Artifact '{rows[0][0]}' has {count} version{'s' if count > 1 else ''}.",
                    hint="Delete its versions first.",
                )
            session.run("DELETE FROM tags WHERE subject_id = ?", (id,))
            session.run("DELETE FROM artifacts WHERE id = ?", (id,))

        self._db.write(work)


def chosen_number(version: str) -> int:
    """Return the number that automatic ones must go on from after a person chose this version, or 0."""
    if version.isascii() and version.isdigit() and version[0] != "0" and len(version) <= 16:
        number = int(version)
        return number if number < MAX_NUMBER else 0
    return 0


def _gone(ref: str) -> ArtifactVersion:
    raise NotFoundError("artifact version", ref)
