"""How step runs are recorded: the hot path. A step that isn't cached takes five statements in one or two commits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, zip_longest
from typing import NamedTuple, TypeVar
from uuid import UUID

from rayform_core.errors import NotFoundError
from rayform_runtime.catalog.entities import ArtifactVersion, StepFinish, StepStart, StepStatus
from rayform_runtime.catalog.entities import NewArtifactVersion as NewVersion
from rayform_runtime.catalog.metadata import decode, encode, encode_json
from rayform_runtime.catalog.sql.artifacts import ArtifactVersions
from rayform_runtime.catalog.sql.columns import (
    CACHED_OUTPUTS,
    MODEL_VERSION_RUNS,
    STEP_INPUTS,
    STEP_RUNS,
    ModelVersionArtifactRow,
    ModelVersionRunRow,
    StepInputRow,
    StepRunRow,
    execute,
)
from rayform_runtime.catalog.sql.database import (
    Database,
    ForeignKeyViolation,
    Session,
    UniqueViolation,
    chunks,
    marks,
)
from rayform_runtime.catalog.sql.finder import Finder, Part
from rayform_runtime.catalog.sql.rows import encode_error, encode_reuse, microseconds, now
from rayform_runtime.catalog.sql.version_writer import CheckedVersion, PlacedVersion, VersionWriter

__all__ = ["StepRecords"]

T = TypeVar("T")
_LASTING = {"id", "run_id", "key", "map_index", "name", "metadata"}
"""The columns of a step run that stay the same when it begins again."""
_START = f"""{STEP_RUNS.insert} ON CONFLICT (id) DO UPDATE SET
 {", ".join(f"{name} = excluded.{name}" for name in STEP_RUNS.names if name not in _LASTING)}
 WHERE step_runs.status <> 'completed'"""
# The beginning and the end are times of two clocks, the scheduler's and the worker's.
_FINISH = """UPDATE step_runs SET status = ?, cached_from = ?, error = ?, ended_at = ?, output_count = ?, reuse = ?,
 started_at = CASE WHEN started_at > ? THEN ? ELSE started_at END,
 metadata = COALESCE(metadata, ?) WHERE id = ? AND run_id = ? AND status <> 'completed'"""
_TAKE_OVER = f"""INSERT INTO cached_outputs ({", ".join(CACHED_OUTPUTS.names)})
 SELECT s.id, v.output_position, v.output_name, v.id FROM step_runs s
 JOIN artifact_versions v ON v.producer_step_run_id = s.cached_from WHERE s.id = ? ON CONFLICT DO NOTHING"""
_LINK_CACHED = """INSERT INTO model_version_artifacts (model_version_id, artifact_version_id)
 SELECT m.id, c.artifact_version_id FROM cached_outputs c, model_versions m
 WHERE c.step_run_id = ? AND m.id = ? ON CONFLICT DO NOTHING"""
_UNFINISHED = (StepStatus.PENDING, StepStatus.RUNNING, StepStatus.RETRYING)


class _CheckedFinish(NamedTuple):
    """An end whose values were checked and encoded before the transaction."""

    finish: StepFinish
    error: str | None
    metadata: str | None
    outputs: list[CheckedVersion]


class StepRecords(Part):
    """Writes beginnings and ends of step runs."""

    def __init__(
        self, database: Database, finder: Finder, versions: ArtifactVersions, writer: VersionWriter
    ) -> None:
        super().__init__(database, finder)
        self._versions = versions
        self._writer = writer

    def start_steps(self, starts: Sequence[StepStart]) -> None:
        if starts:
            self._write(self._starting(starts), starts)

    def finish_steps(self, finishes: Sequence[StepFinish]) -> list[list[ArtifactVersion]]:
        if not finishes:
            return []
        return self._writer.write(
            self._finishing(finishes), [output for finish in finishes for output in finish.outputs]
        )

    def record_steps(self, changes: Sequence[StepStart | StepFinish]) -> None:
        works: list[Callable[[Session], object]] = []
        starts: list[StepStart] = []
        outputs: list[NewVersion] = []
        for kind, group in groupby(changes, type):
            some = list(group)
            if kind is StepStart:
                begun = [change for change in some if isinstance(change, StepStart)]
                works.append(self._starting(begun))
                starts += begun
            else:
                ended = [change for change in some if isinstance(change, StepFinish)]
                works.append(self._finishing(ended))
                outputs += [output for finish in ended for output in finish.outputs]

        def work(session: Session) -> None:
            for part in works:
                part(session)

        if works:
            self._write(work, starts, outputs)

    def record_cached(self, pairs: Sequence[tuple[StepStart, StepFinish]]) -> None:
        if not pairs:
            return
        put = self._database.put_id
        starts, finishes = [start for start, _ in pairs], [finish for _, finish in pairs]
        begin = self._starting(starts, finishes)
        # Only the step runs are new: their outputs belong to earlier ones.
        ends = [_CheckedFinish(finish, None, None, []) for finish in finishes if finish.model_version_id]

        def work(session: Session) -> None:
            begin(session)
            execute(session, _TAKE_OVER, [(put(finish.id),) for finish in finishes if finish.cached_from])
            self._insert_outputs(session, ends, set())

        self._write(work, starts)

    def _write(
        self, work: Callable[[Session], T], starts: Sequence[StepStart], outputs: Sequence[NewVersion] = ()
    ) -> T:
        try:
            return self._database.write(work)
        except UniqueViolation as error:
            raise self._writer.conflict(error, outputs) from error
        except ForeignKeyViolation as error:
            raise self._missing(starts) from error

    def _missing(self, starts: Sequence[StepStart]) -> NotFoundError:
        """Return the error that names the missing row that a step run refers to."""
        references: list[tuple[str, str, UUID]] = []
        for start in starts:
            references.append(("runs", "run", start.run_id))
            references += [
                ("artifact_versions", "artifact version", id) for ids in start.inputs.values() for id in ids
            ]
            if start.model_version_id:
                references.append(("model_versions", "model version", start.model_version_id))

        def first_missing(session: Session) -> NotFoundError | None:
            for table, what, id in references:
                if not session.rows(f"SELECT 1 FROM {table} WHERE id = ?", (self._database.put_id(id),)):
                    return NotFoundError(what, str(id), hint="It was deleted meanwhile.")
            return None

        run_id = str(starts[0].run_id) if starts else ""
        return self._database.read(first_missing) or NotFoundError(
            "run", run_id, hint="It was deleted meanwhile."
        )

    # -- beginnings ---------------------------------------------------------------------------------------
    def _starting(
        self, starts: Sequence[StepStart], finishes: Sequence[StepFinish] = ()
    ) -> Callable[[Session], None]:
        """Prepare what doesn't need the database, and return the rest.

        With `finishes`, one for each start, the step runs are recorded as ended at once.
        """
        put = self._database.put_id
        at = now()
        rows = STEP_RUNS.values([self._row(s, at, f) for s, f in zip_longest(starts, finishes)])
        again = [put(start.id) for start in starts if start.attempt > 1]
        inputs = []
        for start in starts:
            position = 0
            for name, versions in start.inputs.items():
                for version in versions:
                    inputs.append(StepInputRow(put(start.id), position, name, put(version)))
                    position += 1
        links = {
            ModelVersionRunRow(put(start.model_version_id), put(start.run_id))
            for start in starts
            if start.model_version_id
        }

        def work(session: Session) -> None:
            execute(session, _START, rows)
            for some in chunks(again):
                # A step that begins again may have other inputs, from steps that ran again before it.
                session.run(f"DELETE FROM step_inputs WHERE step_run_id IN ({marks(len(some))})", some)
            STEP_INPUTS.write_new(session, inputs)
            MODEL_VERSION_RUNS.write_new(session, sorted(links))

        return work

    def _row(self, start: StepStart, at: int, finish: StepFinish | None) -> StepRunRow:
        """Return the row of a step run that begins, or of one that is recorded with its end."""
        put = self._database.put_id
        began = microseconds(start.started_at) or at
        status, cached_from, ended, error, metadata = StepStatus.RUNNING, None, None, None, None
        if finish is not None:
            status, cached_from = finish.status, finish.cached_from
            error, metadata = encode_error(finish.error), encode(finish.metadata)
            ended = microseconds(finish.ended_at)
            if ended is None and status not in _UNFINISHED:
                ended = at
            if ended is not None:
                # A step run that is skipped or cached took no time of its own.
                began = min(began, ended)
        return StepRunRow(
            id=put(start.id),
            run_id=put(start.run_id),
            key=start.key,
            map_index=start.map_index,
            name=start.name,
            status=status.value,
            attempt=start.attempt,
            cache_key=start.cache_key,
            cached_from=put(cached_from) if cached_from else None,
            output_count=0,
            source=start.source,
            code_digest=start.code_digest,
            log_uri=start.log_uri,
            started_at=began,
            ended_at=ended,
            parameters=encode_json(start.parameters, f"The parameters of step '{start.name}'"),
            resources=encode_json(start.resources),
            error=error,
            metadata=metadata,
            reuse=None,
        )

    # -- ends ---------------------------------------------------------------------------------------------
    def _finishing(self, finishes: Sequence[StepFinish]) -> Callable[[Session], list[list[ArtifactVersion]]]:
        """Prepare what doesn't need the database, and return the rest."""
        put = self._database.put_id
        checked = [
            _CheckedFinish(
                finish,
                encode_error(finish.error),
                encode(finish.metadata),
                [self._writer.check(output) for output in finish.outputs],
            )
            for finish in finishes
        ]

        def work(session: Session) -> list[list[ArtifactVersion]]:
            at = now()
            changed = execute(session, _FINISH, [self._finish_values(end, at) for end in checked])
            repeated = self._repeated(session, finishes) if changed < len(finishes) else set()
            new = [end for end in checked if end.finish.id not in repeated]
            self._merge_metadata(session, new)
            execute(session, _TAKE_OVER, [(put(end.finish.id),) for end in new if end.finish.cached_from])
            versions = self._insert_outputs(session, checked, repeated)
            if repeated:
                ids = [output.id for finish in finishes if finish.id in repeated for output in finish.outputs]
                versions |= self._versions.by_id(session, ids)
            return [
                [versions[output.id] for output in finish.outputs if output.id in versions]
                for finish in finishes
            ]

        return work

    def _finish_values(self, end: _CheckedFinish, at: int) -> tuple[object, ...]:
        """Return the values of `_FINISH`."""
        finish, error, metadata, _ = end
        put = self._database.put_id
        unfinished = finish.status in _UNFINISHED
        ended = at if unfinished else (microseconds(finish.ended_at) or at)
        return (
            finish.status.value,
            put(finish.cached_from) if finish.cached_from else None,
            error,
            None if unfinished else ended,
            len(finish.outputs),
            encode_reuse(finish.reuse),
            ended,
            ended,
            metadata,
            put(finish.id),
            put(finish.run_id),
        )

    def _insert_outputs(
        self, session: Session, ends: Sequence[_CheckedFinish], repeated: set[UUID]
    ) -> dict[UUID, ArtifactVersion]:
        """Insert the outputs of step runs that aren't repeated, and link them to model versions."""
        put = self._database.put_id
        placed: list[PlacedVersion] = []
        links: list[ModelVersionArtifactRow] = []
        for finish, _, _, outputs in ends:
            if finish.id in repeated:
                continue
            for position, checked in enumerate(outputs):
                placed.append(PlacedVersion(checked, finish.id, finish.run_id, position))
            if finish.model_version_id:
                model_version = put(finish.model_version_id)
                links += [ModelVersionArtifactRow(model_version, put(c.new.id)) for c in outputs]
                if finish.cached_from:
                    session.run(_LINK_CACHED, (put(finish.id), model_version))
        return self._writer.insert(session, placed, links) if placed else {}

    def _repeated(self, session: Session, finishes: Sequence[StepFinish]) -> set[UUID]:
        """Return the step runs that were recorded as completed before this transaction.

        Raises:
            NotFoundError: one of the step runs doesn't exist.
        """
        put, get = self._database.put_id, self._database.get_id
        run_ids: dict[UUID, UUID] = {}
        for some in chunks([put(finish.id) for finish in finishes]):
            for id, run_id in session.rows(
                f"SELECT id, run_id FROM step_runs WHERE id IN ({marks(len(some))})", some
            ):
                run_ids[get(id)] = get(run_id)
        for finish in finishes:
            if run_ids.get(finish.id) != finish.run_id:
                raise NotFoundError("step run", str(finish.id), hint="Its run was deleted meanwhile.")
        recorded = {
            get(id)
            for some in chunks([put(output.id) for finish in finishes for output in finish.outputs])
            for (id,) in session.rows(
                f"SELECT id FROM artifact_versions WHERE id IN ({marks(len(some))})", some
            )
        }
        # This transaction has already set the status of the new ones, so only their outputs show it. A step
        # without outputs has nothing that could be recorded twice.
        return {f.id for f in finishes if f.outputs and all(o.id in recorded for o in f.outputs)}

    def _merge_metadata(self, session: Session, ends: Sequence[_CheckedFinish]) -> None:
        """Add metadata that steps returned to what they logged while they ran."""
        returned = {self._database.put_id(end.finish.id): end for end in ends if end.metadata}
        for some in chunks(list(returned)):
            rows = session.rows(f"SELECT id, metadata FROM step_runs WHERE id IN ({marks(len(some))})", some)
            for id, stored in rows:
                end = returned[id]
                if stored != end.metadata:
                    session.run(
                        "UPDATE step_runs SET metadata = ? WHERE id = ?",
                        (encode({**decode(stored), **end.finish.metadata}), id),
                    )
