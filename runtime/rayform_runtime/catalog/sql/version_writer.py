"""New artifact versions: what is checked before the transaction, their numbers, their rows, and conflicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar
from uuid import UUID

from rayform_core.errors import ConflictError, EntityExistsError, NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import ArtifactVersion, NewArtifactVersion, Subject
from rayform_runtime.catalog.metadata import encode
from rayform_runtime.catalog.sql.annotations import add_tags
from rayform_runtime.catalog.sql.columns import (
    ARTIFACT_VERSIONS,
    MODEL_VERSION_ARTIFACTS,
    ArtifactVersionRow,
    ModelVersionArtifactRow,
)
from rayform_runtime.catalog.sql.database import (
    Database,
    ForeignKeyViolation,
    Session,
    StoredId,
    UniqueViolation,
)
from rayform_runtime.catalog.sql.rows import checked_name, encode_tags, encode_visualizations, moment, now

__all__ = ["LATEST", "CheckedVersion", "PlacedVersion", "VersionWriter", "chosen_number"]

T = TypeVar("T")
LATEST = "latest"
MAX_NUMBER = 2**53
"""Automatic numbers go on from a chosen version that is a whole number up to this one; a larger one is just a name."""

# Allots numbers: the row stays locked until the commit, so no two writers get one number. The new count starts
# from the highest number that a user chose, if that is higher.
_ALLOT = """INSERT INTO artifacts AS a (id, name, created_at, last_number, last_sequence) VALUES (?, ?, ?, ?, ?)
 ON CONFLICT (name) DO UPDATE SET last_sequence = a.last_sequence + ?,
 last_number = CASE WHEN a.last_number < ? THEN ? ELSE a.last_number END + ?
 RETURNING id, last_number, last_sequence"""


class CheckedVersion(NamedTuple):
    """A new version whose values were checked and encoded before the transaction."""

    new: NewArtifactVersion
    tags: str | None
    metadata: str | None
    visualizations: str | None
    chosen_number: int
    """The number that the user chose as the version's name, or 0."""


class PlacedVersion(NamedTuple):
    """A checked version, the step run that it is an output of, and its position among the outputs."""

    checked: CheckedVersion
    step_run_id: UUID | None = None
    run_id: UUID | None = None
    position: int = 0


class _Allotted(NamedTuple):
    """A version's place among its artifact's versions; `number` is `None` if the user chose its name."""

    artifact_id: StoredId
    sequence: int
    number: int | None


class VersionWriter:
    """Numbers and inserts artifact versions, for steps and for those that no step makes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def check(self, new: NewArtifactVersion) -> CheckedVersion:
        """Check and encode a version before the transaction.

        Raises:
            UsageError: its name, version, tags or metadata can't be used.
        """
        checked_name(new.artifact_name, "Artifact name")
        chosen = 0
        if new.version is not None:
            checked_name(new.version, "Version")
            if new.version == LATEST:
                raise UsageError(f"A version can't be called '{LATEST}'.", why="It means the newest one.")
            chosen = chosen_number(new.version)
        return CheckedVersion(
            new,
            encode_tags(new.tags),
            encode(new.metadata),
            encode_visualizations(new.visualizations),
            chosen,
        )

    def insert(
        self,
        session: Session,
        versions: Sequence[PlacedVersion],
        links: Sequence[ModelVersionArtifactRow] = (),
    ) -> dict[UUID, ArtifactVersion]:
        """Number and insert versions, and link them to model versions; return them by ID."""
        put, get = self._database.put_id, self._database.get_id
        places = self._allot_all(session, [version.checked for version in versions])
        at = now()
        created = moment(at)
        rows, inserted = [], {}
        for (checked, step_id, run_id, position), place in zip(versions, places, strict=True):
            new = checked.new
            version = new.version if new.version is not None else str(place.number)
            rows.append(
                ArtifactVersionRow(
                    id=put(new.id),
                    artifact_id=place.artifact_id,
                    sequence=place.sequence,
                    version=version,
                    number=place.number,
                    type=new.type,
                    artifact_type=new.artifact_type,
                    materializer=new.materializer,
                    uri=new.uri,
                    digest=new.digest,
                    size=new.size,
                    created_at=at,
                    producer_step_run_id=put(step_id) if step_id else None,
                    producer_run_id=put(run_id) if run_id else None,
                    output_name=new.output_name,
                    output_position=position,
                    external=new.external,
                    tags=checked.tags,
                    metadata=checked.metadata,
                    visualizations=checked.visualizations,
                )
            )
            inserted[new.id] = ArtifactVersion(
                id=new.id,
                artifact_id=get(place.artifact_id),
                name=new.artifact_name,
                version=version,
                number=place.number,
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
        ARTIFACT_VERSIONS.write(session, rows)
        tagged = [checked.new for checked, *_ in versions if checked.tags]
        add_tags(session, Subject.ARTIFACT_VERSION, [(put(new.id), new.tags) for new in tagged])
        MODEL_VERSION_ARTIFACTS.write_new(session, links)
        return inserted

    def _allot_all(self, session: Session, versions: Sequence[CheckedVersion]) -> list[_Allotted]:
        """Return each version's place."""
        by_name: dict[str, list[int]] = {}
        for index, version in enumerate(versions):
            by_name.setdefault(version.new.artifact_name, []).append(index)
        places: dict[int, _Allotted] = {}
        # In one order everywhere, so that two writers never wait for each other's artifacts.
        for name in sorted(by_name):
            indexes = by_name[name]
            some = self._allot(session, name, [versions[index] for index in indexes])
            places.update(zip(indexes, some, strict=True))
        return [places[index] for index in range(len(versions))]

    def _allot(self, session: Session, name: str, versions: Sequence[CheckedVersion]) -> list[_Allotted]:
        """Return the places of versions of one artifact, which is created if it doesn't exist."""
        count = len(versions)
        automatic = sum(version.new.version is None for version in versions)
        chosen = max(version.chosen_number for version in versions)
        first = (self._database.put_id(new_id()), name, now(), chosen + automatic, count)
        (place,) = session.rows(_ALLOT, (*first, count, chosen, chosen, automatic))
        artifact_id, last_number, last_sequence = place
        number, sequence = last_number - automatic, last_sequence - count
        places = []
        for version in versions:
            sequence += 1
            if version.new.version is None:
                number += 1
                places.append(_Allotted(artifact_id, sequence, number))
            else:
                places.append(_Allotted(artifact_id, sequence, None))
        return places

    def write(self, work: Callable[[Session], T], outputs: Sequence[NewArtifactVersion]) -> T:
        """Run a transaction that inserts these versions.

        Raises:
            ConflictError: one of them exists.
            NotFoundError: what they refer to was deleted.
        """
        try:
            return self._database.write(work)
        except UniqueViolation as error:
            raise self.conflict(error, outputs) from error
        except ForeignKeyViolation as error:
            raise NotFoundError(
                "model version or run", "of this step", hint="It was deleted meanwhile."
            ) from error

    def conflict(self, error: UniqueViolation, outputs: Sequence[NewArtifactVersion]) -> ConflictError:
        """Return the error that names the version which exists already."""
        for new in outputs:
            if existing := self._database.read(partial(self._existing, new=new)):
                return existing
        return EntityExistsError("An artifact version exists already.", why=f"The database says: {error}.")

    def _existing(self, session: Session, new: NewArtifactVersion) -> ConflictError | None:
        test, values = "v.id = ?", list[object]([self._database.put_id(new.id)])
        if new.version is not None:
            test += " OR (a.name = ? AND v.version = ?)"
            values += [new.artifact_name, new.version]
        rows = session.rows(
            "SELECT a.name, v.version, v.id FROM artifact_versions v JOIN artifacts a ON a.id = v.artifact_id "
            f"WHERE {test}",
            values,
        )
        if not rows:
            return None
        name, version, id = rows[0]
        return EntityExistsError(
            f"Artifact '{name}' has a version '{version}' already.",
            why=f"It is {self._database.get_id(id)}; versions never change.",
            hint="Choose another version, or none to get the next number.",
        )


def chosen_number(version: str) -> int:
    """Return the number that automatic ones go on from after a user chose this version, or 0."""
    if version.isascii() and version.isdigit() and version[0] != "0" and len(version) <= 16:
        number = int(version)
        return number if number < MAX_NUMBER else 0
    return 0
