"""Who made what from what; and which versions nothing needs any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.catalog.entities import ArtifactVersion, LineageEdge, LineageGraph, PrunePlan, Run
from rayform_runtime.catalog.sql.database import Row, Session, chunks, marks
from rayform_runtime.catalog.sql.rows import (
    RUN_COLUMNS,
    RUN_DETAILS,
    VERSION_COLUMNS,
    microseconds,
    run_record,
    version_record,
)
from rayform_runtime.catalog.sql.steps import StepCatalog

__all__ = ["KEEP_TAG", "LineageCatalog"]

KEEP_TAG = "keep"
"""A version, or an artifact, with this tag is never pruned."""

# `UNION` drops what was reached before, so the walk ends even where the catalog held a cycle, and each version is
# visited once however many ways lead to it. Without a depth, since (version, depth) pairs would be many more.
_UPSTREAM = """WITH RECURSIVE reached (id) AS (SELECT v.id FROM artifact_versions v WHERE v.id = ? UNION
 SELECT i.artifact_version_id FROM reached JOIN artifact_versions v ON v.id = reached.id
 JOIN step_inputs i ON i.step_run_id = v.producer_step_run_id) SELECT id FROM reached"""
# A cached step run used its inputs too, and "made" what it took over.
_DOWNSTREAM = """WITH RECURSIVE reached (id) AS (SELECT v.id FROM artifact_versions v WHERE v.id = ? UNION
 SELECT v.id FROM reached JOIN step_inputs i ON i.artifact_version_id = reached.id
 JOIN step_runs s ON s.id = i.step_run_id
 JOIN artifact_versions v ON v.producer_step_run_id = COALESCE(s.cached_from, s.id)) SELECT id FROM reached"""
_PARENTS = (
    """SELECT i.artifact_version_id FROM artifact_versions v
 JOIN step_inputs i ON i.step_run_id = v.producer_step_run_id WHERE {}""",
    "v.id",
)
_CHILDREN = (
    """SELECT v.id FROM step_inputs i JOIN step_runs s ON s.id = i.step_run_id
 JOIN artifact_versions v ON v.producer_step_run_id = COALESCE(s.cached_from, s.id)
 WHERE {}""",
    "i.artifact_version_id",
)
_INPUT_EDGES = """SELECT i.artifact_version_id, i.step_run_id, i.name, COALESCE(s.cached_from, s.id),
 s.status = 'completed' AND s.output_count = 0 FROM step_inputs i JOIN step_runs s ON s.id = i.step_run_id WHERE {}
 ORDER BY s.started_at, i.step_run_id, i.position"""

_NEEDED_BY_MODEL = """EXISTS (SELECT 1 FROM model_version_artifacts l WHERE l.artifact_version_id = v.id)
 OR EXISTS (SELECT 1 FROM model_version_runs l WHERE l.run_id = v.producer_run_id)
 OR EXISTS (SELECT 1 FROM step_inputs i JOIN step_runs s ON s.id = i.step_run_id
 JOIN model_version_runs l ON l.run_id = s.run_id WHERE i.artifact_version_id = v.id)
 OR EXISTS (SELECT 1 FROM cached_outputs c JOIN step_runs s ON s.id = c.step_run_id
 JOIN model_version_runs l ON l.run_id = s.run_id WHERE c.artifact_version_id = v.id)"""
_NEEDED_BY_RUN = """v.producer_run_id IS NOT NULL
 OR EXISTS (SELECT 1 FROM step_inputs i WHERE i.artifact_version_id = v.id)
 OR EXISTS (SELECT 1 FROM cached_outputs c WHERE c.artifact_version_id = v.id)"""
_NEEDED_BY_LIVE_RUN = """EXISTS (SELECT 1 FROM runs r WHERE r.id = v.producer_run_id
 AND r.status IN ('initializing', 'running'))
 OR EXISTS (SELECT 1 FROM step_inputs i JOIN step_runs s ON s.id = i.step_run_id JOIN runs r ON r.id = s.run_id
 WHERE i.artifact_version_id = v.id AND r.status IN ('initializing', 'running'))
 OR EXISTS (SELECT 1 FROM cached_outputs c JOIN step_runs s ON s.id = c.step_run_id JOIN runs r ON r.id = s.run_id
 WHERE c.artifact_version_id = v.id AND r.status IN ('initializing', 'running'))"""
_TAGGED = (
    f"EXISTS (SELECT 1 FROM tags t WHERE t.subject_id IN (v.id, v.artifact_id) AND t.tag = '{KEEP_TAG}')"
)


@dataclass(frozen=True, slots=True)
class _Reach:
    """What a walk reached, and the nodes that it went on from; at the asked depth it stops."""

    nodes: set[Any]
    passed: set[Any]


class LineageCatalog(StepCatalog):
    """The part of `SQLCatalog` that is about lineage and prune."""

    def lineage(
        self,
        artifact_version_id: UUID,
        *,
        upstream: bool = True,
        downstream: bool = True,
        depth: int | None = None,
    ) -> LineageGraph:
        if depth is not None and depth < 0:
            raise UsageError(
                f"Lineage can't go {depth} steps deep.", hint="Give 0 or more, or nothing for all."
            )

        def read(session: Session) -> LineageGraph:
            root = self._db.put_id(artifact_version_id)
            if not session.rows("SELECT 1 FROM artifact_versions WHERE id = ?", (root,)):
                raise NotFoundError("artifact version", str(artifact_version_id))
            nothing = _Reach({root}, set())
            above = self._walk(session, root, _UPSTREAM, _PARENTS, depth) if upstream else nothing
            below = self._walk(session, root, _DOWNSTREAM, _CHILDREN, depth) if downstream else nothing
            return self._graph(session, artifact_version_id, above, below)

        return self._db.read(read)

    def _walk(
        self, session: Session, root: Any, whole: str, level: tuple[str, str], depth: int | None
    ) -> _Reach:
        if depth is None:
            every = {row[0] for row in session.rows(whole, (root,))}
            return _Reach(every, every)
        sql, column = level
        reached: set[Any] = {root}
        passed: set[Any] = set()
        edge = reached
        for _ in range(depth):
            found = {
                row[0]
                for test, values in self._db.within(column, list(edge))
                for row in session.rows(sql.format(test), values)
            }
            passed |= edge
            edge = found - reached
            reached |= edge
            if not edge:
                break
        return _Reach(reached, passed)

    def _graph(self, session: Session, root: UUID, above: _Reach, below: _Reach) -> LineageGraph:
        get = self._db.get_id
        versions = self._versions_by_id(session, [get(node) for node in above.nodes | below.nodes])
        outputs: dict[UUID, list[ArtifactVersion]] = {}
        for version in versions.values():
            if version.producer_step_run_id:
                outputs.setdefault(version.producer_step_run_id, []).append(version)
        passed = (versions.get(get(node)) for node in above.passed)
        made = {version.producer_step_run_id for version in passed if version}
        edges = self._edges(session, versions, outputs, made, {get(node) for node in below.passed})
        ends = {edge.source for edge in edges} | {edge.target for edge in edges}
        step_runs = {step.id: step for step in self._steps_by_id(session, sorted(ends - versions.keys()))}
        runs = self._runs_of(session, step_runs.values())
        return LineageGraph(root, versions, step_runs, runs, tuple(edges))

    def _edges(
        self,
        session: Session,
        versions: Mapping[UUID, ArtifactVersion],
        outputs: Mapping[UUID, Sequence[ArtifactVersion]],
        made: set[UUID | None],
        used: set[UUID],
    ) -> list[LineageEdge]:
        """Return the edges at the steps that made versions, and at those that used some.

        Of many cached step runs that repeat one use of a version, one is shown, and none where the step run that
        they repeat used that very version itself.

        Args:
            versions: the nodes.
            outputs: those of the nodes that each step run made.
            made: the step runs that made something on the way up.
            used: the versions whose uses are shown, on the way down.
        """
        get = self._db.get_id
        uses: dict[tuple[UUID, UUID, str], UUID] = {}
        steps: set[UUID | None] = set(made)
        for test, values in self._db.within(
            "i.artifact_version_id", [self._db.put_id(id) for id in versions]
        ):
            for row in session.rows(_INPUT_EDGES.format(test), values):
                version, step, name, maker = get(row[0]), get(row[1]), row[2], get(row[3])
                if step == maker:
                    uses[version, maker, name] = step
                else:
                    uses.setdefault((version, maker, name), step)
                # A step that ended without any output is the end of a way; others are shown with what they made.
                if version in used and (maker in outputs or row[4]):
                    steps.add(maker)
        edges = []
        shown: dict[UUID, UUID] = {maker: maker for maker in made if maker is not None}
        for (version, maker, name), step in uses.items():
            if maker in steps:
                edges.append(LineageEdge(version, step, name))
                shown[step] = maker
        for step, maker in shown.items():
            edges += [LineageEdge(step, v.id, v.output_name or "output") for v in outputs.get(maker, ())]
        return edges

    def _runs_of(self, session: Session, steps: Any) -> dict[UUID, Run]:
        found: dict[UUID, Run] = {}
        wanted: list[UUID] = list(dict.fromkeys(step.run_id for step in steps))
        for test, values in self._db.within("r.id", [self._db.put_id(id) for id in wanted]):
            for row in session.rows(
                f"SELECT {RUN_COLUMNS}{RUN_DETAILS} FROM runs r LEFT JOIN run_details d ON d.run_id = r.id "
                f"WHERE {test}",
                values,
            ):
                run = run_record(row, self._db)
                found[run.id] = run
        return found

    def plan_prune(self, *, older_than: datetime | None = None, keep_runs: bool = True) -> PrunePlan:
        needed = [
            _NEEDED_BY_MODEL,
            _TAGGED,
            "v.external",
            _NEEDED_BY_RUN if keep_runs else _NEEDED_BY_LIVE_RUN,
        ]
        test = " AND ".join(f"NOT ({part})" for part in needed)
        values: tuple[Any, ...] = ()
        if older_than is not None:
            test += " AND v.created_at < ?"
            values = (microseconds(older_than),)

        def read(session: Session) -> tuple[list[Row], int]:
            rows = session.rows(
                f"SELECT {VERSION_COLUMNS} FROM artifact_versions v JOIN artifacts a ON a.id = v.artifact_id "
                f"WHERE {test} ORDER BY v.created_at, v.id",
                values,
            )
            return rows, session.rows("SELECT count(*) FROM artifact_versions")[0][0]

        rows, total = self._db.read(read)
        return PrunePlan(tuple(version_record(row, self._db) for row in rows), max(0, total - len(rows)))

    def known_uris(self, uris: Sequence[str]) -> set[str]:
        wanted = [uri for uri in dict.fromkeys(uris) if "\0" not in uri]

        def read(session: Session) -> set[str]:
            return {
                row[0]
                for some in chunks(wanted)
                for row in session.rows(
                    f"SELECT uri FROM artifact_versions WHERE uri IN ({marks(len(some))})", some
                )
            }

        return self._db.read(read)
