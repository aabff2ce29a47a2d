"""Lineage: which step made which version, from which versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.catalog.entities import (
    ArtifactVersion,
    LineageEdge,
    LineageGraph,
    Run,
    StepRun,
)
from rayform_runtime.catalog.sql.artifacts import ArtifactVersions
from rayform_runtime.catalog.sql.columns import RUNS
from rayform_runtime.catalog.sql.database import Database, Session, StoredId
from rayform_runtime.catalog.sql.finder import Finder, Part
from rayform_runtime.catalog.sql.rows import read_run
from rayform_runtime.catalog.sql.runs import RUN_TABLES
from rayform_runtime.catalog.sql.step_runs import StepRuns

__all__ = ["Lineage"]

# `UNION` drops what was reached before. So each version is visited once, however many paths lead to it, and the walk
# ends even if the catalog held a cycle. There is no depth here: pairs of version and depth would be many more.
_UPSTREAM = """WITH RECURSIVE reached (id) AS (SELECT v.id FROM artifact_versions v WHERE v.id = ? UNION
 SELECT i.artifact_version_id FROM reached JOIN artifact_versions v ON v.id = reached.id
 JOIN step_inputs i ON i.step_run_id = v.producer_step_run_id) SELECT id FROM reached"""
# A cached step run used its inputs too, and counts as the maker of the outputs that it took over.
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


class _Use(NamedTuple):
    """A step run's use of a version, as `_USES` selects it.

    Args:
        maker_id: the step run that made the outputs: itself, or the one that a cached step run repeats.
        is_end: whether it completed without outputs.
    """

    version_id: StoredId
    step_id: StoredId
    name: str
    maker_id: StoredId
    is_end: bool


_USE_COLUMNS = {
    "version_id": "i.artifact_version_id",
    "step_id": "i.step_run_id",
    "name": "i.name",
    "maker_id": "COALESCE(s.cached_from, s.id)",
    "is_end": "s.status = 'completed' AND s.output_count = 0",
}
_USES = f"""SELECT {", ".join(_USE_COLUMNS[field] for field in _Use._fields)}
 FROM step_inputs i JOIN step_runs s ON s.id = i.step_run_id WHERE {{}}
 ORDER BY s.started_at, i.step_run_id, i.position"""


class _Reach(NamedTuple):
    """The nodes that a walk reached, and those whose neighbours it visited as well."""

    nodes: set[StoredId]
    passed: set[StoredId]


class Lineage(Part):
    """What versions were made from, and what was made from them."""

    def __init__(
        self, database: Database, finder: Finder, versions: ArtifactVersions, step_runs: StepRuns
    ) -> None:
        super().__init__(database, finder)
        self._versions = versions
        self._step_runs = step_runs

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
            root = self._database.put_id(artifact_version_id)
            if not session.rows("SELECT 1 FROM artifact_versions WHERE id = ?", (root,)):
                raise NotFoundError("artifact version", str(artifact_version_id))
            nothing = _Reach({root}, set())
            above = self._walk(session, root, _UPSTREAM, _PARENTS, depth) if upstream else nothing
            below = self._walk(session, root, _DOWNSTREAM, _CHILDREN, depth) if downstream else nothing
            return self._graph(session, artifact_version_id, above, below)

        return self._database.read(read)

    def _walk(
        self, session: Session, root: StoredId, whole: str, level: tuple[str, str], depth: int | None
    ) -> _Reach:
        if depth is None:
            every = {node for (node,) in session.rows(whole, (root,))}
            return _Reach(every, every)
        sql, column = level
        reached: set[StoredId] = {root}
        passed: set[StoredId] = set()
        edge = reached
        for _ in range(depth):
            neighbours = {
                node
                for test, values in self._database.within(column, list(edge))
                for (node,) in session.rows(sql.format(test), values)
            }
            passed |= edge
            edge = neighbours - reached
            reached |= edge
            if not edge:
                break
        return _Reach(reached, passed)

    def _graph(self, session: Session, root: UUID, above: _Reach, below: _Reach) -> LineageGraph:
        get = self._database.get_id
        versions = self._versions.by_id(session, [get(node) for node in above.nodes | below.nodes])
        outputs: dict[UUID, list[ArtifactVersion]] = {}
        for version in versions.values():
            if version.producer_step_run_id:
                outputs.setdefault(version.producer_step_run_id, []).append(version)
        passed = (versions.get(get(node)) for node in above.passed)
        makers = {version.producer_step_run_id for version in passed if version}
        edges = self._edges(session, versions, outputs, makers, {get(node) for node in below.passed})
        ends = {edge.source for edge in edges} | {edge.target for edge in edges}
        step_runs = {step.id: step for step in self._step_runs.by_id(session, sorted(ends - versions.keys()))}
        runs = self._runs_of(session, step_runs.values())
        return LineageGraph(root, versions, step_runs, runs, tuple(edges))

    def _edges(
        self,
        session: Session,
        versions: Mapping[UUID, ArtifactVersion],
        outputs: Mapping[UUID, Sequence[ArtifactVersion]],
        makers: set[UUID | None],
        used: set[UUID],
    ) -> list[LineageEdge]:
        """Return the edges at the steps that made versions, and at the steps that used versions.

        If many cached step runs repeat one use of a version, only one of them is shown. None is shown if the step
        run that they repeat used that very version itself.

        Args:
            versions: the nodes.
            outputs: the nodes by the step run that made them.
            makers: the step runs that made something on the way up.
            used: the versions whose uses are shown, on the way down.
        """
        get = self._database.get_id
        uses: dict[tuple[UUID, UUID, str], UUID] = {}
        steps: set[UUID | None] = set(makers)
        for test, values in self._database.within(
            "i.artifact_version_id", [self._database.put_id(id) for id in versions]
        ):
            for use in map(_Use._make, session.rows(_USES.format(test), values)):
                version, step, maker = get(use.version_id), get(use.step_id), get(use.maker_id)
                if step == maker:
                    uses[version, maker, use.name] = step
                else:
                    uses.setdefault((version, maker, use.name), step)
                # A step that ended without any output ends a path; other steps are shown with what they made.
                if version in used and (maker in outputs or use.is_end):
                    steps.add(maker)
        edges = []
        shown: dict[UUID, UUID] = {maker: maker for maker in makers if maker is not None}
        for (version, maker, name), step in uses.items():
            if maker in steps:
                edges.append(LineageEdge(version, step, name))
                shown[step] = maker
        for step, maker in shown.items():
            edges += [LineageEdge(step, v.id, v.output_name or "output") for v in outputs.get(maker, ())]
        return edges

    def _runs_of(self, session: Session, steps: Iterable[StepRun]) -> dict[UUID, Run]:
        runs: dict[UUID, Run] = {}
        ids = dict.fromkeys(step.run_id for step in steps)
        for test, values in self._database.within("r.id", [self._database.put_id(id) for id in ids]):
            for row in session.rows(f"SELECT {RUNS.columns()} FROM {RUN_TABLES} WHERE {test}", values):
                run = read_run(row, self._database)
                runs[run.id] = run
        return runs
