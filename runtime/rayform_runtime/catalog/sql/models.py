"""The model registry: versions, stages that one version holds at most, the history of promotions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import (
    ArtifactVersion,
    Model,
    ModelStage,
    ModelVersion,
    Page,
    Query,
    StageChange,
    Subject,
)
from rayform_runtime.catalog.metadata import encode
from rayform_runtime.catalog.sql.artifacts import LATEST, ArtifactCatalog, chosen_number
from rayform_runtime.catalog.sql.database import (
    ForeignKeyViolation,
    Row,
    Session,
    UniqueViolation,
    chunks,
    marks,
)
from rayform_runtime.catalog.sql.filters import Field, Kind, Listing
from rayform_runtime.catalog.sql.rows import (
    VERSION_COLUMNS,
    VERSION_DETAILS,
    checked_name,
    encode_tags,
    model_record,
    model_version_record,
    moment,
    now,
    version_record,
)

__all__ = ["ModelCatalog"]

MODELS = Listing(
    what="Models",
    id="m.id",
    subject=Subject.MODEL,
    metadata="m.metadata",
    fields={
        "id": Field("m.id", Kind.ID),
        "name": Field("m.name"),
        "license": Field("m.license", nullable=True),
        "description": Field("m.description", nullable=True),
        "created_at": Field("m.created_at", Kind.MOMENT),
    },
)
MODEL_VERSIONS = Listing(
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
_MODEL_COLUMNS = (
    "m.id, m.name, m.description, m.license, m.created_at, m.tags, m.metadata, (SELECT l.version "
    "FROM model_versions l WHERE l.model_id = m.id ORDER BY l.sequence DESC LIMIT 1)"
)
_VERSION_COLUMNS = (
    "v.id, v.model_id, m.name, v.version, v.number, v.stage, v.description, v.created_at, v.tags, v.metadata"
)
_VERSION_TABLES = "model_versions v JOIN models m ON m.id = v.model_id"
_ALLOT = """UPDATE models SET last_sequence = last_sequence + 1,
 last_number = CASE WHEN last_number < ? THEN ? ELSE last_number END + ? WHERE name = ?
 RETURNING id, last_number, last_sequence"""
_EXCLUSIVE = (ModelStage.STAGING, ModelStage.PRODUCTION)
_RESERVED = {LATEST, *(stage.value for stage in ModelStage)}


class ModelCatalog(ArtifactCatalog):
    """The part of `SQLCatalog` that is about models."""

    def create_model(
        self,
        name: str,
        *,
        description: str | None = None,
        license: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        exist_ok: bool = False,
    ) -> Model:
        checked_name(name, "Model name")
        encoded = (description, license, encode_tags(tags), encode(metadata or {}))
        id = self._db.put_id(new_id())

        def work(session: Session) -> Row:
            made = self._insert_model(session, id, name, *encoded)
            if made:
                self._add_tags(session, Subject.MODEL, [(id, tags)])
            found = session.rows(f"SELECT {_MODEL_COLUMNS} FROM models m WHERE m.name = ?", (name,))[0]
            if found[0] != id and not exist_ok:
                raise ConflictError(
                    f"There is a model '{name}' already.", hint="Choose another name, or update it."
                )
            return found

        return model_record(self._db.write(work), self._db)

    def _insert_model(
        self,
        session: Session,
        id: Any,
        name: str,
        description: str | None = None,
        license: str | None = None,
        tags: str | None = None,
        metadata: str | None = None,
    ) -> int:
        return session.run(
            "INSERT INTO models (id, name, description, license, created_at, last_number, last_sequence, tags, "
            f"metadata) VALUES ({marks(9)}) ON CONFLICT DO NOTHING",
            (id, name, description, license, now(), 0, 0, tags, metadata),
        )

    def create_model_version(
        self,
        model: str,
        *,
        version: str | None = None,
        description: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        run_id: UUID | None = None,
    ) -> ModelVersion:
        checked_name(model, "Model name")
        if version is not None:
            _checked_version(version)
        stored_tags, stored_metadata = encode_tags(tags), encode(metadata or {})
        id, put = new_id(), self._db.put_id

        def work(session: Session) -> ModelVersion:
            known = self._model_versions(session, "v.id = ?", (put(id),))
            if known:
                return known[0]  # the answer to this very commit got lost before
            chosen = chosen_number(version) if version is not None else 0
            allot = (chosen, chosen, 1 if version is None else 0, model)
            rows = session.rows(_ALLOT, allot)
            if not rows:
                self._insert_model(session, put(new_id()), model)
                rows = session.rows(_ALLOT, allot)
            model_id, last_number, sequence = rows[0]
            number = last_number if version is None else None
            session.run(
                "INSERT INTO model_versions (id, model_id, sequence, version, number, stage, description, created_at, "
                f"tags, metadata) VALUES ({marks(10)})",
                (
                    put(id),
                    model_id,
                    sequence,
                    version if version is not None else str(number),
                    number,
                    ModelStage.NONE.value,
                    description,
                    now(),
                    stored_tags,
                    stored_metadata,
                ),
            )
            self._add_tags(session, Subject.MODEL_VERSION, [(put(id), tags)])
            if run_id is not None:
                session.run(
                    "INSERT INTO model_version_runs (model_version_id, run_id) VALUES (?, ?)",
                    (put(id), put(run_id)),
                )
                session.run(
                    "UPDATE runs SET model_version_id = ? WHERE id = ? AND model_version_id IS NULL",
                    (put(id), put(run_id)),
                )
            return self._model_versions(session, "v.id = ?", (put(id),))[0]

        try:
            return self._db.write(work)
        except UniqueViolation as error:
            raise ConflictError(
                f"Model '{model}' has a version '{version}' already.",
                hint="Choose another version, or none to get the next number.",
            ) from error
        except ForeignKeyViolation as error:
            raise NotFoundError("run", str(run_id)) from error

    def get_model(self, ref: str | UUID) -> Model:
        def read(session: Session) -> list[Row]:
            id = self._find(session, "models", "model", ref)
            return session.rows(f"SELECT {_MODEL_COLUMNS} FROM models m WHERE m.id = ?", (id,))

        rows = self._db.read(read)
        if not rows:
            raise NotFoundError("model", str(ref))
        return model_record(rows[0], self._db)

    def get_model_version(self, model: str | UUID, version: str | int | None = None) -> ModelVersion:
        def read(session: Session) -> ModelVersion:
            if isinstance(model, UUID) and version is None:
                by_id = self._model_versions(session, "v.id = ?", (self._db.put_id(model),))
                if by_id:
                    return by_id[0]
            return self._model_version_of(session, model, version)

        return self._db.read(read)

    def _model_version_of(
        self, session: Session, model: str | UUID, version: str | int | None
    ) -> ModelVersion:
        id = self._find(session, "models", "model", model)
        wanted = LATEST if version is None else str(version)
        newest = " ORDER BY v.sequence DESC LIMIT 1"
        if wanted == LATEST:
            found = self._model_versions(session, f"v.model_id = ?{newest}", (id,))
        elif wanted in _RESERVED:
            found = self._model_versions(session, f"v.model_id = ? AND v.stage = ?{newest}", (id, wanted))
        else:
            found = self._model_versions(
                session, "v.model_id = ? AND v.version = ?", (id, wanted.replace("\0", "\ufffd"))
            )
            if not found and (as_id := _uuid(wanted)):
                found = self._model_versions(
                    session, "v.model_id = ? AND v.id = ?", (id, self._db.put_id(as_id))
                )
        if not found:
            known = session.rows(
                "SELECT version FROM model_versions WHERE model_id = ? ORDER BY sequence DESC LIMIT 1000",
                (id,),
            )
            name = session.rows("SELECT name FROM models WHERE id = ?", (id,))[0][0]
            raise NotFoundError(
                f"version of model '{name}'",
                wanted,
                known=[row[0] for row in known],
                why="No version of it holds this stage." if wanted in _RESERVED - {LATEST} else None,
            )
        return found[0]

    def _model_versions(self, session: Session, test: str, values: Sequence[Any]) -> list[ModelVersion]:
        rows = session.rows(f"SELECT {_VERSION_COLUMNS} FROM {_VERSION_TABLES} WHERE {test}", values)
        return self._with_runs(session, rows)

    def _with_runs(self, session: Session, rows: list[Row]) -> list[ModelVersion]:
        runs: dict[Any, list[UUID]] = {}
        for some in chunks([row[0] for row in rows]):
            for version, run in session.rows(
                "SELECT model_version_id, run_id FROM model_version_runs "
                f"WHERE model_version_id IN ({marks(len(some))}) ORDER BY run_id",
                some,
            ):
                runs.setdefault(version, []).append(self._db.get_id(run))
        return [model_version_record(row, self._db, runs.get(row[0], ())) for row in rows]

    def list_models(self, query: Query = Query()) -> Page[Model]:
        return self._page(
            query,
            MODELS,
            columns=_MODEL_COLUMNS,
            tables="models m",
            counted="models m",
            records=lambda _, rows: [model_record(row, self._db) for row in rows],
        )

    def list_model_versions(self, query: Query = Query()) -> Page[ModelVersion]:
        return self._page(
            query,
            MODEL_VERSIONS,
            columns=_VERSION_COLUMNS,
            tables=_VERSION_TABLES,
            counted="model_versions v",
            records=self._with_runs,
        )

    def update_model(
        self,
        model_id: UUID,
        *,
        name: str | None = None,
        description: str | None = None,
        license: str | None = None,
    ) -> Model:
        if name is not None:
            checked_name(name, "Model name")
        self._update(
            "models", "model", model_id, {"name": name, "description": description, "license": license}
        )
        return self.get_model(model_id)

    def update_model_version(
        self, model_version_id: UUID, *, name: str | None = None, description: str | None = None
    ) -> ModelVersion:
        if name is not None:
            _checked_version(name)
        self._update(
            "model_versions",
            "model version",
            model_version_id,
            {"version": name, "description": description},
            chosen_number(name) if name is not None else 0,
        )
        return self.get_model_version(model_version_id)

    def _update(
        self, table: str, what: str, id: UUID, changes: Mapping[str, str | None], chosen: int = 0
    ) -> None:
        given = {column: value for column, value in changes.items() if value is not None}
        stored = self._db.put_id(id)

        def work(session: Session) -> None:
            sets = ", ".join(f"{column} = ?" for column in given) or "id = id"
            if not session.run(f"UPDATE {table} SET {sets} WHERE id = ?", (*given.values(), stored)):
                raise NotFoundError(what, str(id))
            if chosen:
                session.run(
                    "UPDATE models SET last_number = ? WHERE last_number < ? AND id = "
                    "(SELECT model_id FROM model_versions WHERE id = ?)",
                    (chosen, chosen, stored),
                )

        try:
            self._db.write(work)
        except UniqueViolation as error:
            taken = given.get("name", given.get("version"))
            raise ConflictError(
                f"There is a {what} '{taken}' already.", hint="Choose another name."
            ) from error

    def set_model_stage(
        self, model_version_id: UUID, stage: ModelStage, *, force: bool = False, user: str | None = None
    ) -> ModelVersion:
        stage, id = ModelStage(stage), self._db.put_id(model_version_id)

        def work(session: Session) -> ModelVersion:
            rows = session.rows("SELECT model_id FROM model_versions WHERE id = ?", (id,))
            if not rows:
                raise NotFoundError("model version", str(model_version_id))
            model_id = rows[0][0]
            # The model's row is the lock: promotions of one model go one after the other.
            name = session.rows(f"SELECT name FROM models WHERE id = ?{self._db.lock_clause()}", (model_id,))[
                0
            ][0]
            version, old = session.rows("SELECT version, stage FROM model_versions WHERE id = ?", (id,))[0]
            if old != stage.value:
                if stage in _EXCLUSIVE:
                    self._vacate(session, model_id, name, stage, force, user)
                self._move(session, model_id, id, version, old, stage, user)
            return self._model_versions(session, "v.id = ?", (id,))[0]

        return self._db.write(work)

    def _vacate(
        self, session: Session, model_id: Any, name: str, stage: ModelStage, force: bool, user: str | None
    ) -> None:
        for id, version in session.rows(
            "SELECT id, version FROM model_versions WHERE model_id = ? AND stage = ?", (model_id, stage.value)
        ):
            if not force:
                raise ConflictError(
                    f"Stage '{stage}' of model '{name}' is taken.",
                    why=f"Version '{version}' holds it.",
                    hint="Archive that version at once: `--force`, or `force=True` in Python. Nothing was changed.",
                )
            self._move(session, model_id, id, version, stage.value, ModelStage.ARCHIVED, user)

    def _move(
        self,
        session: Session,
        model_id: Any,
        id: Any,
        version: str,
        old: str,
        new: ModelStage,
        user: str | None,
    ) -> None:
        session.run("UPDATE model_versions SET stage = ? WHERE id = ?", (new.value, id))
        session.run(
            "INSERT INTO stage_changes (id, model_id, model_version_id, version, old_stage, new_stage, at, user_name) "
            f"VALUES ({marks(8)})",
            (self._db.put_id(new_id()), model_id, id, version, old, new.value, now(), user),
        )

    def list_stage_changes(self, model: str | UUID) -> list[StageChange]:
        def read(session: Session) -> list[Row]:
            id = self._find(session, "models", "model", model)
            return session.rows(
                "SELECT model_version_id, version, old_stage, new_stage, at, user_name FROM stage_changes "
                "WHERE model_id = ? ORDER BY at, id",
                (id,),
            )

        return [
            StageChange(self._db.get_id(id), version, ModelStage(old), ModelStage(new), moment(at), user)
            for id, version, old, new, at, user in self._db.read(read)
        ]

    def link_model_version(
        self,
        model_version_id: UUID,
        *,
        artifact_version_ids: Sequence[UUID] = (),
        run_ids: Sequence[UUID] = (),
    ) -> None:
        put = self._db.put_id

        def work(session: Session) -> None:
            for table, column, ids in (
                ("model_version_artifacts", "artifact_version_id", artifact_version_ids),
                ("model_version_runs", "run_id", run_ids),
            ):
                if ids:
                    session.many(
                        f"INSERT INTO {table} (model_version_id, {column}) VALUES (?, ?) ON CONFLICT DO NOTHING",
                        [(put(model_version_id), put(id)) for id in ids],
                    )

        try:
            self._db.write(work)
        except ForeignKeyViolation as error:
            self.get_model_version(model_version_id)
            raise NotFoundError(
                "artifact version or run",
                ", ".join(map(str, [*artifact_version_ids, *run_ids])),
                why="Nothing was linked.",
            ) from error

    def list_model_version_artifacts(self, model_version_id: UUID) -> list[ArtifactVersion]:
        id = self._db.put_id(model_version_id)

        def read(session: Session) -> list[Row]:
            rows = session.rows(
                f"SELECT {VERSION_COLUMNS}{VERSION_DETAILS} FROM model_version_artifacts l "
                "JOIN artifact_versions v ON v.id = l.artifact_version_id JOIN artifacts a ON a.id = v.artifact_id "
                "WHERE l.model_version_id = ? ORDER BY v.created_at DESC, v.id DESC",
                (id,),
            )
            if not rows and not session.rows("SELECT 1 FROM model_versions WHERE id = ?", (id,)):
                raise NotFoundError("model version", str(model_version_id))
            return rows

        return [version_record(row, self._db) for row in self._db.read(read)]

    def delete_model(self, model_id: UUID) -> None:
        id = self._db.put_id(model_id)

        def work(session: Session) -> None:
            session.run(
                "DELETE FROM tags WHERE subject_id = ? "
                "OR subject_id IN (SELECT id FROM model_versions WHERE model_id = ?)",
                (id, id),
            )
            if not session.run("DELETE FROM models WHERE id = ?", (id,)):
                raise NotFoundError("model", str(model_id))

        self._db.write(work)

    def delete_model_version(self, model_version_id: UUID, *, force: bool = False) -> None:
        id = self._db.put_id(model_version_id)

        def work(session: Session) -> None:
            rows = session.rows(
                f"SELECT stage, version FROM model_versions WHERE id = ?{self._db.lock_clause()}", (id,)
            )
            if not rows:
                raise NotFoundError("model version", str(model_version_id))
            stage, version = rows[0]
            if ModelStage(stage) in _EXCLUSIVE and not force:
                raise ConflictError(
                    f"Model version '{version}' holds stage '{stage}'.",
                    hint="Promote another version first, or delete it all the same: `--force`, or `force=True` "
                    "in Python. Nothing was deleted.",
                )
            session.run("DELETE FROM tags WHERE subject_id = ?", (id,))
            session.run("DELETE FROM model_versions WHERE id = ?", (id,))

        self._db.write(work)


def _checked_version(version: str) -> None:
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
