"""The dashboard over a large catalog: first byte of its pages, a wide map, a large graph, long logs, and its process.

The catalog has 100,000 runs and 1,000,000 step runs, in a temporary folder. Pages are asked for over loopback from a
dashboard in a process of its own, with one connection that is kept.
"""

from __future__ import annotations

import http.client
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.filled_catalog import clone, fill, template
from benchmarks.measuring import row
from rayform.reading.client import Client
from rayform.stacks.open import close_stacks
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import NewRun, RunStatus, StepFinish, StepStart, StepStatus
from rayform_runtime.execution.worker.logs import local_log_path
from rayform_server import process

__all__ = ["run"]

RUNS, STEPS_OF_A_RUN, VERSIONS = 100_000, 10, 100_000
LINES = 1_000_000
PAGES = {
    "overview": "/",
    "runs": "/runs",
    "runs, page 1,000": "/runs?page=1000",
    "runs with status=failed": "/runs?filter=status%3Dfailed",
    "runs with name~=9999": "/runs?filter=name~%3D9999",
    "runs with name~=run": "/runs?filter=name~%3Drun",
    "pipelines": "/pipelines",
    "a pipeline": "/pipeline?name=pipeline-7",
    "a run": "/runs/run-777",
    "artifacts": "/artifacts",
    "versions of an artifact": "/artifact?name=artifact-5",
    "models": "/models",
}


def run() -> list[dict[str, Any]]:
    """Measure everything; return one row for each case."""
    with tempfile.TemporaryDirectory(prefix="rayform-bench-") as folder, _home(Path(folder)):
        database = Path(folder) / "local" / "catalog.db"
        fill(database, RUNS, VERSIONS)
        _add_steps(database)
        _write_wide_runs()
        close_stacks()
        state = process.start_detached(stack="default", port=0)
        try:
            return _measure(state)
        finally:
            process.stop()


def _measure(state: process.Running) -> list[dict[str, Any]]:
    server = psutil.Process(state.pid)
    connection = http.client.HTTPConnection("127.0.0.1", state.port)
    connection.request("GET", state.entrance().removeprefix(state.address))
    answer = connection.getresponse()
    answer.read()
    cookie = (answer.getheader("set-cookie") or "").partition(";")[0]

    def first_byte(path: str) -> float:
        begin = time.perf_counter()
        connection.request("GET", path, headers={"cookie": cookie})
        answer = connection.getresponse()
        seconds = time.perf_counter() - begin
        assert answer.status == 200, path
        answer.read()
        return seconds

    idle = server.memory_info().rss / 1e6
    processor = server.cpu_percent(2.0)
    rows = [
        row("process after its start", [idle], "MB", bar=60),
        row("idle processor", [processor], "%", bar=0.5),
    ]
    for name, path in PAGES.items():
        first_byte(path)
        values = [first_byte(path) * 1000 for _ in range(15)]
        rows.append(row(f"first byte of {name} (100,000 runs, 1,000,000 step runs)", values, "ms", bar=30))
    for name, path, bar in (
        ("a run with a map of 20,000 instances", "/runs/wide", 300),
        ("a run with 2,000 steps", "/runs/steep", 1000),
        ("the graph of 2,000 steps as JSON", "/runs/steep/graph.json", 1000),
        ("a log of 1,000,000 lines, opened", "/runs/wide/logs?step=split", 500),
        ("a log of 1,000,000 lines, searched", "/runs/wide/logs?step=split&q=line%20999999", 1000),
    ):
        rows.append(row(name, [first_byte(path) * 1000 for _ in range(5)], "ms", bar=bar))
    rows.append(row("process after all of this", [server.memory_info().rss / 1e6], "MB"))
    return rows


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    previous = os.environ.get("RAYFORM_HOME")
    os.environ["RAYFORM_HOME"] = str(folder)
    close_stacks()
    try:
        yield
    finally:
        close_stacks()
        if previous is None:
            del os.environ["RAYFORM_HOME"]
        else:
            os.environ["RAYFORM_HOME"] = previous


def _add_steps(database: Path) -> None:
    """Give each run nine more step runs."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        original = template(connection, "step_runs")
        ids = [run_id for (run_id,) in connection.execute("SELECT id FROM runs")]
        rows = (
            {
                **original,
                "id": new_id().bytes,
                "run_id": run_id,
                "key": f"s{n}",
                "name": f"s{n}",
                "cache_key": None,
            }
            for run_id in ids
            for n in range(STEPS_OF_A_RUN - 1)
        )
        clone(connection, "step_runs", rows)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _write_wide_runs() -> None:
    """Write a run with a map of 20,000 instances and a long log, and a run with a graph of 2,000 steps."""
    mapped = {"key": "work", "inputs": {"x": {"kind": "map", "step": "split", "output": "output"}}}
    wide: list[tuple[str, int | None]] = [
        ("split", None),
        *(("work", n) for n in range(20_000)),
        ("join", None),
    ]
    _write("wide", [{"key": "split"}, mapped, {"key": "join", "after": ["work"]}], wide, log_of="split")
    chance = random.Random(1)
    steep = [
        {"key": f"s{n}", "after": [f"s{chance.randrange(max(0, n - 40), n)}" for _ in range(min(n, 2))]}
        for n in range(2_000)
    ]
    _write("steep", steep, [(f"s{n}", None) for n in range(2_000)])


def _write(name: str, spec: list[Any], keys: list[tuple[str, int | None]], log_of: str | None = None) -> None:
    catalog = Client().catalog
    run = NewRun(new_id(), name, name, {"name": name, "steps": spec}, "default", {})
    catalog.create_run(run)
    starts = []
    for key, index in keys:
        step_id, log = new_id(), None
        if key == log_of:
            path = local_log_path(run.id, step_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                "".join(f"line {number} of a long log with some text in it\n" for number in range(LINES))
            )
            log = path.as_uri()
        starts.append(StepStart(step_id, run.id, key, key, map_index=index, log_uri=log))
    for begin in range(0, len(starts), 2_000):
        some = starts[begin : begin + 2_000]
        catalog.start_steps(some)
        catalog.finish_steps([StepFinish(start.id, run.id, StepStatus.COMPLETED) for start in some])
    catalog.finish_run(run.id, RunStatus.COMPLETED)
