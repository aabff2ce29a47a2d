"""Step runs in the catalog: the hot path. A step that isn't cached takes five statements in one or two commits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from rayform_core.errors import NotFoundError
from rayform_runtime.catalog.entities import (
    ArtifactVersion,
    CachedResult,
    NewArtifactVersion,
    StepFinish,
    StepRun,
    StepStart,
    StepStatus,
)
from rayform_runtime.catalog.metadata import decode, encode, encode_json
from rayform_runtime.catalog.sql.artifacts import ArtifactCatalog
from rayform_runtime.catalog.sql.database import (
    ForeignKeyViolation,
    Row,
    Session,
    UniqueViolation,
    chunks,
    marks,
)
from rayform_runtime.catalog.sql.rows import (
    STEP_COLUMNS,
    VERSION_COLUMNS,
    VERSION_DETAILS,
    encode_error,
    microseconds,
    now,
    step_record,
    version_record,
)

__all__ = ["StepCatalog"]

_START = f"""INSERT INTO step_runs (id, run_id, key, map_index, name, status, attempt, cache_key, cached_from,
 output_count, source, code_digest, log_uri, started_at, ended_at, parameters, resources, error, metadata)
 VALUES ({marks(19)})
 ON CONFLICT (id) DO UPDATE SET status = excluded.status, attempt = excluded.attempt, cache_key = excluded.cache_key,
 cached_from = excluded.cached_from, output_count = excluded.output_count, source = excluded.source,
 code_digest = excluded.code_digest, log_uri = excluded.log_uri, started_at = excluded.started_at,
 ended_at = excluded.ended_at, parameters = excluded.parameters, resources = excluded.resources,
 error = excluded.error
 WHERE step_runs.status <> 'completed'"""
_INPUT = (
    "INSERT INTO step_inputs (step_run_id, position, name, artifact_version_id) VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO NOTHING"
)
# A worker's clock tells the end, and another one told the beginning.
_FINISH = """UPDATE step_runs SET status = ?, cached_from = ?, error = ?, ended_at = ?, output_count = ?,
 started_at = CASE WHEN started_at > ? THEN ? ELSE started_at END,
 metadata = COALESCE(metadata, ?) WHERE id = ? AND run_id = ? AND status <> 'completed'"""
_TAKE_OVER = """INSERT INTO cached_outputs (step_run_id, position, name, artifact_version_id)
 SELECT s.id, v.output_position, v.output_name, v.id FROM step_runs s
 JOIN artifact_versions v ON v.producer_step_run_id = s.cached_from WHERE s.id = ? ON CONFLICT DO NOTHING"""
_LINK_RUN = "INSERT INTO model_version_runs (model_version_id, run_id) VALUES (?, ?) ON CONFLICT DO NOTHING"
# For each key the newest completed step run whose outputs are all there still.
_CACHED = f"""SELECT s.id, s.run_id, r.name, s.cache_key, v.output_position, {VERSION_COLUMNS}{VERSION_DETAILS}
 FROM step_runs s JOIN runs r ON r.id = s.run_id LEFT JOIN artifact_versions v ON v.producer_step_run_id = s.id
 LEFT JOIN artifacts a ON a.id = v.artifact_id
 WHERE s.id IN (SELECT (SELECT n.id FROM step_runs n WHERE n.cache_key = k.cache_key AND n.status = 'completed'
 AND n.output_count = (SELECT count(*) FROM artifact_versions o WHERE o.producer_step_run_id = n.id)
 ORDER BY n.ended_at DESC, n.id DESC LIMIT 1)
 FROM (SELECT DISTINCT cache_key FROM step_runs WHERE status = 'completed' AND cache_key IN ({{}})) AS k)"""
_UNFINISHED = (StepStatus.PENDING, StepStatus.RUNNING, StepStatus.RETRYING)


class StepCatalog(ArtifactCatalog):
    """The part of `SQLCatalog` that is about step runs."""

    def start_steps(self, starts: Sequence[StepStart]) -> None:
        if starts:
            self._checked_write(self._starting(starts), starts)

    def record_steps(self, changes: Sequence[StepStart | StepFinish]) -> None:
        works: list[Callable[[Session], object]] = []
        for kind, group in groupby(changes, type):
            some: list[Any] = list(group)
            works.append(self._starting(some) if kind is StepStart else self._finishing(some))

        def work(session: Session) -> None:
            for part in works:
                part(session)

        starts = [change for change in changes if isinstance(change, StepStart)]
        outputs = [o for change in changes if isinstance(change, StepFinish) for o in change.outputs]
        if works:
            self._checked_write(work, starts, outputs)

    def _starting(self, starts: Sequence[StepStart]) -> Callable[[Session], None]:
        """Prepare what doesn't need the database, and return the rest."""
        rows, inputs, links = self._start_rows(starts)
        return lambda session: self._start(session, starts, rows(now()), inputs, links)

    def _start_rows(self, starts: Sequence[StepStart], finishes: Sequence[StepFinish] | None = None) -> Any:
        put = self._db.put_id
        fixed = [
            (
                put(start.id),
                put(start.run_id),
                start.key,
                start.map_index,
                start.name,
                start.attempt,
                start.cache_key,
                start.source,
                start.code_digest,
                start.log_uri,
                encode_json(start.parameters, f"The parameters of step '{start.name}'"),
                encode_json(start.resources),
            )
            for start in starts
        ]
        ends = [
            (
                finish.status.value,
                put(finish.cached_from) if finish.cached_from else None,
                microseconds(finish.ended_at),
                encode_error(finish.error),
                encode(finish.metadata),
            )
            for finish in finishes or ()
        ]

        def rows(at: int) -> list[tuple[Any, ...]]:
            made = []
            for index, row in enumerate(fixed):
                (
                    id,
                    run_id,
                    key,
                    map_index,
                    name,
                    attempt,
                    cache_key,
                    source,
                    digest,
                    log_uri,
                    parameters,
                    res,
                ) = row
                status, cached_from, ended, error, metadata = (
                    ends[index] if ends else (StepStatus.RUNNING.value, None, None, None, None)
                )
                if ends and ended is None and status not in _UNFINISHED:
                    ended = at
                # A step run that is skipped or cached took no time of its own.
                began = microseconds(starts[index].started_at) or at
                started = began if ended is None else min(began, ended)
                head = (id, run_id, key, map_index, name, status, attempt, cache_key, cached_from, 0, source)
                made.append((*head, digest, log_uri, started, ended, parameters, res, error, metadata))
            return made

        inputs = [
            (put(start.id), position, name, put(version))
            for start in starts
            if start.inputs
            for position, (name, version) in enumerate(
                (name, version) for name, versions in start.inputs.items() for version in versions
            )
        ]
        links = {
            (put(start.model_version_id), put(start.run_id)) for start in starts if start.model_version_id
        }
        return rows, inputs, sorted(links)

    def _start(
        self,
        session: Session,
        starts: Sequence[StepStart],
        rows: list[tuple[Any, ...]],
        inputs: list[tuple[Any, ...]],
        links: list[tuple[Any, ...]],
    ) -> None:
        _one_or_many(session, _START, rows)
        again = [self._db.put_id(start.id) for start in starts if start.attempt > 1]
        for some in chunks(again):
            # A step that begins again may have got other inputs, from steps that ran again before it.
            session.run(f"DELETE FROM step_inputs WHERE step_run_id IN ({marks(len(some))})", some)
        if inputs:
            _one_or_many(session, _INPUT, inputs)
        if links:
            session.many(_LINK_RUN, links)

    def _checked_write(
        self, work: Any, starts: Sequence[StepStart], outputs: Sequence[NewArtifactVersion] = ()
    ) -> Any:
        try:
            return self._db.write(work)
        except UniqueViolation as error:
            raise self._conflict(error, outputs) from error
        except ForeignKeyViolation as error:
            raise self._missing(starts) from error

    def _missing(self, starts: Sequence[StepStart]) -> NotFoundError:
        """Say which of the things that step runs refer to isn't there."""
        put = self._db.put_id
        wanted: list[tuple[str, str, UUID]] = []
        for start in starts:
            wanted.append(("runs", "run", start.run_id))
            wanted += [
                ("artifact_versions", "artifact version", id) for ids in start.inputs.values() for id in ids
            ]
            if start.model_version_id:
                wanted.append(("model_versions", "model version", start.model_version_id))

        def first_missing(session: Session) -> NotFoundError | None:
            for table, what, id in wanted:
                if not session.rows(f"SELECT 1 FROM {table} WHERE id = ?", (put(id),)):
                    return NotFoundError(what, str(id), hint="It was deleted meanwhile.")
            return None

        if found := self._db.read(first_missing):
            return found
        return NotFoundError("run", str(starts[0].run_id) if starts else "", hint="It was deleted meanwhile.")

    def finish_steps(self, finishes: Sequence[StepFinish]) -> list[list[ArtifactVersion]]:
        if not finishes:
            return []
        return self._write_versions(
            self._finishing(finishes), [output for finish in finishes for output in finish.outputs]
        )

    def _finishing(self, finishes: Sequence[StepFinish]) -> Callable[[Session], list[list[ArtifactVersion]]]:
        """Prepare what doesn't need the database, and return the rest."""
        put = self._db.put_id
        metadata = [encode(finish.metadata) for finish in finishes]
        errors = [encode_error(finish.error) for finish in finishes]
        versions = [self._prepared(output) for finish in finishes for output in finish.outputs]

        def work(session: Session) -> list[list[ArtifactVersion]]:
            at = now()
            ended = [
                at if finish.status in _UNFINISHED else (microseconds(finish.ended_at) or at)
                for finish in finishes
            ]
            rows = [
                (
                    finish.status.value,
                    put(finish.cached_from) if finish.cached_from else None,
                    errors[i],
                    None if finish.status in _UNFINISHED else ended[i],
                    len(finish.outputs),
                    ended[i],
                    ended[i],
                    metadata[i],
                    put(finish.id),
                    put(finish.run_id),
                )
                for i, finish in enumerate(finishes)
            ]
            changed = _one_or_many(session, _FINISH, rows)
            repeated = self._repeated(session, finishes) if changed < len(rows) else set()
            if any(metadata):
                self._merge_step_metadata(session, finishes, metadata, repeated)
            cached = [(put(f.id),) for f in finishes if f.cached_from and f.id not in repeated]
            if cached:
                session.many(_TAKE_OVER, cached)
            made = self._insert_outputs(session, finishes, versions, repeated)
            if repeated:
                known = self._versions_by_id(
                    session, [o.id for f in finishes if f.id in repeated for o in f.outputs]
                )
                made.update(known)
            return [
                [made[output.id] for output in finish.outputs if output.id in made] for finish in finishes
            ]

        return work

    def _insert_outputs(
        self, session: Session, finishes: Sequence[StepFinish], prepared: Sequence[Any], repeated: set[UUID]
    ) -> dict[UUID, ArtifactVersion]:
        todo: list[tuple[NewArtifactVersion, Any, UUID | None, UUID | None, int]] = []
        links = []
        index = 0
        for finish in finishes:
            for position, output in enumerate(finish.outputs):
                if finish.id not in repeated:
                    todo.append((output, prepared[index], finish.id, finish.run_id, position))
                    if finish.model_version_id:
                        links.append((finish.model_version_id, output.id))
                index += 1
            if finish.model_version_id and finish.cached_from and finish.id not in repeated:
                session.run(
                    "INSERT INTO model_version_artifacts (model_version_id, artifact_version_id) "
                    "SELECT m.id, c.artifact_version_id FROM cached_outputs c, model_versions m "
                    "WHERE c.step_run_id = ? AND m.id = ? ON CONFLICT DO NOTHING",
                    (self._db.put_id(finish.id), self._db.put_id(finish.model_version_id)),
                )
        if not todo:
            return {}
        return self._insert_versions(session, todo, links)

    def _repeated(self, session: Session, finishes: Sequence[StepFinish]) -> set[UUID]:
        """Which of these had been recorded as completed before this transaction."""
        put, get = self._db.put_id, self._db.get_id
        found: dict[UUID, UUID] = {}
        for some in chunks([finish.id for finish in finishes]):
            for id, run_id in session.rows(
                f"SELECT id, run_id FROM step_runs WHERE id IN ({marks(len(some))})", [put(i) for i in some]
            ):
                found[get(id)] = get(run_id)
        for finish in finishes:
            if found.get(finish.id) != finish.run_id:
                raise NotFoundError("step run", str(finish.id), hint="Its run was deleted meanwhile.")
        recorded = {
            get(row[0])
            for some in chunks([output.id for finish in finishes for output in finish.outputs])
            for row in session.rows(
                f"SELECT id FROM artifact_versions WHERE id IN ({marks(len(some))})", [put(i) for i in some]
            )
        }
        # This transaction has set the status of the new ones already, so their outputs tell; a step without
        # outputs has nothing that could be recorded twice.
        return {f.id for f in finishes if f.outputs and all(o.id in recorded for o in f.outputs)}

    def _merge_step_metadata(
        self,
        session: Session,
        finishes: Sequence[StepFinish],
        encoded: Sequence[str | None],
        repeated: set[UUID],
    ) -> None:
        """A step may have logged metadata while it ran; what it returned joins that."""
        wanted = {
            self._db.put_id(f.id): (f, e)
            for f, e in zip(finishes, encoded, strict=True)
            if e and f.id not in repeated
        }
        for some in chunks(list(wanted)):
            rows = session.rows(f"SELECT id, metadata FROM step_runs WHERE id IN ({marks(len(some))})", some)
            for id, kept in rows:
                finish, own = wanted[id]
                if kept != own:
                    session.run(
                        "UPDATE step_runs SET metadata = ? WHERE id = ?",
                        (encode({**decode(kept), **finish.metadata}), id),
                    )

    def record_cached(self, pairs: Sequence[tuple[StepStart, StepFinish]]) -> None:
        if not pairs:
            return
        starts, finishes = [start for start, _ in pairs], [finish for _, finish in pairs]
        rows, inputs, links = self._start_rows(starts, finishes)
        put = self._db.put_id

        def work(session: Session) -> None:
            self._start(session, starts, rows(now()), inputs, links)
            taken = [(put(finish.id),) for finish in finishes if finish.cached_from]
            if taken:
                session.many(_TAKE_OVER, taken)
            self._insert_outputs(session, finishes, (), set())

        self._checked_write(work, starts)

    def find_cached(self, cache_keys: Iterable[str]) -> dict[str, CachedResult]:
        keys = list(dict.fromkeys(cache_keys))
        if not keys:
            return {}

        def read(session: Session) -> list[Row]:
            rows: list[Row] = []
            for some in chunks(keys):
                # Padded to a power of two, so that few statements are prepared.
                count = 1 << (len(some) - 1).bit_length()
                values = [*some, *[some[0]] * (count - len(some))]
                rows += session.rows(_CACHED.format(marks(count)), values)
            return rows

        found: dict[str, CachedResult] = {}
        rows = sorted(self._db.read(read), key=lambda row: (row[3], row[4] or 0))
        for key, group in groupby(rows, key=lambda row: row[3]):
            members = list(group)
            step_id, run_id, run_name = members[0][:3]
            outputs: dict[str, ArtifactVersion] = {}
            for row in members:
                if row[5] is not None:
                    version = version_record(row[5:], self._db)
                    outputs[version.output_name or "output"] = version
            found[key] = CachedResult(
                self._db.get_id(step_id), self._db.get_id(run_id), run_name, key, outputs
            )
        return found

    def list_step_runs(self, run_id: UUID) -> list[StepRun]:
        id = self._db.put_id(run_id)

        def read(session: Session) -> list[StepRun]:
            rows = session.rows(
                f"SELECT {STEP_COLUMNS} FROM step_runs s WHERE s.run_id = ? "
                "ORDER BY s.started_at, COALESCE(s.map_index, -1), s.id",
                (id,),
            )
            if not rows and not session.rows("SELECT 1 FROM runs WHERE id = ?", (id,)):
                raise NotFoundError("run", str(run_id))
            return self._steps(session, rows)

        return self._db.read(read)

    def get_step_run(self, step_run_id: UUID) -> StepRun:
        found = self._db.read(lambda session: self._steps_by_id(session, [step_run_id]))
        if not found:
            raise NotFoundError("step run", str(step_run_id))
        return found[0]

    def find_cache_candidates(self, pipeline: str, key: str, limit: int = 5) -> list[StepRun]:
        def read(session: Session) -> list[StepRun]:
            rows = session.rows(
                "SELECT s.id FROM runs r JOIN step_runs s ON s.run_id = r.id WHERE r.pipeline = ? AND s.key = ? "
                "AND s.status IN ('completed', 'cached') "
                f"ORDER BY r.created_at DESC, s.started_at DESC, s.id DESC LIMIT {int(limit)}",
                (pipeline, key),
            )
            return self._steps_by_id(session, [self._db.get_id(row[0]) for row in rows])

        return self._db.read(read)

    def _steps_by_id(self, session: Session, ids: Sequence[UUID]) -> list[StepRun]:
        steps: dict[UUID, StepRun] = {}
        for test, values in self._db.within("s.id", [self._db.put_id(id) for id in ids]):
            rows = session.rows(f"SELECT {STEP_COLUMNS} FROM step_runs s WHERE {test}", values)
            steps.update((step.id, step) for step in self._steps(session, rows))
        return [steps[id] for id in ids if id in steps]

    def _steps(self, session: Session, rows: list[Row]) -> list[StepRun]:
        """Read step runs with their inputs and outputs: a few statements, however many they are."""
        ids = [row[0] for row in rows]
        inputs = self._named(
            session, "step_run_id, name, artifact_version_id, position FROM step_inputs", "step_run_id", ids
        )
        outputs = self._named(
            session,
            "producer_step_run_id, output_name, id, output_position FROM artifact_versions",
            "producer_step_run_id",
            ids,
        )
        cached = [row[0] for row in rows if row[8] is not None]
        outputs |= self._named(
            session,
            "step_run_id, name, artifact_version_id, position FROM cached_outputs",
            "step_run_id",
            cached,
        )
        return [step_record(row, self._db, inputs.get(row[0], {}), outputs.get(row[0], {})) for row in rows]

    def _named(
        self, session: Session, selected: str, column: str, ids: Sequence[Any]
    ) -> dict[Any, dict[str, list[UUID]]]:
        found: dict[Any, dict[str, list[UUID]]] = {}
        for test, values in self._db.within(column, ids):
            for step, name, version, _ in session.rows(f"SELECT {selected} WHERE {test} ORDER BY 4", values):
                found.setdefault(step, {}).setdefault(name or "output", []).append(self._db.get_id(version))
        return found


def _one_or_many(session: Session, sql: str, rows: list[tuple[Any, ...]]) -> int:
    return session.run(sql, rows[0]) if len(rows) == 1 else session.many(sql, rows)
