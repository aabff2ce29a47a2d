"""Artifacts and their versions in the catalog: look-up, lists, deletion. `version_writer.py` adds versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from rayform_core.errors import ConflictError, EntityExistsError, NotFoundError
from rayform_runtime.catalog.entities import (
    Artifact,
    ArtifactVersion,
    NewArtifactVersion,
    Page,
    Query,
    Subject,
)
from rayform_runtime.catalog.saving import FIRST_SAVED, SavedIn
from rayform_runtime.catalog.sql.columns import ARTIFACT_VERSIONS, ARTIFACTS, ModelVersionArtifactRow
from rayform_runtime.catalog.sql.database import (
    Database,
    Row,
    Session,
    StoredId,
    UniqueViolation,
    chunks,
    marks,
)
from rayform_runtime.catalog.sql.filters import Field, Kind, Listing
from rayform_runtime.catalog.sql.finder import Finder, Part
from rayform_runtime.catalog.sql.rows import checked_name, read_artifact, read_artifact_version
from rayform_runtime.catalog.sql.version_writer import LATEST, PlacedVersion, VersionWriter

__all__ = [
    "ARTIFACT_LIST",
    "VERSION_DETAILS",
    "VERSION_LIST",
    "VERSION_TABLES",
    "ArtifactVersions",
    "Artifacts",
]

VERSION_LIST = Listing(
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
ARTIFACT_LIST = Listing(
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
VERSION_DETAILS = ("metadata", "visualizations")
"""What a list leaves out by default."""
VERSION_TABLES = "artifact_versions v JOIN artifacts a ON a.id = v.artifact_id"
_SELECT_VERSIONS = f"SELECT {ARTIFACT_VERSIONS.columns()} FROM {VERSION_TABLES}"


class Artifacts(Part):
    """Artifacts: named series of versions."""

    def get_artifact(self, ref: str | UUID) -> Artifact:
        def read(session: Session) -> list[Row]:
            id = self._finder.find(session, "artifacts", "artifact", ref)
            return session.rows(f"SELECT {ARTIFACTS.columns()} FROM artifacts a WHERE a.id = ?", (id,))

        rows = self._database.read(read)
        if not rows:
            raise NotFoundError("artifact", str(ref))
        return read_artifact(rows[0], self._database)

    def list_artifacts(self, query: Query = Query()) -> Page[Artifact]:
        return self._finder.page(
            query,
            ARTIFACT_LIST,
            columns=ARTIFACTS.columns(),
            tables="artifacts a",
            counted="artifacts a",
            entities=lambda _, rows: [read_artifact(row, self._database) for row in rows],
        )

    def rename_artifact(self, artifact_id: UUID, name: str) -> Artifact:
        checked_name(name, "Artifact name")
        id = self._database.put_id(artifact_id)
        try:
            changed = self._database.write(
                lambda session: session.run("UPDATE artifacts SET name = ? WHERE id = ?", (name, id))
            )
        except UniqueViolation as error:
            raise EntityExistsError(
                f"There is an artifact '{name}' already.", hint="Choose another name."
            ) from error
        if not changed:
            raise NotFoundError("artifact", str(artifact_id))
        return self.get_artifact(artifact_id)

    def delete_artifact(self, artifact_id: UUID) -> None:
        id = self._database.put_id(artifact_id)

        def work(session: Session) -> None:
            rows = session.rows(
                f"SELECT name FROM artifacts WHERE id = ?{self._database.lock_clause()}", (id,)
            )
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

        self._database.write(work)


class ArtifactVersions(Part):
    """Versions of artifacts."""

    def __init__(self, database: Database, finder: Finder, writer: VersionWriter) -> None:
        super().__init__(database, finder)
        self._writer = writer

    def create_artifact_version(
        self,
        version: NewArtifactVersion,
        *,
        model_version_id: UUID | None = None,
        saved_in: SavedIn | None = None,
    ) -> ArtifactVersion:
        checked = self._writer.check(version)
        put = self._database.put_id
        links = [ModelVersionArtifactRow(put(model_version_id), put(version.id))] if model_version_id else []

        placed = PlacedVersion(checked)
        if saved_in is not None:
            position = FIRST_SAVED + saved_in.position
            placed = PlacedVersion(checked, saved_in.step_run_id, saved_in.run_id, position)

        def work(session: Session) -> ArtifactVersion:
            recorded = self.by_id(session, [version.id]).get(version.id)
            if recorded and (recorded.name, recorded.uri) == (version.artifact_name, version.uri):
                return recorded  # this very commit came through before, and its answer got lost
            return self._writer.insert(session, [placed], links)[version.id]

        return self._writer.write(work, [version])

    def get_artifact_version(self, ref: str | UUID, version: str | int | None = None) -> ArtifactVersion:
        def read(session: Session) -> ArtifactVersion:
            if version is None:
                if isinstance(ref, UUID):
                    return self._one(session, "v.id = ?", (self._database.put_id(ref),)) or _missing(ref)
                if isinstance(ref, str) and not self._is_artifact(session, ref):
                    return self._by_prefix(session, ref)
            return self._of_artifact(session, ref, version)

        return self._database.read(read)

    def _is_artifact(self, session: Session, name: str) -> bool:
        return bool(session.rows("SELECT 1 FROM artifacts WHERE name = ?", (name.replace("\0", "\ufffd"),)))

    def _by_prefix(self, session: Session, ref: str) -> ArtifactVersion:
        try:
            id = self._finder.find(session, "artifact_versions", "artifact version", ref, has_name=False)
        except NotFoundError:
            raise NotFoundError(
                "artifact or artifact version", ref, known=self._finder.names(session, "artifacts")
            ) from None
        return self._one(session, "v.id = ?", (id,)) or _missing(ref)

    def _of_artifact(self, session: Session, ref: str | UUID, version: str | int | None) -> ArtifactVersion:
        id = self._finder.find(session, "artifacts", "artifact", ref)
        if version is None or version == LATEST:
            match = self._one(session, "v.artifact_id = ? ORDER BY v.sequence DESC LIMIT 1", (id,))
        else:
            name = str(version).replace("\0", "\ufffd")
            match = self._one(session, "v.artifact_id = ? AND v.version = ?", (id, name))
        if match is None:
            newest = session.rows(
                "SELECT version FROM artifact_versions WHERE artifact_id = ? ORDER BY sequence DESC LIMIT 1000",
                (id,),
            )
            raise NotFoundError(
                "version",
                str(version or LATEST),
                known=[name for (name,) in newest],
                within=f"of artifact '{ref}'",
            )
        return match

    def _one(self, session: Session, test: str, values: Sequence[object]) -> ArtifactVersion | None:
        rows = session.rows(f"{_SELECT_VERSIONS} WHERE {test}", values)
        return read_artifact_version(rows[0], self._database) if rows else None

    def get_artifact_versions(self, ids: Sequence[UUID]) -> dict[UUID, ArtifactVersion]:
        return self._database.read(lambda session: self.by_id(session, ids))

    def by_id(self, session: Session, ids: Sequence[UUID]) -> dict[UUID, ArtifactVersion]:
        """Return the versions with these IDs; unknown ones are left out."""
        versions = {}
        for test, values in self._database.within("v.id", [self._database.put_id(id) for id in ids]):
            for row in session.rows(f"{_SELECT_VERSIONS} WHERE {test}", values):
                version = read_artifact_version(row, self._database)
                versions[version.id] = version
        return versions

    def list_artifact_versions(self, query: Query = Query()) -> Page[ArtifactVersion]:
        return self._finder.page(
            query,
            VERSION_LIST,
            columns=ARTIFACT_VERSIONS.columns(without=() if query.hydrate else VERSION_DETAILS),
            tables=VERSION_TABLES,
            counted="artifact_versions v",
            entities=lambda _, rows: [read_artifact_version(row, self._database) for row in rows],
        )

    def delete_artifact_versions(
        self,
        ids: Sequence[UUID],
        *,
        force: bool = False,
        delete_data: Callable[[], None] | None = None,
    ) -> None:
        stored = [self._database.put_id(id) for id in dict.fromkeys(ids)]

        def work(session: Session) -> None:
            for some in chunks(stored):
                within = f"({marks(len(some))})"
                rows = session.rows(f"SELECT id FROM artifact_versions WHERE id IN {within}", some)
                existing = {id for (id,) in rows}
                if missing := [id for id in some if id not in existing]:
                    raise NotFoundError("artifact version", str(self._database.get_id(missing[0])))
                if not force:
                    _refuse_used(session, some)
                session.run(f"DELETE FROM tags WHERE subject_id IN {within}", some)
                session.run(f"DELETE FROM artifact_versions WHERE id IN {within}", some)
            if delete_data is not None:
                # Before the commit: a version whose data could not be deleted keeps its row. Until then, the
                # transaction keeps other processes from beginning to use the versions.
                delete_data()

        self._database.write(work)


# Who may use a version: what selects artifact, version and user, and the words for the user.
_USERS = (
    (
        "SELECT a.name, v.version, m.name, mv.version FROM model_version_artifacts l "
        "JOIN model_versions mv ON mv.id = l.model_version_id JOIN models m ON m.id = mv.model_id "
        "JOIN artifact_versions v ON v.id = l.artifact_version_id JOIN artifacts a ON a.id = v.artifact_id "
        "WHERE l.artifact_version_id IN ({}) LIMIT 1",
        "Model '{}' version '{}' refers to it.",
    ),
    (
        "SELECT a.name, v.version, s.name, r.name FROM step_inputs i JOIN step_runs s ON s.id = i.step_run_id "
        "JOIN runs r ON r.id = s.run_id JOIN artifact_versions v ON v.id = i.artifact_version_id "
        "JOIN artifacts a ON a.id = v.artifact_id WHERE i.artifact_version_id IN ({}) LIMIT 1",
        "Step '{}' of run '{}' used it as an input.",
    ),
    (
        "SELECT a.name, v.version, s.name, r.name FROM artifact_versions v "
        "JOIN step_runs s ON s.id = v.producer_step_run_id JOIN runs r ON r.id = s.run_id "
        "JOIN artifacts a ON a.id = v.artifact_id WHERE v.id IN ({}) AND r.status = 'running' LIMIT 1",
        "Step '{}' made it in run '{}', which is running and may still need it.",
    ),
)


def _refuse_used(session: Session, ids: Sequence[StoredId]) -> None:
    """Raise `ConflictError` if something uses one of these versions."""
    for sql, use in _USERS:
        for name, version, *user in session.rows(sql.format(marks(len(ids))), ids):
            raise ConflictError(
                f"Version '{version}' of artifact '{name}' is in use.",
                why=use.format(*user),
                hint="Delete that first, or delete it anyway: `--force`, or `force=True` in Python. "
                "Nothing was deleted.",
            )


def _missing(ref: str | UUID) -> ArtifactVersion:
    raise NotFoundError("artifact version", str(ref))
