"""Runs in the catalog: their life from start to end, the heartbeat, lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from rayform_core.errors import ConflictError, NotFoundError
from rayform_runtime.catalog.entities import NewRun, Page, Query, Run, RunStatus, StepError, Subject
from rayform_runtime.catalog.metadata import encode_json
from rayform_runtime.catalog.sql.database import Row, Session, UniqueViolation, chunks, marks
from rayform_runtime.catalog.sql.filters import Field, Kind, Listing
from rayform_runtime.catalog.sql.finder import SQLBase
from rayform_runtime.catalog.sql.rows import (
    RUN_COLUMNS,
    RUN_DETAILS,
    checked_name,
    encode_error,
    encode_tags,
    moment,
    now,
    run_record,
)

__all__ = ["RunCatalog"]

RUNS = Listing(
    what="Runs",
    id="r.id",
    subject=Subject.RUN,
    metadata="r.metadata",
    fields={
        "id": Field("r.id", Kind.ID),
        "name": Field("r.name"),
        "pipeline": Field("r.pipeline"),
        "status": Field("r.status"),
        "stack": Field("r.stack_name"),
        "stack_name": Field("r.stack_name"),
        "user": Field("r.user_name", nullable=True),
        "host": Field("r.host", nullable=True),
        "created_at": Field("r.created_at", Kind.MOMENT),
        "started_at": Field("r.started_at", Kind.MOMENT, nullable=True),
        "ended_at": Field("r.ended_at", Kind.MOMENT, nullable=True),
        "heartbeat_at": Field("r.heartbeat_at", Kind.MOMENT, nullable=True),
        "orchestrator_id": Field("r.orchestrator_id", nullable=True),
    },
    within={
        "model_version_id": (
            "r.id IN (SELECT l.run_id FROM model_version_runs l WHERE {})",
            Field("l.model_version_id", Kind.ID),
        ),
        "model": (
            "r.id IN (SELECT l.run_id FROM model_version_runs l JOIN model_versions mv ON mv.id = l.model_version_id "
            "JOIN models m ON m.id = mv.model_id WHERE {})",
            Field("m.name"),
        ),
    },
)
PIPELINES = Listing(
    what="Pipelines",
    id="p.name",
    fields={
        "name": Field("p.name"),
        "runs": Field("p.runs", Kind.NUMBER),
        "last_run": Field("p.last_run"),
        "last_status": Field("p.last_status"),
        "created_at": Field("p.created_at", Kind.MOMENT),
        "last_run_at": Field("p.last_run_at", Kind.MOMENT),
    },
)
# One walk along ix_runs_pipeline_created_at, then one look-up for each pipeline.
_PIPELINES = """(SELECT g.pipeline AS name, g.runs, g.created_at, g.last_run_at, l.name AS last_run,
 l.status AS last_status FROM (SELECT pipeline, count(*) AS runs, min(created_at) AS created_at,
 max(created_at) AS last_run_at FROM runs GROUP BY pipeline) AS g
 JOIN runs l ON l.id = (SELECT i.id FROM runs i WHERE i.pipeline = g.pipeline AND i.created_at = g.last_run_at
 ORDER BY i.id DESC LIMIT 1)) AS p"""
_LIVE = "status IN ('initializing', 'running')"
_SET_CODE = "UPDATE run_details SET code = ? WHERE run_id = ?"
_HYDRATED = "runs r LEFT JOIN run_details d ON d.run_id = r.id"
_AFTERWARDS = {
    RunStatus.COMPLETED: ("skipped", "interrupted"),
    RunStatus.FAILED: ("skipped", "interrupted"),
    RunStatus.STOPPED: ("stopped", "stopped"),
    RunStatus.INTERRUPTED: ("interrupted", "interrupted"),
}
"""Where a run's end leaves its steps that were pending, and those at work."""


class RunCatalog(SQLBase):
    """The part of `SQLCatalog` that is about runs."""

    _owned: dict[UUID, tuple[str | None, int | None]]
    """Host and process of the runs that this object started or took over."""

    def create_run(self, run: NewRun) -> Run:
        checked_name(run.name, "Run name")
        checked_name(run.pipeline, "Pipeline name")
        tags = encode_tags(run.tags)
        put = self._db.put_id
        parameters = encode_json(run.parameters, "Run parameters")
        details = [encode_json(part) for part in (run.spec, run.stack, run.code, run.environment)]

        def work(session: Session) -> int:
            at = now()
            session.run(
                "INSERT INTO runs (id, name, pipeline, status, stack_name, created_at, started_at, heartbeat_at, "
                "stop_requested, user_name, host, pid, pid_started, orchestrator_id, model_version_id, parameters, "
                f"tags) VALUES ({marks(17)})",
                (
                    put(run.id),
                    run.name,
                    run.pipeline,
                    RunStatus.RUNNING.value,
                    run.stack_name,
                    at,
                    at,
                    at,
                    False,
                    run.user,
                    run.host,
                    run.pid,
                    run.pid_started,
                    run.orchestrator_id,
                    put(run.model_version_id) if run.model_version_id else None,
                    parameters,
                    tags,
                ),
            )
            session.run(
                f"INSERT INTO run_details (run_id, spec, stack, code, environment) VALUES ({marks(5)})",
                (put(run.id), *details),
            )
            self._add_tags(session, Subject.RUN, [(put(run.id), sorted(set(run.tags)))])
            if run.model_version_id:
                session.run(
                    "INSERT INTO model_version_runs (model_version_id, run_id) VALUES (?, ?)",
                    (put(run.model_version_id), put(run.id)),
                )
            return at

        try:
            at = moment(self._db.write(work))
        except UniqueViolation as error:
            existing = self._db.read(
                lambda s: s.rows("SELECT name, pid, host FROM runs WHERE id = ?", (put(run.id),))
            )
            # A commit whose answer got lost is tried again, and then meets its own row.
            if not existing or tuple(existing[0]) != (run.name, run.pid, run.host):
                raise ConflictError(
                    f"There is a run '{run.name}' already."
                    if not existing
                    else f"There is a run with ID {run.id} already.",
                    hint="Give this run another name, or none to have one made.",
                ) from error
            self._owned[run.id] = (run.host, run.pid)
            return self.get_run(run.id)
        self._owned[run.id] = (run.host, run.pid)
        return Run(
            id=run.id,
            name=run.name,
            pipeline=run.pipeline,
            status=RunStatus.RUNNING,
            stack_name=run.stack_name,
            created_at=at,
            started_at=at,
            ended_at=None,
            heartbeat_at=at,
            parameters=dict(run.parameters),
            tags=tuple(sorted(set(run.tags))),
            user=run.user,
            host=run.host,
            pid=run.pid,
            pid_started=run.pid_started,
            error=None,
            model_version_id=run.model_version_id,
            orchestrator_id=run.orchestrator_id,
            spec=run.spec,
            stack=run.stack,
            code=run.code,
            environment=run.environment,
        )

    def restart_run(
        self, run_id: UUID, *, host: str, pid: int, pid_started: float, orchestrator_id: str | None = None
    ) -> Run:
        id = self._db.put_id(run_id)

        def work(session: Session) -> None:
            rows = session.rows(
                f"SELECT status, name, host, pid FROM runs WHERE id = ?{self._db.lock_clause()}", (id,)
            )
            if not rows:
                raise NotFoundError("run", str(run_id))
            status, name, old_host, old_pid = rows[0]
            if status in ("initializing", "running") and (old_host, old_pid) != (host, pid):
                raise ConflictError(
                    f"Run '{name}' is at work.",
                    why=f"Process {old_pid} on '{old_host}' runs it.",
                    hint="Stop it first, or wait for its end.",
                )
            if status == "completed":
                raise ConflictError(f"Run '{name}' completed: there is nothing to resume.")
            at = now()
            session.run(
                "UPDATE runs SET status = 'running', started_at = COALESCE(started_at, ?), ended_at = NULL, "
                "heartbeat_at = ?, stop_requested = ?, error = NULL, host = ?, pid = ?, pid_started = ?, "
                "orchestrator_id = ? WHERE id = ?",
                (at, at, False, host, pid, pid_started, orchestrator_id, id),
            )

        self._db.write(work)
        self._owned[run_id] = (host, pid)
        return self.get_run(run_id)

    def set_run_code(self, run_id: UUID, code: Mapping[str, Any]) -> None:
        id, stored = self._db.put_id(run_id), encode_json(dict(code))
        self._db.write(lambda session: session.run(_SET_CODE, (stored, id)))

    def finish_run(
        self,
        run_id: UUID,
        status: RunStatus,
        error: StepError | None = None,
        *,
        code: Mapping[str, Any] | None = None,
    ) -> Run:
        id = self._db.put_id(run_id)
        stored_error = encode_error(error)
        stored_code = None if code is None else encode_json(dict(code))

        def work(session: Session) -> None:
            at = now()
            if code is not None:
                session.run(_SET_CODE, (stored_code, id))
            changed = session.run(
                "UPDATE runs SET status = ?, ended_at = ?, error = ? WHERE id = ? AND status <> 'completed'",
                (status.value, at, stored_error, id),
            )
            if changed:
                self._end_steps(session, [id], status, at)
            elif not session.rows("SELECT 1 FROM runs WHERE id = ?", (id,)):
                raise NotFoundError("run", str(run_id))

        self._db.write(work)
        self._owned.pop(run_id, None)
        return self.get_run(run_id)

    def _end_steps(self, session: Session, run_ids: Sequence[Any], status: RunStatus, at: int) -> None:
        pending, at_work = _AFTERWARDS[status]
        for some in chunks(run_ids):
            session.run(
                "UPDATE step_runs SET status = CASE WHEN status = 'pending' THEN ? ELSE ? END, ended_at = ? "
                f"WHERE run_id IN ({marks(len(some))}) AND status IN ('pending', 'running', 'retrying')",
                (pending, at_work, at, *some),
            )

    def heartbeat(self, run_id: UUID) -> RunStatus:
        id = self._db.put_id(run_id)

        def work(session: Session) -> RunStatus:
            rows = session.rows(
                f"UPDATE runs SET heartbeat_at = ? WHERE id = ? AND {_LIVE} "
                "RETURNING status, stop_requested, host, pid",
                (now(), id),
            )
            if not rows:
                return self._beat_of_ended(session, run_id, id)
            status, stop, host, pid = rows[0]
            if self._owned.get(run_id, (host, pid)) != (host, pid):
                return RunStatus.INTERRUPTED  # another process took the run over
            return RunStatus.STOPPED if stop else RunStatus(status)

        return self._db.write(work)

    def _beat_of_ended(self, session: Session, run_id: UUID, id: Any) -> RunStatus:
        rows = session.rows("SELECT status, host, pid FROM runs WHERE id = ?", (id,))
        if not rows:
            raise NotFoundError("run", str(run_id))
        status, host, pid = rows[0]
        if status == "interrupted" and self._owned.get(run_id) == (host, pid):
            # A laptop that slept was taken for dead; this process still has the run, and says so.
            session.run(
                "UPDATE runs SET status = 'running', ended_at = NULL, heartbeat_at = ? WHERE id = ?",
                (now(), id),
            )
            return RunStatus.RUNNING
        return RunStatus(status)

    def request_stop(self, run_id: UUID) -> None:
        id = self._db.put_id(run_id)

        def work(session: Session) -> None:
            if not session.run(f"UPDATE runs SET stop_requested = ? WHERE id = ? AND {_LIVE}", (True, id)):
                rows = session.rows("SELECT name, status FROM runs WHERE id = ?", (id,))
                if not rows:
                    raise NotFoundError("run", str(run_id))
                raise ConflictError(
                    f"Run '{rows[0][0]}' is not at work.", why=f"Its status is '{rows[0][1]}'."
                )

        self._db.write(work)

    def mark_interrupted(self, *, stale_seconds: float = 60.0, dead: Sequence[UUID] = ()) -> list[UUID]:
        limit = now() - int(stale_seconds * 1_000_000)
        wanted = {self._db.put_id(id) for id in dead}
        live = self._db.read(lambda s: s.rows(f"SELECT id, heartbeat_at FROM runs WHERE {_LIVE}"))
        if not any(id in wanted or (beat or 0) < limit for id, beat in live):
            return []

        def work(session: Session) -> list[Any]:
            rows = session.rows(f"SELECT id, heartbeat_at FROM runs WHERE {_LIVE}{self._db.lock_clause()}")
            ended = [id for id, beat in rows if id in wanted or (beat or 0) < limit]
            at = now()
            for some in chunks(ended):
                session.run(
                    "UPDATE runs SET status = 'interrupted', ended_at = COALESCE(heartbeat_at, ?) "
                    f"WHERE id IN ({marks(len(some))})",
                    (at, *some),
                )
            self._end_steps(session, ended, RunStatus.INTERRUPTED, at)
            return ended

        return [self._db.get_id(id) for id in self._db.write(work)]

    def unfinished_runs(self) -> list[Run]:
        rows = self._db.read(
            lambda s: s.rows(
                f"SELECT {RUN_COLUMNS} FROM runs r WHERE r.{_LIVE} ORDER BY r.created_at DESC, r.id DESC"
            )
        )
        return [run_record(row, self._db) for row in rows]

    def get_run(self, ref: str | UUID, *, hydrate: bool = True) -> Run:
        def read(session: Session) -> list[Row]:
            columns, tables = (RUN_COLUMNS + RUN_DETAILS, _HYDRATED) if hydrate else (RUN_COLUMNS, "runs r")
            id = self._find(session, "runs", "run", ref, start_of_name=True)
            return session.rows(f"SELECT {columns} FROM {tables} WHERE r.id = ?", (id,))

        rows = self._db.read(read)
        if not rows:
            raise NotFoundError("run", str(ref))
        return run_record(rows[0], self._db)

    def list_runs(self, query: Query = Query()) -> Page[Run]:
        return self._page(
            query,
            RUNS,
            columns=RUN_COLUMNS + (RUN_DETAILS if query.hydrate else ""),
            tables=_HYDRATED if query.hydrate else "runs r",
            counted="runs r",
            records=lambda _, rows: [run_record(row, self._db) for row in rows],
        )

    def list_pipelines(self, query: Query = Query()) -> Page[Mapping[str, Any]]:
        def records(_: Session, rows: list[Row]) -> list[Mapping[str, Any]]:
            return [
                {
                    "name": name,
                    "runs": runs,
                    "last_run": last_run,
                    "last_status": RunStatus(last_status),
                    "last_run_at": moment(last_at),
                    "created_at": moment(created),
                }
                for name, runs, last_run, last_status, last_at, created in rows
            ]

        return self._page(
            query,
            PIPELINES,
            columns="p.name, p.runs, p.last_run, p.last_status, p.last_run_at, p.created_at",
            tables=_PIPELINES,
            counted=_PIPELINES,
            records=records,
        )

    def delete_run(self, run_id: UUID) -> None:
        id = self._db.put_id(run_id)

        def work(session: Session) -> None:
            rows = session.rows(f"SELECT status, name FROM runs WHERE id = ?{self._db.lock_clause()}", (id,))
            if not rows:
                raise NotFoundError("run", str(run_id))
            if not RunStatus(rows[0][0]).is_finished:
                raise ConflictError(f"Run '{rows[0][1]}' is at work.", hint="Stop it first.")
            session.run(
                "DELETE FROM tags WHERE subject_id = ? OR subject_id IN (SELECT id FROM step_runs WHERE run_id = ?)",
                (id, id),
            )
            session.run("DELETE FROM runs WHERE id = ?", (id,))

        self._db.write(work)
