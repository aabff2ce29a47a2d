"""Model versions in the catalog: their numbers, stages that one version holds at most, and what is linked to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from rayform_core.errors import ConflictError, EntityExistsError, NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import (
    ArtifactVersion,
    ModelStage,
    ModelVersion,
    Page,
    Query,
    StageChange,
    Subject,
)
from rayform_runtime.catalog.metadata import encode
from rayform_runtime.catalog.sql.annotations import add_tags
from rayform_runtime.catalog.sql.artifacts import VERSION_TABLES
from rayform_runtime.catalog.sql.columns import (
    ARTIFACT_VERSIONS,
    MODEL_VERSION_ARTIFACTS,
    MODEL_VERSION_RUNS,
    MODEL_VERSIONS,
    MODELS,
    STAGE_CHANGES,
    ModelVersionArtifactRow,
    ModelVersionRow,
    ModelVersionRunRow,
    StageChangeRow,
)
from rayform_runtime.catalog.sql.database import (
    Database,
    ForeignKeyViolation,
    Row,
    Session,
    StoredId,
    UniqueViolation,
    chunks,
    marks,
)
from rayform_runtime.catalog.sql.filters import Field, Kind, Listing
from rayform_runtime.catalog.sql.finder import Finder, Part
from rayform_runtime.catalog.sql.models import new_model, update
from rayform_runtime.catalog.sql.rows import (
    checked_name,
    encode_tags,
    moment,
    now,
    read_artifact_version,
    read_model_version,
)
from rayform_runtime.catalog.sql.version_writer import LATEST, chosen_number

__all__ = ["MODEL_VERSION_LIST", "ModelStages", "ModelVersions"]

MODEL_VERSION_LIST = Listing(
    what="Model versions",
    id="v.id",
    subject=Subject.MODEL_VERSION,
    metadata="v.metadata",
    fields={
        "id": Field("v.id", Kind.ID),
        "model_id": Field("v.model_id", Kind.ID),
        "version": Field("v.version"),
        "number": Field("v.number", Kind.NUMBER, nullable=True),
        "stage": Field("v.stage"),
        "description": Field("v.description", nullable=True),
        "created_at": Field("v.created_at", Kind.MOMENT),
    },
    within={
        "model": ("v.model_id IN (SELECT n.id FROM models n WHERE {})", Field("n.name")),
        "name": ("v.model_id IN (SELECT n.id FROM models n WHERE {})", Field("n.name")),
        "run_id": (
            "v.id IN (SELECT l.model_version_id FROM model_version_runs l WHERE {})",
            Field("l.run_id", Kind.ID),
        ),
        "artifact_version_id": (
            "v.id IN (SELECT l.model_version_id FROM model_version_artifacts l WHERE {})",
            Field("l.artifact_version_id", Kind.ID),
        ),
    },
    sorted_by={
        "model": Field("m.name"),
        "name": Field("m.name"),
        "sequence": Field("v.sequence", Kind.NUMBER),
    },
)
_TABLES = "model_versions v JOIN models m ON m.id = v.model_id"
_ALLOT = """UPDATE models SET last_sequence = last_sequence + 1,
 last_number = CASE WHEN last_number < ? THEN ? ELSE last_number END + ? WHERE name = ?
 RETURNING id, last_number, last_sequence"""
_EXCLUSIVE = (ModelStage.STAGING, ModelStage.PRODUCTION)
_RESERVED = {LATEST, *(stage.value for stage in ModelStage)}


class ModelVersions(Part):
    """Versions of models, and the artifact versions and runs that are linked to them."""

    def create_model_version(
        self,
        model: str,
        *,
        version: str | None = None,
        description: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, object] | None = None,
        run_id: UUID | None = None,
    ) -> ModelVersion:
        checked_name(model, "Model name")
        if version is not None:
            _check_version(version)
        stored_tags, stored_metadata = encode_tags(tags), encode(metadata or {})
        put = self._database.put_id
        id = put(new_id())

        def work(session: Session) -> ModelVersion:
            recorded = self.where(session, "v.id = ?", (id,))
            if recorded:
                return recorded[0]  # this very commit came through before, and its answer got lost
            model_id, last_number, sequence = self._allot(session, model, version)
            number = last_number if version is None else None
            row = ModelVersionRow(
                id=id,
                model_id=model_id,
                sequence=sequence,
                version=version if version is not None else str(number),
                number=number,
                stage=ModelStage.NONE.value,
                description=description,
                created_at=now(),
                tags=stored_tags,
                metadata=stored_metadata,
            )
            MODEL_VERSIONS.write(session, [row])
            add_tags(session, Subject.MODEL_VERSION, [(id, tags)])
            if run_id is not None:
                MODEL_VERSION_RUNS.write(session, [ModelVersionRunRow(id, put(run_id))])
                session.run(
                    "UPDATE runs SET model_version_id = ? WHERE id = ? AND model_version_id IS NULL",
                    (id, put(run_id)),
                )
            return self.where(session, "v.id = ?", (id,))[0]

        try:
            return self._database.write(work)
        except UniqueViolation as error:
            raise EntityExistsError(
                f"Model '{model}' has a version '{version}' already.",
                hint="Choose another version, or none to get the next number.",
            ) from error
        except ForeignKeyViolation as error:
            raise NotFoundError("run", str(run_id)) from error

    def _allot(self, session: Session, model: str, version: str | None) -> Row:
        """Return the model's ID and its new last number and sequence; creates the model if it doesn't exist."""
        chosen = chosen_number(version) if version is not None else 0
        values = (chosen, chosen, 1 if version is None else 0, model)
        rows = session.rows(_ALLOT, values)
        if not rows:
            MODELS.write_new(session, [new_model(self._database, model)])
            rows = session.rows(_ALLOT, values)
        return rows[0]

    def get_model_version(self, model: str | UUID, version: str | int | None = None) -> ModelVersion:
        def read(session: Session) -> ModelVersion:
            if isinstance(model, UUID) and version is None:
                by_id = self.where(session, "v.id = ?", (self._database.put_id(model),))
                if by_id:
                    return by_id[0]
            return self._of_model(session, model, LATEST if version is None else str(version))

        return self._database.read(read)

    def _of_model(self, session: Session, model: str | UUID, version: str) -> ModelVersion:
        id = self._finder.find(session, "models", "model", model)
        newest = " ORDER BY v.sequence DESC LIMIT 1"
        if version == LATEST:
            matches = self.where(session, f"v.model_id = ?{newest}", (id,))
        elif version in _RESERVED:
            matches = self.where(session, f"v.model_id = ? AND v.stage = ?{newest}", (id, version))
        else:
            name = version.replace("\0", "\ufffd")
            matches = self.where(session, "v.model_id = ? AND v.version = ?", (id, name))
            if not matches and name.isascii() and name.isdigit() and len(name) <= 9:
                # A version with a name of its own has a number too: its place among the model's versions.
                matches = self.where(session, "v.model_id = ? AND v.sequence = ?", (id, int(name)))
            if not matches and (as_id := _uuid(version)):
                stored = self._database.put_id(as_id)
                matches = self.where(session, "v.model_id = ? AND v.id = ?", (id, stored))
        if not matches:
            versions = session.rows(
                "SELECT version FROM model_versions WHERE model_id = ? ORDER BY sequence DESC LIMIT 1000",
                (id,),
            )
            name = session.rows("SELECT name FROM models WHERE id = ?", (id,))[0][0]
            raise NotFoundError(
                f"version of model '{name}'",
                version,
                known=[name for (name,) in versions],
                why="No version of it holds this stage." if version in _RESERVED - {LATEST} else None,
            )
        return matches[0]

    def where(self, session: Session, test: str, values: Sequence[object]) -> list[ModelVersion]:
        """Return the versions for which a condition holds, with the runs linked to them."""
        rows = session.rows(f"SELECT {MODEL_VERSIONS.columns()} FROM {_TABLES} WHERE {test}", values)
        return self._with_runs(session, rows)

    def _with_runs(self, session: Session, rows: list[Row]) -> list[ModelVersion]:
        ids = [MODEL_VERSIONS.read(row).id for row in rows]
        runs: dict[StoredId, list[UUID]] = {id: [] for id in ids}
        for some in chunks(ids):
            for version, run in session.rows(
                "SELECT model_version_id, run_id FROM model_version_runs "
                f"WHERE model_version_id IN ({marks(len(some))}) ORDER BY run_id",
                some,
            ):
                runs[version].append(self._database.get_id(run))
        return [read_model_version(row, self._database, runs[id]) for id, row in zip(ids, rows, strict=True)]

    def list_model_versions(self, query: Query = Query()) -> Page[ModelVersion]:
        return self._finder.page(
            query,
            MODEL_VERSION_LIST,
            columns=MODEL_VERSIONS.columns(),
            tables=_TABLES,
            counted="model_versions v",
            entities=self._with_runs,
        )

    def update_model_version(
        self, model_version_id: UUID, *, name: str | None = None, description: str | None = None
    ) -> ModelVersion:
        if name is not None:
            _check_version(name)
        chosen = chosen_number(name) if name is not None else 0
        id = self._database.put_id(model_version_id)

        def work(session: Session) -> int:
            if chosen:
                session.run(
                    "UPDATE models SET last_number = ? WHERE last_number < ? AND id = "
                    "(SELECT model_id FROM model_versions WHERE id = ?)",
                    (chosen, chosen, id),
                )
            return update(session, "model_versions", id, {"version": name, "description": description})

        try:
            changed = self._database.write(work)
        except UniqueViolation as error:
            raise ConflictError(
                f"There is a model version '{name}' already.", hint="Choose another name."
            ) from error
        if not changed:
            raise NotFoundError("model version", str(model_version_id))
        return self.get_model_version(model_version_id)

    def link_model_version(
        self,
        model_version_id: UUID,
        *,
        artifact_version_ids: Sequence[UUID] = (),
        run_ids: Sequence[UUID] = (),
    ) -> None:
        put = self._database.put_id
        id = put(model_version_id)

        def work(session: Session) -> None:
            MODEL_VERSION_ARTIFACTS.write_new(
                session, [ModelVersionArtifactRow(id, put(version)) for version in artifact_version_ids]
            )
            MODEL_VERSION_RUNS.write_new(session, [ModelVersionRunRow(id, put(run)) for run in run_ids])

        try:
            self._database.write(work)
        except ForeignKeyViolation as error:
            self.get_model_version(model_version_id)
            raise NotFoundError(
                "artifact version or run",
                ", ".join(map(str, [*artifact_version_ids, *run_ids])),
                why="Nothing was linked.",
            ) from error

    def list_model_version_artifacts(self, model_version_id: UUID) -> list[ArtifactVersion]:
        id = self._database.put_id(model_version_id)

        def read(session: Session) -> list[Row]:
            rows = session.rows(
                f"SELECT {ARTIFACT_VERSIONS.columns()} FROM {VERSION_TABLES} "
                "JOIN model_version_artifacts l ON l.artifact_version_id = v.id "
                "WHERE l.model_version_id = ? ORDER BY v.created_at DESC, v.id DESC",
                (id,),
            )
            if not rows and not session.rows("SELECT 1 FROM model_versions WHERE id = ?", (id,)):
                raise NotFoundError("model version", str(model_version_id))
            return rows

        return [read_artifact_version(row, self._database) for row in self._database.read(read)]

    def delete_model_version(self, model_version_id: UUID, *, force: bool = False) -> None:
        id = self._database.put_id(model_version_id)

        def work(session: Session) -> None:
            rows = session.rows(
                f"SELECT stage, version FROM model_versions WHERE id = ?{self._database.lock_clause()}", (id,)
            )
            if not rows:
                raise NotFoundError("model version", str(model_version_id))
            stage, version = rows[0]
            if ModelStage(stage) in _EXCLUSIVE and not force:
                raise ConflictError(
                    f"Model version '{version}' holds stage '{stage}'.",
                    hint="Promote another version first, or delete it anyway: `--force`, or `force=True` "
                    "in Python. Nothing was deleted.",
                )
            session.run("DELETE FROM tags WHERE subject_id = ?", (id,))
            session.run("DELETE FROM model_versions WHERE id = ?", (id,))

        self._database.write(work)


class _Move(NamedTuple):
    """A version's move from one stage to another."""

    model_id: StoredId
    id: StoredId
    version: str
    old: str
    new: ModelStage


class ModelStages(Part):
    """The stages of model versions and the history of promotions."""

    def __init__(self, database: Database, finder: Finder, versions: ModelVersions) -> None:
        super().__init__(database, finder)
        self._versions = versions

    def set_model_stage(
        self, model_version_id: UUID, stage: ModelStage, *, force: bool = False, user: str | None = None
    ) -> ModelVersion:
        stage, id = ModelStage(stage), self._database.put_id(model_version_id)

        def work(session: Session) -> ModelVersion:
            rows = session.rows("SELECT model_id FROM model_versions WHERE id = ?", (id,))
            if not rows:
                raise NotFoundError("model version", str(model_version_id))
            (model_id,) = rows[0]
            # The model's row is the lock: promotions of one model go one after the other.
            lock = self._database.lock_clause()
            (name,) = session.rows(f"SELECT name FROM models WHERE id = ?{lock}", (model_id,))[0]
            version, old = session.rows("SELECT version, stage FROM model_versions WHERE id = ?", (id,))[0]
            if old != stage.value:
                if stage in _EXCLUSIVE:
                    self._vacate(session, model_id, name, stage, force, user)
                self._move(session, _Move(model_id, id, version, old, stage), user)
            return self._versions.where(session, "v.id = ?", (id,))[0]

        return self._database.write(work)

    def _vacate(
        self,
        session: Session,
        model_id: StoredId,
        model: str,
        stage: ModelStage,
        force: bool,
        user: str | None,
    ) -> None:
        """Archive the version that holds a stage; raises `ConflictError` without `force`."""
        for id, version in session.rows(
            "SELECT id, version FROM model_versions WHERE model_id = ? AND stage = ?", (model_id, stage.value)
        ):
            if not force:
                raise ConflictError(
                    f"Stage '{stage}' of model '{model}' is taken.",
                    why=f"Version '{version}' holds it.",
                    hint="Archive that version at once: `--force`, or `force=True` in Python. Nothing was changed.",
                )
            self._move(session, _Move(model_id, id, version, stage.value, ModelStage.ARCHIVED), user)

    def _move(self, session: Session, move: _Move, user: str | None) -> None:
        session.run("UPDATE model_versions SET stage = ? WHERE id = ?", (move.new.value, move.id))
        change = StageChangeRow(
            id=self._database.put_id(new_id()),
            model_id=move.model_id,
            model_version_id=move.id,
            version=move.version,
            old_stage=move.old,
            new_stage=move.new.value,
            at=now(),
            user_name=user,
        )
        STAGE_CHANGES.write(session, [change])

    def list_stage_changes(self, model: str | UUID) -> list[StageChange]:
        def read(session: Session) -> list[Row]:
            id = self._finder.find(session, "models", "model", model)
            return session.rows(
                f"SELECT {STAGE_CHANGES.columns()} FROM stage_changes c WHERE c.model_id = ? ORDER BY c.at, c.id",
                (id,),
            )

        rows = map(STAGE_CHANGES.read, self._database.read(read))
        return [
            StageChange(
                model_version_id=self._database.get_id(row.model_version_id),
                version=row.version,
                old=ModelStage(row.old_stage),
                new=ModelStage(row.new_stage),
                at=moment(row.at),
                user=row.user_name,
            )
            for row in rows
        ]


def _check_version(version: str) -> None:
    checked_name(version, "Version")
    if version in _RESERVED:
        raise UsageError(
            f"A model version can't be called '{version}'.",
            why="That names a stage, or the newest version.",
            hint="Choose another name.",
        )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
