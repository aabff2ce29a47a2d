"""Each table's one list of columns: what inserts write, and what entities are read from."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from support.catalogs import Scene

from rayform_core.ids import new_id
from rayform_runtime.catalog.calls import RunCall
from rayform_runtime.catalog.entities import (
    ModelStage,
    RunStatus,
    StepError,
    StepFinish,
    StepStart,
    StepStatus,
    Subject,
    Visualization,
)
from rayform_runtime.catalog.reuse import Reuse
from rayform_runtime.catalog.sql import columns
from rayform_runtime.catalog.sql.catalog import SQLCatalog
from rayform_runtime.catalog.sql.tables import metadata

TABLES: dict[str, columns.Table[Any]] = {
    table.name: table for table in vars(columns).values() if isinstance(table, columns.Table)
}


def test_each_table_has_one_list_of_columns() -> None:
    """The lists name the tables and columns of the schema, in its order, and insert all of them."""
    assert {name: table.names for name, table in TABLES.items()} == {
        table.name: tuple(column.name for column in table.columns) for table in metadata.sorted_tables
    }
    for table in TABLES.values():
        assert table.insert.count("?") == len(table.names)


def test_every_column_is_written_and_read_back(scene: Scene, catalog: SQLCatalog) -> None:
    """In a catalog that is filled through its interface, no column is empty and no entity lacks a value."""
    ids = fill(scene, catalog)
    for table in TABLES.values():
        rows = catalog.database.read(
            lambda session, t=table: session.rows(f"SELECT {', '.join(t.names)} FROM {t.name}")  # type: ignore[misc]
        )
        empty = {name for index, name in enumerate(table.names) if all(row[index] is None for row in rows)}
        assert not empty, f"{table.name} has no value in {empty}"
    run = catalog.get_run(ids["run"])
    for entity in (
        run,
        catalog.get_step_run(ids["step"]),
        catalog.get_artifact("model"),
        catalog.get_artifact_version(ids["version"]),
        catalog.get_model("classifier"),
        catalog.get_model_version(ids["model version"]),
        *catalog.list_stage_changes("classifier"),
    ):
        missing = [f.name for f in fields(entity) if getattr(entity, f.name) in (None, "", (), {}, [])]
        assert missing == MISSING.get(type(entity).__name__, []), type(entity).__name__


# A step run isn't both completed and taken from the cache.
MISSING = {"StepRun": ["cached_from"]}


def fill(scene: Scene, catalog: SQLCatalog) -> dict[str, Any]:
    """Fill every column of the catalog through its interface; return the IDs of complete entities."""
    at = datetime(2026, 1, 2, tzinfo=UTC)
    catalog.create_model("classifier", description="d", license="MIT", tags=["t"], metadata={"a": 1})
    model_version = catalog.create_model_version("classifier", description="d", tags=["t"], metadata={"a": 1})
    catalog.set_model_stage(model_version.id, ModelStage.PRODUCTION, user="ann")
    run = scene.run(
        parameters={"rate": 0.1},
        tags=["t"],
        user="ann",
        code={"git_commit": "abc"},
        environment={"python": "3.11"},
        model_version_id=model_version.id,
        orchestrator_id="job",
    )
    catalog.record_calls(run.id, [RunCall(0, {"key": "train"}, ["load"])])
    loose = scene.saved("input")
    step_id = new_id()
    begin: dict[str, Any] = {
        "run_id": run.id,
        "key": "train",
        "name": "train",
        "map_index": 1,
        "cache_key": "v1",
        "inputs": {"x": [loose.id]},
        "parameters": {"a": 1},
        "resources": {"cpus": 2},
        "source": "steps:train",
        "code_digest": "d" * 64,
        "log_uri": "file:///log",
    }
    catalog.start_steps([StepStart(id=step_id, **begin)])
    output = scene.version(
        "model",
        tags=["t"],
        metadata={"a": 1},
        visualizations=[Visualization("plot", "html", "plot.html")],
        output_name="model",
        external=True,
    )
    error = StepError("ValueError", "m", "t")
    catalog.finish_steps(
        [
            StepFinish(
                step_id, run.id, StepStatus.COMPLETED, [output], metadata={"a": 1}, error=error, ended_at=at,
                model_version_id=model_version.id, reuse=Reuse(["a.py"], {"a.py:f": "d"}, {"at": at}),
            )
        ]
    )  # fmt: skip
    scene.cached(run, "cached", step_id, {"x": [loose.id]})
    artifact = catalog.get_artifact("model")
    catalog.update_tags(Subject.ARTIFACT, artifact.id, add=["t"])
    catalog.log_metadata(Subject.ARTIFACT, artifact.id, {"a": 1})
    catalog.log_metadata(Subject.RUN, run.id, {"a": 1})
    catalog.finish_run(run.id, RunStatus.FAILED, error)
    return {"run": run.id, "step": step_id, "version": output.id, "model version": model_version.id}
