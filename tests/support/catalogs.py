"""Makes catalogs and their rows for tests."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from support.servers.postgres import USER, PostgresServer

from rayform_core.ids import new_id
from rayform_runtime.catalog.config import PostgresConfig, SQLiteConfig
from rayform_runtime.catalog.entities import (
    ArtifactVersion,
    NewArtifactVersion,
    NewRun,
    Run,
    StepFinish,
    StepStart,
    StepStatus,
)
from rayform_runtime.catalog.sql.catalog import SQLCatalog


class CatalogMaker:
    """Opens catalogs on one database, a new one or `shared`; at the end, closes them and clears the database."""

    def __init__(self, folder: Path, server: PostgresServer | None, shared: str | None = None) -> None:
        self.folder, self.server = folder, server
        self._shared = shared
        self.database = shared or (server.create_database() if server else None)
        self._catalogs: list[SQLCatalog] = []

    @property
    def config(self) -> SQLiteConfig | PostgresConfig:
        """Settings of a catalog on the database."""
        if self.server is None:
            return SQLiteConfig(path=str(self.folder / "catalog" / "catalog.db"))
        return PostgresConfig(
            host="127.0.0.1",
            port=self.server.port,
            database=self.database or "",
            user=USER,
            password_env="RAYFORM_TEST_PASSWORD",
            sslmode="disable",
        )

    def open(self) -> SQLCatalog:
        """Return another catalog object on the same database."""
        catalog = SQLCatalog(self.config, stack_name="test")
        self._catalogs.append(catalog)
        return catalog

    def connect(self) -> Any:
        """Return a bare connection of the driver."""
        if isinstance(self.config, SQLiteConfig):
            import sqlite3

            Path(self.config.path).parent.mkdir(exist_ok=True)
            return sqlite3.connect(self.config.path, isolation_level=None)
        import psycopg

        assert self.server is not None
        return psycopg.connect(**self.server.address(self.database or ""))  # type: ignore[arg-type]

    def close(self) -> None:
        """Close all catalogs; remove the database, or empty a shared one."""
        for catalog in self._catalogs:
            catalog.close()
        if self._shared:
            self._empty()
        elif self.server and self.database:
            self.server.drop_database(self.database)

    def _empty(self) -> None:
        from rayform_runtime.catalog.sql.tables import metadata

        with self.connect() as connection:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
            if not tables:
                return  # the only test so far was refused before its first statement
            for table in reversed(metadata.sorted_tables):
                connection.execute(f"DELETE FROM {table.name}")


class Scene:
    """Fills a catalog."""

    def __init__(self, catalog: SQLCatalog) -> None:
        self.catalog = catalog
        self._count = 0

    def run(self, name: str | None = None, **changes: Any) -> Run:
        """Start a run."""
        self._count += 1
        values: dict[str, Any] = {
            "id": new_id(),
            "name": name or f"run-{self._count}",
            "pipeline": "training",
            "spec": {"name": "training", "steps": [1, 2]},
            "stack_name": "test",
            "stack": {"name": "test"},
            "host": "here",
            "pid": os.getpid(),
            "pid_started": 1.5,
        }
        return self.catalog.create_run(NewRun(**{**values, **changes}))

    def start(self, run: Run, key: str = "train", **changes: Any) -> StepStart:
        """Start a step and return the record of its start."""
        start = StepStart(**{"id": new_id(), "run_id": run.id, "key": key, "name": key, **changes})
        self.catalog.start_steps([start])
        return start

    def version(self, name: str = "model", **changes: Any) -> NewArtifactVersion:
        """Describe a new version without recording it."""
        id = changes.pop("id", None) or new_id()
        values: dict[str, Any] = {
            "id": id,
            "artifact_name": name,
            "uri": f"file:///store/{id}",
            "type": "builtins:int",
            "materializer": "rayform_runtime.artifacts:JSON",
            "digest": "d" * 64,
            "size": 7,
        }
        return NewArtifactVersion(**{**values, **changes})

    def saved(self, name: str = "model", **changes: Any) -> ArtifactVersion:
        """Record a version that no step made."""
        return self.catalog.create_artifact_version(self.version(name, **changes))

    def step(
        self,
        run: Run,
        key: str = "train",
        *,
        inputs: Mapping[str, Sequence[UUID]] | None = None,
        outputs: Sequence[str] = ("model",),
        cache_key: str | None = None,
        **changes: Any,
    ) -> tuple[UUID, list[ArtifactVersion]]:
        """Run a step to its end; returns its ID and its outputs."""
        start = self.start(run, key, inputs=inputs or {}, cache_key=cache_key)
        outputs_of_steps = self.catalog.finish_steps(
            [
                StepFinish(
                    id=start.id,
                    run_id=run.id,
                    status=StepStatus.COMPLETED,
                    outputs=[self.version(name, output_name=name) for name in outputs],
                    **changes,
                )
            ]
        )
        return start.id, outputs_of_steps[0]

    def cached(self, run: Run, key: str, source: UUID, inputs: Mapping[str, Sequence[UUID]]) -> UUID:
        """Record a step whose outputs came from the cache; `source` is the step run that made them."""
        id = new_id()
        self.catalog.record_cached(
            [
                (
                    StepStart(id=id, run_id=run.id, key=key, name=key, inputs=inputs),
                    StepFinish(id=id, run_id=run.id, status=StepStatus.CACHED, cached_from=source),
                )
            ]
        )
        return id
