"""The cost of the catalog: statements on the hot path, look-ups in a large catalog, lineage, many writers.

A few SQLite statements make the large catalog (100,000 runs, 1,000,000 artifact versions) in a temporary folder, in
about 20 seconds. It is removed afterwards. PostgreSQL is measured if its binaries are installed.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.measuring import row
from rayform_core.ids import new_id
from rayform_runtime.catalog.config import PostgresConfig, SQLiteConfig
from rayform_runtime.catalog.entities import (
    NewArtifactVersion,
    NewRun,
    Query,
    Run,
    StepFinish,
    StepStart,
    StepStatus,
)
from rayform_runtime.catalog.sql.catalog import SQLCatalog

__all__ = ["run"]

RUNS, VERSIONS, ARTIFACTS = 100_000, 1_000_000, 500


def run() -> list[dict[str, Any]]:
    """Measure everything; return one row for each case."""
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="rayform-bench-") as folder:
        with opened(Path(folder) / "small.db") as catalog:
            results += measure_hot_path(catalog, "sqlite", bar=0.6)
            results += measure_lists(catalog, "sqlite")
        with opened(Path(folder) / "lineage.db") as catalog:
            results += measure_lineage(catalog, "sqlite")
        results += measure_creation(Path(folder))
        results += measure_large(Path(folder) / "large.db")
    results += measure_postgres()
    return results


def case(
    name: str,
    values: list[float],
    unit: str,
    bar: float | None,
    baseline: list[float] | None = None,
    baseline_name: str = "",
    scale: float = 1.0,
) -> dict[str, Any]:
    """Return the row of one measurement; `scale` converts the values and the baseline to `unit`."""
    typical = statistics.median(baseline) * scale if baseline else None
    scaled = [value * scale for value in values]
    return row(f"catalog: {name}", scaled, unit, bar=bar, baseline=typical, baseline_name=baseline_name)


def milliseconds(work: Callable[[], object], times: int = 7) -> list[float]:
    """Return how many milliseconds each call took."""
    durations = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        durations.append((time.perf_counter() - start) * 1000)
    return durations


@contextlib.contextmanager
def opened(path: Path) -> Iterator[SQLCatalog]:
    """Open the catalog in a file."""
    catalog = SQLCatalog(SQLiteConfig(path=str(path)), stack_name="bench")
    try:
        yield catalog
    finally:
        catalog.close()


def new_run(catalog: SQLCatalog, name: str) -> Run:
    """Start a run."""
    return catalog.create_run(
        NewRun(id=new_id(), name=name, pipeline="bench", spec={"steps": []}, stack_name="bench", stack={})
    )


def version(name: str, **changes: Any) -> NewArtifactVersion:
    """Return a version as a step's output describes it."""
    fresh = new_id()
    fields: dict[str, Any] = {
        "id": fresh,
        "artifact_name": name,
        "uri": f"file:///store/{fresh}",
        "type": "builtins:int",
        "materializer": "rayform_runtime.artifacts.json_values:JSONMaterializer",
        "digest": "d" * 64,
        "size": 100,
        "output_name": "output",
        "metadata": {"value": 1, "length": 3},
    }
    return NewArtifactVersion(**{**fields, **changes})


def bare_commits(folder: Path) -> list[float]:
    """Time two commits of one row each by bare `sqlite3`, equally durable; return milliseconds."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (id BLOB PRIMARY KEY, text TEXT)")

    def two() -> None:
        for _ in range(2):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (?, ?)", (os.urandom(16), "x" * 300))
            connection.execute("COMMIT")

    durations = milliseconds(two, 300)
    connection.close()
    return durations


def measure_hot_path(catalog: SQLCatalog, database: str, bar: float | None) -> list[dict[str, Any]]:
    """Measure a chain of steps, the cache, and a mapped step with 1,000 instances."""
    owner = new_run(catalog, "chain")
    previous: list[UUID] = []
    keys: list[str] = []

    def step() -> None:
        step_id, key = new_id(), f"key-{len(keys)}"
        start = StepStart(
            id=step_id,
            run_id=owner.id,
            key=key,
            name="step",
            cache_key=key,
            inputs={"x": previous},
            parameters={"a": 1},
        )
        catalog.start_steps([start])
        finish = StepFinish(
            id=step_id,
            run_id=owner.id,
            status=StepStatus.COMPLETED,
            outputs=[version(f"bench::step{len(keys) % 50}")],
        )
        previous[:] = [catalog.finish_steps([finish])[0][0].id]
        keys.append(key)

    one = milliseconds(step, 500)
    with tempfile.TemporaryDirectory() as folder:
        baseline = bare_commits(Path(folder)) if database == "sqlite" else None
    results = catalog.find_cached(keys[:50])
    batch = milliseconds(lambda: catalog.find_cached(keys[:50]))
    each = iter(keys * 2)
    single = milliseconds(lambda: catalog.find_cached([next(each)]), 500)
    again = new_run(catalog, "again")

    def take_fifty() -> None:
        pairs = []
        for key, hit in results.items():
            step_id = new_id()
            start = StepStart(
                id=step_id, run_id=again.id, key=key, name="step", cache_key=key, inputs={"x": previous}
            )
            finish = StepFinish(
                id=step_id, run_id=again.id, status=StepStatus.CACHED, cached_from=hit.step_run_id
            )
            pairs.append((start, finish))
        catalog.record_cached(pairs)

    fifty = milliseconds(take_fifty)
    starts = [
        StepStart(id=new_id(), run_id=again.id, key="map", name="map", map_index=i, inputs={"x": previous})
        for i in range(1000)
    ]
    finishes = [
        StepFinish(id=s.id, run_id=again.id, status=StepStatus.COMPLETED, outputs=[version("bench::map")])
        for s in starts
    ]

    def thousand() -> None:
        catalog.start_steps(starts)
        catalog.finish_steps(finishes)

    mapped = milliseconds(thousand, 1)
    idle = milliseconds(catalog.unfinished_runs, 200)
    return [
        case(
            f"one step not cached, {database}",
            one,
            "ms",
            bar,
            baseline,
            "two commits of one row by bare sqlite3",
        ),
        case(f"find_cached, 50 keys at once, {database}", batch, "ms/key", 0.15 if bar else None, scale=0.02),
        case(f"find_cached, one key, {database}", single, "ms", 0.15 if bar else None),
        case(f"record_cached of 50 steps, {database}", fifty, "ms", 10 if bar else None),
        case(
            f"1,000 mapped steps started and finished together, {database}",
            mapped,
            "ms",
            400 if bar else None,
        ),
        case(f"mark_interrupted with nothing to do, {database}", idle, "ms", 0.5 if bar else None),
    ]


def measure_lists(catalog: SQLCatalog, database: str) -> list[dict[str, Any]]:
    """Measure one page of 10,000 small versions with metadata and tags."""
    owner = new_run(catalog, "many")
    for block in range(10):
        starts = [StepStart(id=new_id(), run_id=owner.id, key="many", name="many") for _ in range(1000)]
        catalog.start_steps(starts)
        catalog.finish_steps(
            [
                StepFinish(
                    id=start.id,
                    run_id=owner.id,
                    status=StepStatus.COMPLETED,
                    outputs=[
                        version(
                            f"many-{i % 100}",
                            tags=["nightly", f"block-{block}"],
                            metadata={"rows": i, "columns": ["a", "b"], "mean": 0.5, "name": "x" * 20},
                        )
                    ],
                )
                for i, start in enumerate(starts)
            ]
        )
    everything = Query(filters={"tag": "nightly"}, size=10_000, hydrate=True)
    page = catalog.list_artifact_versions(everything)
    assert len(page.items) == 10_000 and page.items[0].metadata and page.items[0].tags
    listed = milliseconds(lambda: catalog.list_artifact_versions(everything), 5)
    some = Query(filters={"metadata.rows": ["gte:500", "lt:510"]}, size=1000)
    filtered = milliseconds(lambda: catalog.list_artifact_versions(some), 5)
    return [
        case(f"10,000 versions listed with metadata and tags, {database}", listed, "ms", 200),
        case(f"filter 10,000 versions by a metadata range, {database}", filtered, "ms", 200),
    ]


def measure_lineage(catalog: SQLCatalog, database: str) -> list[dict[str, Any]]:
    """Measure 10,000 versions that all come from one: 100 layers of 100, each made from two of the layer before."""
    owner = new_run(catalog, "lineage")
    root = catalog.create_artifact_version(version("raw")).id
    layer = [root] * 100
    for depth in range(100):
        starts = [
            StepStart(
                id=new_id(),
                run_id=owner.id,
                key=f"layer-{depth}",
                name="layer",
                map_index=i,
                inputs={"x": [layer[i], layer[(i + 1) % 100]]},
            )
            for i in range(100)
        ]
        catalog.start_steps(starts)
        outputs = catalog.finish_steps(
            [
                StepFinish(id=s.id, run_id=owner.id, status=StepStatus.COMPLETED, outputs=[version("layer")])
                for s in starts
            ]
        )
        layer = [versions[0].id for versions in outputs]
    graph = catalog.lineage(root)
    assert len(graph.versions) == 10_001 and len(graph.step_runs) == 10_000
    durations = milliseconds(lambda: catalog.lineage(root), 5)
    return [case(f"lineage of 10,000 connected versions, {database}", durations, "s", 1.0, scale=0.001)]


def measure_creation(folder: Path) -> list[dict[str, Any]]:
    """Measure a fresh catalog, and a process that imports the catalog and lists runs."""
    import subprocess

    paths = (folder / f"fresh-{n}.db" for n in range(100))

    def create() -> None:
        with opened(next(paths)) as catalog:
            catalog.migrate()

    def process(code: str) -> list[float]:
        return milliseconds(lambda: subprocess.run([sys.executable, "-c", code], check=True), 7)

    listing = (
        "from rayform_runtime.catalog.sql.catalog import SQLCatalog\n"
        "from rayform_runtime.catalog.config import SQLiteConfig\n"
        f"SQLCatalog(SQLiteConfig(path={str(folder / 'small.db')!r}), stack_name='b').list_runs()"
    )
    return [
        case("create a fresh catalog", milliseconds(create, 20), "ms", 50),
        case("process that lists runs", process(listing), "ms", 250, process("pass"), "bare Python"),
    ]


def fill(path: Path) -> None:
    """Fill the large catalog by a few SQLite statements."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-400000")
    connection.execute("BEGIN")
    start = (time.time_ns() // 1000) - RUNS * 1_000_000
    count = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {} - 1) "
    connection.execute(
        f"INSERT INTO artifacts (id, name, created_at, last_number, last_sequence) {count.format(ARTIFACTS)}"
        f"SELECT randomblob(16), 'artifact-' || i, {start}, {VERSIONS // ARTIFACTS}, {VERSIONS // ARTIFACTS} FROM n"
    )
    ids = [(new_id().bytes, i) for i in range(RUNS)]
    connection.executemany(
        "INSERT INTO runs (id, name, pipeline, status, stack_name, created_at, started_at, ended_at, heartbeat_at, "
        "stop_requested, parameters) VALUES (?1, 'run-' || ?2, 'pipeline-' || (?2 % 20), CASE WHEN ?2 % 10 = 0 "
        f"THEN 'failed' ELSE 'completed' END, 'default', {start} + ?2 * 1000000, {start} + ?2 * 1000000, "
        f"{start} + ?2 * 1000000 + 5, {start} + ?2 * 1000000 + 5, 0, '{{\"rate\":0.1}}')",
        ids,
    )
    connection.executemany(
        "INSERT INTO step_runs (id, run_id, key, name, status, attempt, output_count, started_at, cache_key) "
        f"VALUES (?1, ?2, 'step', 'step', 'completed', 1, 10, {start}, 'key-' || ?3)",
        ((new_id().bytes, run_id, i) for run_id, i in ids),
    )
    artifacts = [row[0] for row in connection.execute("SELECT id FROM artifacts")]
    steps = connection.execute("SELECT id, run_id FROM step_runs").fetchall()
    connection.executemany(
        "INSERT INTO artifact_versions (id, artifact_id, sequence, version, number, type, artifact_type, materializer, "
        "uri, digest, size, created_at, producer_step_run_id, producer_run_id, output_name, output_position, external, "
        "metadata) VALUES (?1, ?2, ?3, ?3, ?3, 'builtins:int', 'data', 'm:M', 'file:///' || hex(?1), hex(?1), 10, "
        f"{start} + ?4, ?5, ?6, 'output', 0, 0, '{{\"value\":1}}')",
        (
            (new_id().bytes, artifacts[i % ARTIFACTS], i // ARTIFACTS + 1, i * (RUNS * 1_000_000 // VERSIONS))
            + steps[i // (VERSIONS // RUNS)]
            for i in range(VERSIONS)
        ),
    )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def measure_large(path: Path) -> list[dict[str, Any]]:
    """Measure look-ups in a catalog with 100,000 runs and 1,000,000 versions, each on a fresh connection."""
    with opened(path) as catalog:
        catalog.migrate()
    fill(path)
    with opened(path) as catalog:
        middle = catalog.list_artifact_versions(Query(page=5000, size=100)).items[0]
        lookups: dict[str, Callable[[SQLCatalog], object]] = {
            "first page of runs": lambda c: c.list_runs(),
            "failed runs of one pipeline": lambda c: c.list_runs(
                Query(filters={"status": "failed", "pipeline": "pipeline-10"})
            ),
            "pipelines": lambda c: c.list_pipelines(),
            "run by name": lambda c: c.get_run("run-50000"),
            "latest version by name": lambda c: c.get_artifact_version("artifact-7"),
            "version by UUID": lambda c: c.get_artifact_version(middle.id),
            "version by prefix of its UUID": lambda c: c.get_artifact_version(str(middle.id)[:-4]),
            "first page of versions": lambda c: c.list_artifact_versions(),
            "first page of one artifact's versions": lambda c: c.list_artifact_versions(
                Query(filters={"name": "artifact-7"})
            ),
            "first page of artifacts": lambda c: c.list_artifacts(),
            "lineage of one version": lambda c: c.lineage(middle.id),
            "find_cached": lambda c: c.find_cached(["key-500"]),
        }
        results = []
        for name, look in lookups.items():

            def fresh(look: Callable[[SQLCatalog], object] = look) -> None:
                catalog.close()
                look(catalog)

            results.append(case(f"1,000,000 versions: {name}", milliseconds(fresh, 5), "ms", 50))
    return results


def measure_postgres() -> list[dict[str, Any]]:
    """Measure the hot path, lists and lineage on a private PostgreSQL server, if PostgreSQL is installed."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.servers.postgres import USER, find_binaries, running_server

    if find_binaries() is None:
        return []
    results = []
    with running_server() as server:
        os.environ["RAYFORM_BENCH_PASSWORD"] = server.password
        for measure in (measure_hot_path, measure_lists, measure_lineage):
            config = PostgresConfig(
                host="127.0.0.1",
                port=server.port,
                database=server.create_database(),
                user=USER,
                password_env="RAYFORM_BENCH_PASSWORD",
                sslmode="disable",
            )
            catalog = SQLCatalog(config, stack_name="bench")
            if measure is measure_hot_path:
                results += measure_hot_path(catalog, "postgres", None)
            else:
                results += measure(catalog, "postgres")  # type: ignore[operator]
            catalog.close()
    return results


if __name__ == "__main__":
    for entry in run():
        print(entry)
