"""Runs in the catalog: their life from start to end, the heartbeat, lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from rayform_core.errors import ConflictError, NotFoundError
from rayform_runtime.catalog.entities import (
    NewRun,
    Page,
    PipelineSummary,
    Query,
    Run,
    RunStatus,
    StepError,
    Subject,
)
from rayform_runtime.catalog.metadata import encode_json
from rayform_runtime.catalog.sql.annotations import add_tags
from rayform_runtime.catalog.sql.columns import (
    MODEL_VERSION_RUNS,
    RUN_DETAILS,
    RUNS,
    ModelVersionRunRow,
    RunDetailsRow,
    RunRow,
)
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
from rayform_runtime.catalog.sql.rows import (
    checked_name,
    encode_error,
    encode_tags,
    moment,
    now,
    optional_moment,
    read_run,
)
from rayform_runtime.catalog.sql.step_runs import RunCalls

__all__ = ["PIPELINE_LIST", "RUN_LIST", "RUN_TABLES", "Runs"]

RUN_LIST = Listing(
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
PIPELINE_LIST = Listing(
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
# The recursion skips from one name to the next, with one look-up in ix_runs_pipeline_created_at for each pipeline.
# Grouping would compare all runs.
_PIPELINES = """(SELECT g.pipeline AS name, g.runs, g.created_at, g.last_run_at, l.name AS last_run,
 l.status AS last_status FROM (WITH RECURSIVE names(pipeline) AS (SELECT min(pipeline) FROM runs
 UNION ALL SELECT (SELECT min(r.pipeline) FROM runs r WHERE r.pipeline > n.pipeline) FROM names n
 WHERE n.pipeline IS NOT NULL)
 SELECT n.pipeline, (SELECT count(*) FROM runs c WHERE c.pipeline = n.pipeline) AS runs,
 (SELECT min(c.created_at) FROM runs c WHERE c.pipeline = n.pipeline) AS created_at,
 (SELECT max(c.created_at) FROM runs c WHERE c.pipeline = n.pipeline) AS last_run_at
 FROM names n WHERE n.pipeline IS NOT NULL) AS g
 JOIN runs l ON l.id = (SELECT i.id FROM runs i WHERE i.pipeline = g.pipeline AND i.created_at = g.last_run_at
 ORDER BY i.id DESC LIMIT 1)) AS p"""
_LIVE = "status IN ('initializing', 'running')"
_SET_CODE = "UPDATE run_details SET code = ? WHERE run_id = ?"
RUN_TABLES = "runs r LEFT JOIN run_details d ON d.run_id = r.id"
_BRIEF = RUNS.columns(without=("metadata", "spec", "stack", "code", "environment"))
"""The columns of a run without what lists leave out by default; they need no `run_details`."""
_AFTERWARDS = {
    RunStatus.COMPLETED: ("skipped", "interrupted"),
    RunStatus.FAILED: ("skipped", "interrupted"),
    RunStatus.STOPPED: ("stopped", "stopped"),
    RunStatus.INTERRUPTED: ("interrupted", "interrupted"),
}
"""What a run's end makes of its steps that were pending, and of those that were running."""


class Runs(Part):
    """Runs, and the pipelines that they are runs of."""

    def __init__(self, database: Database, finder: Finder) -> None:
        super().__init__(database, finder)
        # Host and process ID of each run that this object started or took over and that hasn't finished: a
        # heartbeat learns from them that another process took the run over.
        self._owned: dict[UUID, tuple[str | None, int | None]] = {}

    def create_run(self, run: NewRun) -> Run:
        checked_name(run.name, "Run name")
        checked_name(run.pipeline, "Pipeline name")
        put = self._database.put_id
        id, model_version = put(run.id), self._database.put_optional_id(run.model_version_id)
        tags = encode_tags(run.tags)
        parameters = encode_json(run.parameters, "Run parameters")
        details = RunDetailsRow(
            run_id=id,
            spec=encode_json(run.spec),
            stack=encode_json(run.stack),
            code=encode_json(run.code),
            environment=encode_json(run.environment),
        )

        def work(session: Session) -> int:
            at = now()
            row = RunRow(
                id=id,
                name=run.name,
                pipeline=run.pipeline,
                status=RunStatus.RUNNING.value,
                stack_name=run.stack_name,
                created_at=at,
                started_at=at,
                ended_at=None,
                heartbeat_at=at,
                stop_requested=False,
                user_name=run.user,
                host=run.host,
                pid=run.pid,
                pid_started=run.pid_started,
                orchestrator_id=run.orchestrator_id,
                model_version_id=model_version,
                parameters=parameters,
                tags=tags,
                error=None,
                metadata=None,
            )
            RUNS.write(session, [row])
            RUN_DETAILS.write(session, [details])
            add_tags(session, Subject.RUN, [(id, sorted(set(run.tags)))])
            if model_version:
                MODEL_VERSION_RUNS.write(session, [ModelVersionRunRow(model_version, id)])
            return at

        try:
            at = moment(self._database.write(work))
        except UniqueViolation as error:
            existing = self._database.read(
                lambda session: session.rows("SELECT name, pid, host FROM runs WHERE id = ?", (id,))
            )
            # A commit whose answer got lost is tried again, and then meets its own row.
            if not existing or tuple(existing[0]) != (run.name, run.pid, run.host):
                raise ConflictError(
                    f"There is a run '{run.name}' already."
                    if not existing
                    else f"There is a run with ID {run.id} already.",
                    hint="Give this run another name, or none to get an automatic one.",
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
        self,
        run_id: UUID,
        *,
        host: str,
        pid: int,
        pid_started: float | None,
        orchestrator_id: str | None = None,
    ) -> Run:
        id = self._database.put_id(run_id)

        def work(session: Session) -> None:
            rows = session.rows(
                f"SELECT status, name, host, pid FROM runs WHERE id = ?{self._database.lock_clause()}", (id,)
            )
            if not rows:
                raise NotFoundError("run", str(run_id))
            status, name, old_host, old_pid = rows[0]
            if status in ("initializing", "running") and (old_host, old_pid) != (host, pid):
                raise ConflictError(
                    f"Run '{name}' is running.",
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

        self._database.write(work)
        self._owned[run_id] = (host, pid)
        return self.get_run(run_id)

    def set_run_code(self, run_id: UUID, code: Mapping[str, object]) -> None:
        id, stored = self._database.put_id(run_id), encode_json(dict(code))
        self._database.write(lambda session: session.run(_SET_CODE, (stored, id)))

    def finish_run(
        self,
        run_id: UUID,
        status: RunStatus,
        error: StepError | None = None,
        *,
        code: Mapping[str, object] | None = None,
    ) -> Run:
        id = self._database.put_id(run_id)
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

        self._database.write(work)
        self._owned.pop(run_id, None)
        return self.get_run(run_id)

    def _end_steps(self, session: Session, run_ids: Sequence[StoredId], status: RunStatus, at: int) -> None:
        pending, running = _AFTERWARDS[status]
        for some in chunks(run_ids):
            session.run(
                "UPDATE step_runs SET status = CASE WHEN status = 'pending' THEN ? ELSE ? END, ended_at = ? "
                f"WHERE run_id IN ({marks(len(some))}) AND status IN ('pending', 'running', 'retrying')",
                (pending, running, at, *some),
            )

    def heartbeat(self, run_id: UUID) -> RunStatus:
        id = self._database.put_id(run_id)

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

        return self._database.write(work)

    def _beat_of_ended(self, session: Session, run_id: UUID, id: StoredId) -> RunStatus:
        rows = session.rows("SELECT status, host, pid FROM runs WHERE id = ?", (id,))
        if not rows:
            raise NotFoundError("run", str(run_id))
        status, host, pid = rows[0]
        if status == "interrupted" and self._owned.get(run_id) == (host, pid):
            # A laptop that slept was marked as dead. This process still has the run, so it is running.
            session.run(
                "UPDATE runs SET status = 'running', ended_at = NULL, heartbeat_at = ? WHERE id = ?",
                (now(), id),
            )
            return RunStatus.RUNNING
        return RunStatus(status)

    def request_stop(self, run_id: UUID) -> None:
        id = self._database.put_id(run_id)

        def work(session: Session) -> None:
            if not session.run(f"UPDATE runs SET stop_requested = ? WHERE id = ? AND {_LIVE}", (True, id)):
                rows = session.rows("SELECT name, status FROM runs WHERE id = ?", (id,))
                if not rows:
                    raise NotFoundError("run", str(run_id))
                raise ConflictError(
                    f"Run '{rows[0][0]}' isn't running.", why=f"Its status is '{rows[0][1]}'."
                )

        self._database.write(work)

    def mark_interrupted(
        self, *, dead: Sequence[UUID] = (), silent: Mapping[UUID, datetime | None] | None = None
    ) -> list[UUID]:
        dead_ids = {self._database.put_id(id) for id in dead}
        beats = {self._database.put_id(id): beat for id, beat in (silent or {}).items()}
        if not dead_ids and not beats:
            return []

        def has_died(id: StoredId, heartbeat: int | None) -> bool:
            return id in dead_ids or (id in beats and optional_moment(heartbeat) == beats[id])

        def work(session: Session) -> list[StoredId]:
            lock = self._database.lock_clause()
            rows = session.rows(f"SELECT id, heartbeat_at FROM runs WHERE {_LIVE}{lock}")
            ended = [id for id, heartbeat in rows if has_died(id, heartbeat)]
            at = now()
            for some in chunks(ended):
                session.run(
                    "UPDATE runs SET status = 'interrupted', ended_at = COALESCE(heartbeat_at, ?) "
                    f"WHERE id IN ({marks(len(some))})",
                    (at, *some),
                )
            self._end_steps(session, ended, RunStatus.INTERRUPTED, at)
            return ended

        return [self._database.get_id(id) for id in self._database.write(work)]

    def unfinished_runs(self) -> list[Run]:
        rows = self._database.read(
            lambda session: session.rows(
                f"SELECT {_BRIEF} FROM runs r WHERE r.{_LIVE} ORDER BY r.created_at DESC, r.id DESC"
            )
        )
        return [read_run(row, self._database) for row in rows]

    def get_run(self, ref: str | UUID, *, hydrate: bool = True) -> Run:
        columns, tables = (RUNS.columns(), RUN_TABLES) if hydrate else (_BRIEF, "runs r")

        def read(session: Session) -> list[Row]:
            id = self._finder.find(session, "runs", "run", ref, start_of_name=True)
            return session.rows(f"SELECT {columns} FROM {tables} WHERE r.id = ?", (id,))

        rows = self._database.read(read)
        if not rows:
            raise NotFoundError("run", str(ref))
        run = read_run(rows[0], self._database)
        if run.spec.get("is_dynamic"):
            # The steps of a dynamic pipeline are the calls that its body has made so far.
            calls = RunCalls(self._database, self._finder).list_calls(run.id)
            run = replace(run, spec={**run.spec, "steps": [call.step for call in calls]})
        return run

    def list_runs(self, query: Query = Query()) -> Page[Run]:
        return self._finder.page(
            query,
            RUN_LIST,
            columns=RUNS.columns() if query.hydrate else _BRIEF,
            tables=RUN_TABLES if query.hydrate else "runs r",
            counted="runs r",
            entities=lambda _, rows: [read_run(row, self._database) for row in rows],
        )

    def list_pipelines(self, query: Query = Query()) -> Page[PipelineSummary]:
        def entities(_: Session, rows: list[Row]) -> list[PipelineSummary]:
            return [
                PipelineSummary(
                    name=name,
                    runs=runs,
                    last_run=last_run,
                    last_status=RunStatus(last_status),
                    last_run_at=moment(last_run_at),
                    created_at=moment(created_at),
                )
                for name, runs, last_run, last_status, last_run_at, created_at in rows
            ]

        return self._finder.page(
            query,
            PIPELINE_LIST,
            columns="p.name, p.runs, p.last_run, p.last_status, p.last_run_at, p.created_at",
            tables=_PIPELINES,
            counted=_PIPELINES,
            entities=entities,
        )

    def delete_run(self, run_id: UUID) -> None:
        id = self._database.put_id(run_id)

        def work(session: Session) -> None:
            rows = session.rows(
                f"SELECT status, name FROM runs WHERE id = ?{self._database.lock_clause()}", (id,)
            )
            if not rows:
                raise NotFoundError("run", str(run_id))
            if not RunStatus(rows[0][0]).is_finished:
                raise ConflictError(f"Run '{rows[0][1]}' is running.", hint="Stop it first.")
            session.run(
                "DELETE FROM tags WHERE subject_id = ? OR subject_id IN (SELECT id FROM step_runs WHERE run_id = ?)",
                (id, id),
            )
            session.run("DELETE FROM runs WHERE id = ?", (id,))

        self._database.write(work)
