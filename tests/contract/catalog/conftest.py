"""Fixtures: a catalog on each database, and a maker of runs, steps and versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.catalogs import CatalogMaker, Scene
from support.servers.postgres import PostgresServer, running_server

from rayform_runtime.catalog.sql.catalog import SQLCatalog


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for this test session."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_database(postgres_server: PostgresServer) -> str:
    """A database that tests use in turn and leave empty: copying one takes longer than most tests."""
    return postgres_server.create_database()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def maker(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CatalogMaker]:
    """Opens one database as often as a test wants."""
    server = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    if server is not None:
        monkeypatch.setenv("RAYFORM_TEST_PASSWORD", server.password)
    database = request.getfixturevalue("postgres_database") if server else None
    made = CatalogMaker(tmp_path, server, database)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CatalogMaker]:
    """Opens a database without tables, for this test only."""
    server = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    if server is not None:
        monkeypatch.setenv("RAYFORM_TEST_PASSWORD", server.password)
    made = CatalogMaker(tmp_path, server)
    yield made
    made.close()


@pytest.fixture
def catalog(maker: CatalogMaker) -> SQLCatalog:
    """A fresh catalog."""
    return maker.open()


@pytest.fixture
def scene(catalog: SQLCatalog) -> Scene:
    """Creates runs, steps and versions in the catalog with little code."""
    return Scene(catalog)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Callable[[SQLCatalog], list[str]]:
    """Returns a list to which each statement that a catalog executes is added."""

    def watch(catalog: SQLCatalog) -> list[str]:
        from rayform_runtime.catalog.sql.postgres import _PostgresSession
        from rayform_runtime.catalog.sql.sqlite import _SQLiteSession

        seen: list[str] = []
        for session in (_PostgresSession, _SQLiteSession):
            for name in ("rows", "run", "many"):
                original = getattr(session, name)

                def recorded(self, sql, *values, original=original):  # type: ignore[no-untyped-def]
                    seen.append(sql)
                    return original(self, sql, *values)

                monkeypatch.setattr(session, name, recorded)
        return seen

    return watch
