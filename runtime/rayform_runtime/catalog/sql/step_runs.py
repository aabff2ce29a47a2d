"""Step runs as they were recorded: by ID, by run, and by cache key; and the calls of dynamic pipelines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from uuid import UUID

from rayform_core.errors import NotFoundError
from rayform_runtime.catalog.calls import RunCall
from rayform_runtime.catalog.entities import ArtifactVersion, StepRun
from rayform_runtime.catalog.metadata import decode_json, encode_json
from rayform_runtime.catalog.reuse import CachedResult
from rayform_runtime.catalog.saving import FIRST_SAVED
from rayform_runtime.catalog.sql.columns import ARTIFACT_VERSIONS, RUN_CALLS, STEP_RUNS, RunCallRow, execute
from rayform_runtime.catalog.sql.database import ForeignKeyViolation, Row, Session, StoredId, chunks, marks
from rayform_runtime.catalog.sql.finder import Part
from rayform_runtime.catalog.sql.rows import (
    decode_reuse,
    optional_moment,
    read_artifact_version,
    read_step_run,
)
from rayform_runtime.catalog.summaries import StepChoice, StepSummary

__all__ = ["RunCalls", "StepRuns"]

# For each key the newest completed step run whose outputs all still exist.
_CACHED = f"""SELECT s.id, s.run_id, r.name, s.cache_key, s.reuse, {ARTIFACT_VERSIONS.columns()}
 FROM step_runs s JOIN runs r ON r.id = s.run_id LEFT JOIN artifact_versions v ON v.producer_step_run_id = s.id
 LEFT JOIN artifacts a ON a.id = v.artifact_id
 WHERE s.id IN (SELECT (SELECT n.id FROM step_runs n WHERE n.cache_key = k.cache_key AND n.status = 'completed'
 AND n.output_count = (SELECT count(*) FROM artifact_versions o WHERE o.producer_step_run_id = n.id
 AND o.output_position < {FIRST_SAVED})
 ORDER BY n.ended_at DESC, n.id DESC LIMIT 1)
 FROM (SELECT DISTINCT cache_key FROM step_runs WHERE status = 'completed' AND cache_key IN ({{}})) AS k)"""
_POSITION = 5 + ARTIFACT_VERSIONS.names.index("output_position")
"""Where a row of `_CACHED` holds the output's position."""
_SUMMARY = """SELECT s.key, s.status, count(s.map_index), count(*), count(s.ended_at), max(s.attempt),
 min(s.started_at), max(s.ended_at) FROM step_runs s WHERE s.run_id = ? GROUP BY s.key, s.status
 ORDER BY min(s.started_at), s.key, s.status"""
_SELECT_STEPS = f"SELECT {STEP_RUNS.columns()} FROM step_runs s"

_WRITE_CALL = f"{RUN_CALLS.insert} ON CONFLICT (run_id, position) DO UPDATE SET call = excluded.call"

_Named = dict[StoredId, dict[str, list[UUID]]]
"""The artifact versions that step runs used or made, by step run and name."""


class StepRuns(Part):
    """Reads step runs."""

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

        results: dict[str, CachedResult] = {}
        rows = sorted(self._database.read(read), key=lambda row: (row[3], row[_POSITION] or 0))
        for key, group in groupby(rows, key=lambda row: row[3]):
            members = list(group)
            step_id, run_id, run_name, _, reuse = members[0][:5]
            outputs: dict[str, ArtifactVersion] = {}
            for row in members:
                if row[5] is not None:
                    version = read_artifact_version(row[5:], self._database)
                    outputs.setdefault(version.output_name or "output", version)
            results[key] = CachedResult(
                self._database.get_id(step_id),
                self._database.get_id(run_id),
                run_name,
                key,
                outputs,
                decode_reuse(reuse),
            )
        return results

    def list_step_runs(self, run_id: UUID, choice: StepChoice = StepChoice()) -> list[StepRun]:
        id = self._database.put_id(run_id)
        tests = ["s.run_id = ?"]
        values: list[object] = [id]
        if choice.keys is not None:
            tests.append(f"s.key IN ({marks(len(choice.keys))})" if choice.keys else "1 = 0")
            values += choice.keys
        if choice.status is not None:
            tests.append("s.status = ?")
            values.append(choice.status)
        if choice.map_index is not None:
            tests.append("s.map_index = ?")
            values.append(choice.map_index)
        order = ["s.started_at", "COALESCE(s.map_index, -1)"]
        if choice.by_index:
            order.reverse()
        part = "" if choice.limit is None else f" LIMIT {int(choice.limit)} OFFSET {int(choice.first)}"

        def read(session: Session) -> list[StepRun]:
            rows = session.rows(
                f"{_SELECT_STEPS} WHERE {' AND '.join(tests)} ORDER BY {', '.join(order)}, s.id{part}",
                tuple(values),
            )
            if not rows and not session.rows("SELECT 1 FROM runs WHERE id = ?", (id,)):
                raise NotFoundError("run", str(run_id))
            return self._with_versions(session, rows)

        return self._database.read(read)

    def summarize_steps(self, run_id: UUID) -> list[StepSummary]:
        rows = self._database.read(lambda session: session.rows(_SUMMARY, (self._database.put_id(run_id),)))
        return [
            StepSummary(
                key,
                status,
                mapped > 0,
                count,
                ended,
                attempts,
                optional_moment(started),
                optional_moment(end),
            )
            for key, status, mapped, count, ended, attempts, started, end in rows
        ]

    def get_step_run(self, step_run_id: UUID) -> StepRun:
        steps = self._database.read(lambda session: self.by_id(session, [step_run_id]))
        if not steps:
            raise NotFoundError("step run", str(step_run_id))
        return steps[0]

    def find_cache_candidates(self, pipeline: str, key: str, limit: int = 5) -> list[StepRun]:
        def read(session: Session) -> list[StepRun]:
            rows = session.rows(
                "SELECT s.id FROM runs r JOIN step_runs s ON s.run_id = r.id WHERE r.pipeline = ? AND s.key = ? "
                "AND s.status IN ('completed', 'cached') "
                f"ORDER BY r.created_at DESC, s.started_at DESC, s.id DESC LIMIT {int(limit)}",
                (pipeline, key),
            )
            return self.by_id(session, [self._database.get_id(id) for (id,) in rows])

        return self._database.read(read)

    def by_id(self, session: Session, ids: Sequence[UUID]) -> list[StepRun]:
        """Return the step runs with these IDs, in this order; unknown ones are left out."""
        steps: dict[UUID, StepRun] = {}
        for test, values in self._database.within("s.id", [self._database.put_id(id) for id in ids]):
            rows = session.rows(f"{_SELECT_STEPS} WHERE {test}", values)
            steps.update((step.id, step) for step in self._with_versions(session, rows))
        return [steps[id] for id in ids if id in steps]

    def _with_versions(self, session: Session, rows: list[Row]) -> list[StepRun]:
        """Read step runs with their inputs and outputs: a few statements, however many step runs."""
        keys = [(row.id, row.cached_from) for row in map(STEP_RUNS.read, rows)]
        ids = [id for id, _ in keys]
        inputs = self._named(
            session, "step_run_id, name, artifact_version_id, position FROM step_inputs", "step_run_id", ids
        )
        outputs = self._named(
            session,
            "producer_step_run_id, output_name, id, output_position FROM artifact_versions",
            "producer_step_run_id",
            ids,
        )
        outputs |= self._named(
            session,
            "step_run_id, name, artifact_version_id, position FROM cached_outputs",
            "step_run_id",
            [id for id, cached_from in keys if cached_from is not None],
        )
        return [
            read_step_run(row, self._database, inputs.get(id, {}), outputs.get(id, {}))
            for id, row in zip(ids, rows, strict=True)
        ]

    def _named(self, session: Session, selected: str, column: str, ids: Sequence[StoredId]) -> _Named:
        """Read step run, name and version from `selected`, ordered by its fourth column."""
        named: _Named = {}
        for test, values in self._database.within(column, ids):
            for step, name, version, _ in session.rows(f"SELECT {selected} WHERE {test} ORDER BY 4", values):
                versions = named.setdefault(step, {}).setdefault(name or "output", [])
                versions.append(self._database.get_id(version))
        return named


class RunCalls(Part):
    """The calls of dynamic pipelines, by run: written before the steps that they call start."""

    def record_calls(self, run_id: UUID, calls: Sequence[RunCall]) -> None:
        id = self._database.put_id(run_id)
        rows = [
            RunCallRow(
                id,
                call.position,
                encode_json({"step": dict(call.step), "failures": list(call.failures)}, "A step's call")
                or "{}",
            )
            for call in calls
        ]
        if not rows:
            return
        try:
            self._database.write(lambda session: execute(session, _WRITE_CALL, RUN_CALLS.values(rows)))
        except ForeignKeyViolation as error:
            raise NotFoundError("run", str(run_id), hint="It was deleted meanwhile.") from error

    def list_calls(self, run_id: UUID) -> list[RunCall]:
        id = self._database.put_id(run_id)

        def read(session: Session) -> list[Row]:
            return session.rows(
                "SELECT position, call FROM run_calls WHERE run_id = ? ORDER BY position", (id,)
            )

        calls = []
        for position, text in self._database.read(read):
            document = decode_json(text)
            calls.append(RunCall(position, document["step"], tuple(document["failures"])))
        return calls
