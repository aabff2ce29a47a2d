"""Models in the catalog: named series of model versions. Their versions are in `model_versions.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from rayform_core.errors import EntityExistsError, NotFoundError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import Model, Page, Query, Subject
from rayform_runtime.catalog.metadata import encode
from rayform_runtime.catalog.sql.annotations import add_tags
from rayform_runtime.catalog.sql.columns import MODELS, ModelRow
from rayform_runtime.catalog.sql.database import Database, Row, Session, StoredId, UniqueViolation
from rayform_runtime.catalog.sql.filters import Field, Kind, Listing
from rayform_runtime.catalog.sql.finder import Part
from rayform_runtime.catalog.sql.rows import checked_name, encode_tags, now, read_model

__all__ = ["MODEL_LIST", "Models", "new_model", "update"]

MODEL_LIST = Listing(
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


class Models(Part):
    """Models, without their versions."""

    def create_model(
        self,
        name: str,
        *,
        description: str | None = None,
        license: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, object] | None = None,
        exist_ok: bool = False,
    ) -> Model:
        checked_name(name, "Model name")
        model = new_model(self._database, name)._replace(
            description=description,
            license=license,
            tags=encode_tags(tags),
            metadata=encode(metadata or {}),
        )

        def work(session: Session) -> Row:
            if MODELS.write_new(session, [model]):
                add_tags(session, Subject.MODEL, [(model.id, tags)])
            rows = session.rows(f"SELECT {MODELS.columns()} FROM models m WHERE m.name = ?", (name,))
            if MODELS.read(rows[0]).id != model.id and not exist_ok:
                raise EntityExistsError(
                    f"There is a model '{name}' already.", hint="Choose another name, or update it."
                )
            return rows[0]

        return read_model(self._database.write(work), self._database)

    def get_model(self, ref: str | UUID) -> Model:
        def read(session: Session) -> list[Row]:
            id = self._finder.find(session, "models", "model", ref)
            return session.rows(f"SELECT {MODELS.columns()} FROM models m WHERE m.id = ?", (id,))

        rows = self._database.read(read)
        if not rows:
            raise NotFoundError("model", str(ref))
        return read_model(rows[0], self._database)

    def list_models(self, query: Query = Query()) -> Page[Model]:
        return self._finder.page(
            query,
            MODEL_LIST,
            columns=MODELS.columns(),
            tables="models m",
            counted="models m",
            entities=lambda _, rows: [read_model(row, self._database) for row in rows],
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
        changes = {"name": name, "description": description, "license": license}
        id = self._database.put_id(model_id)
        try:
            changed = self._database.write(lambda session: update(session, "models", id, changes))
        except UniqueViolation as error:
            raise EntityExistsError(
                f"There is a model '{name}' already.", hint="Choose another name."
            ) from error
        if not changed:
            raise NotFoundError("model", str(model_id))
        return self.get_model(model_id)

    def delete_model(self, model_id: UUID) -> None:
        id = self._database.put_id(model_id)

        def work(session: Session) -> None:
            session.run(
                "DELETE FROM tags WHERE subject_id = ? "
                "OR subject_id IN (SELECT id FROM model_versions WHERE model_id = ?)",
                (id, id),
            )
            if not session.run("DELETE FROM models WHERE id = ?", (id,)):
                raise NotFoundError("model", str(model_id))

        self._database.write(work)


def new_model(database: Database, name: str) -> ModelRow:
    """Return the row of a model that has nothing but a name."""
    return ModelRow(
        id=database.put_id(new_id()),
        name=name,
        description=None,
        license=None,
        created_at=now(),
        last_number=0,
        last_sequence=0,
        tags=None,
        metadata=None,
    )


def update(session: Session, table: str, id: StoredId, changes: Mapping[str, str | None]) -> int:
    """Set the columns whose value isn't `None`, and return how many rows changed."""
    values = {column: value for column, value in changes.items() if value is not None}
    sets = ", ".join(f"{column} = ?" for column in values) or "id = id"
    return session.run(f"UPDATE {table} SET {sets} WHERE id = ?", (*values.values(), id))
