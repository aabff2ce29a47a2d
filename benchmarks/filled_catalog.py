"""Makes a catalog with many runs and artifact versions quickly, by cloning real rows under new names.

The catalog itself writes one run, one step run and one version. The clones are copies of these rows with other IDs,
names and times, so they look as if the catalog had written them, whatever columns it has.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from rayform.reading.client import Client
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import (
    NewArtifactVersion,
    NewRun,
    RunStatus,
    StepFinish,
    StepStart,
    StepStatus,
)

__all__ = ["clone", "fill", "template"]

ARTIFACTS = 10


def fill(database: Path, runs: int, versions: int) -> tuple[str, str]:
    """Fill the active stack's SQLite catalog, and return an artifact's name and a version's ID in the middle.

    Args:
        database: the catalog's file.
        runs: how many runs.
        versions: how many artifact versions, of ten artifacts.
    """
    with Client() as client:
        _write_originals(client)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-400000")
        run_ids = [new_id().bytes for _ in range(runs - 1)]
        clone(connection, "runs", _runs(connection, run_ids))
        step_ids = [new_id().bytes for _ in run_ids]
        clone(connection, "step_runs", _steps(connection, run_ids, step_ids))
        middle = _fill_versions(connection, versions, run_ids, step_ids)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return f"artifact-{ARTIFACTS // 2}", middle


def _write_originals(client: Client) -> None:
    run_id, step_id = new_id(), new_id()
    catalog = client.catalog
    catalog.create_run(
        NewRun(run_id, "run-0", "pipeline-0", {"name": "p"}, "default", {}, {"rate": 0.1}, ["nightly"])
    )
    catalog.start_steps([StepStart(step_id, run_id, "train", "train", cache_key="k", source="m:train")])
    outputs = []
    for index in range(ARTIFACTS):
        version_id = new_id()
        outputs.append(
            NewArtifactVersion(
                version_id, f"artifact-{index}", f"file:///store/versions/{version_id}", "builtins:dict",
                "rayform_runtime.artifacts.materializers.json_values:JsonMaterializer", "d" * 64, 1000,
                metadata={"rows": 10, "accuracy": 0.9}, output_name=f"o{index}",
            )
        )  # fmt: skip
    catalog.finish_steps([StepFinish(step_id, run_id, StepStatus.COMPLETED, outputs)])
    catalog.finish_run(run_id, RunStatus.COMPLETED)


def template(connection: sqlite3.Connection, table: str, where: str = "1") -> dict[str, Any]:
    """Return a row of a table, by column."""
    cursor = connection.execute(f"SELECT * FROM {table} WHERE {where} LIMIT 1")
    names = [column[0] for column in cursor.description]
    return dict(zip(names, cursor.fetchone(), strict=True))


def clone(connection: sqlite3.Connection, table: str, rows: Iterator[dict[str, Any]]) -> None:
    """Insert rows into a table."""
    first = next(rows, None)
    if first is None:
        return
    names = ", ".join(f'"{name}"' for name in first)
    marks = ", ".join("?" for _ in first)
    statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"
    connection.execute(statement, tuple(first.values()))
    connection.executemany(statement, (tuple(row.values()) for row in rows))


def _runs(connection: sqlite3.Connection, ids: list[bytes]) -> Iterator[dict[str, Any]]:
    original = template(connection, "runs")
    for number, run_id in enumerate(ids, start=1):
        moment = original["created_at"] + number * 1000
        yield {
            **original,
            "id": run_id,
            "name": f"run-{number}",
            "pipeline": f"pipeline-{number % 50}",
            "status": "failed" if number % 10 == 0 else "completed",
            "created_at": moment,
            "started_at": moment,
            "ended_at": moment + 500,
        }


def _steps(
    connection: sqlite3.Connection, run_ids: list[bytes], ids: list[bytes]
) -> Iterator[dict[str, Any]]:
    original = template(connection, "step_runs")
    for number, (run_id, step_id) in enumerate(zip(run_ids, ids, strict=True)):
        yield {**original, "id": step_id, "run_id": run_id, "cache_key": f"k{number}"}


def _fill_versions(
    connection: sqlite3.Connection, versions: int, run_ids: list[bytes], step_ids: list[bytes]
) -> str:
    each = versions // ARTIFACTS
    middle = ""
    for index in range(ARTIFACTS):
        (artifact_id,) = connection.execute(
            "SELECT id FROM artifacts WHERE name = ?", (f"artifact-{index}",)
        ).fetchone()
        original = template(connection, "artifact_versions", f"artifact_id = x'{artifact_id.hex()}'")
        ids = [new_id() for _ in range(each - 1)]
        if index == ARTIFACTS // 2 and ids:
            middle = str(ids[len(ids) // 2])

        def rows(original: dict[str, Any] = original, ids: list[Any] = ids) -> Iterator[dict[str, Any]]:
            for number, version_id in enumerate(ids, start=2):
                owner = number % len(run_ids)
                yield {
                    **original,
                    "id": version_id.bytes,
                    "sequence": number,
                    "number": number,
                    "version": str(number),
                    "uri": f"file:///store/versions/{version_id}",
                    "created_at": original["created_at"] + number * 1000,
                    "producer_run_id": run_ids[owner],
                    "producer_step_run_id": step_ids[owner],
                }

        clone(connection, "artifact_versions", rows())
        connection.execute(
            "UPDATE artifacts SET last_number = ?, last_sequence = ? WHERE id = ?", (each, each, artifact_id)
        )
    return middle
