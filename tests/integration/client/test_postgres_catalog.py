"""The client and the commands on a stack whose catalog is a PostgreSQL database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.seeded_stack import seed_training_run
from support.servers.postgres import PostgresServer, running_server

from rayform import stacks
from rayform.reading.client import Client
from rayform.stacks.components import register_component
from rayform_core.errors import RayformError

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    with running_server() as running:
        yield running


@pytest.fixture(autouse=True)
def password(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's password, in the variable that the settings name."""
    monkeypatch.setenv("TEST_DATABASE_PASSWORD", server.password)


def settings(server: PostgresServer, database: str) -> dict[str, object]:
    """Return the settings of a catalog in this database."""
    address = server.address(database)
    return {
        "host": address["host"],
        "port": address["port"],
        "user": address["user"],
        "database": database,
        "password_env": "TEST_DATABASE_PASSWORD",
        "sslmode": "prefer",
    }


def test_stack_on_postgres(server: PostgresServer, project: Path) -> None:
    """Registration reaches the database; runs, artifacts, models and lineage are read from it."""
    config = settings(server, server.create_database())
    register_component("catalog", "pg", flavor="postgres", config=config)
    stacks.register_stack("pg", catalog="pg")
    stacks.set_active_stack("pg")
    client = Client()
    version = client.catalog.create_model_version("digits", metadata={"accuracy": 0.9})
    seeded = seed_training_run(client, model=version.id)
    run = client.get_pipeline_run("train-1")
    assert run.steps["trainer"].outputs["model"].load() == {"weights": [0.5]}
    assert client.get_model_version_by_id(version.id).number == 1
    assert [v.name for v in client.get_lineage(seeded["model"].id).upstream()] == ["data"]
    assert not client.prune_artifacts()
    done = subprocess.run(
        [sys.executable, "-m", "rayform.cli", "runs", "list", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(done.stdout)["items"][0]["name"] == "train-1", done.stderr
    exported = stacks.export_stack("pg")
    assert server.password not in exported
    assert "TEST_DATABASE_PASSWORD" in exported


def test_database_that_isnt_there_isnt_registered(server: PostgresServer, project: Path) -> None:
    """A database that can't be reached isn't registered."""
    config = settings(server, "no_such_database")
    with pytest.raises(RayformError, match="no_such_database"):
        register_component("catalog", "pg", flavor="postgres", config=config)
    assert stacks.stack_names() == ["default"]
