"""Servers that restart, go away, or can't be signed in to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.catalogs import CatalogMaker, Scene
from support.servers.postgres import PostgresServer, running_server

from rayform_core.errors import PrerequisiteError, RemoteError, UsageError
from rayform_runtime.catalog.config import PostgresConfig
from rayform_runtime.catalog.sql import postgres
from rayform_runtime.catalog.sql.catalog import SQLCatalog
from rayform_runtime.catalog.sql.postgres import PostgresDatabase
from rayform_runtime.remote import tunnel

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def maker(server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CatalogMaker]:
    monkeypatch.setenv("RAYFORM_TEST_PASSWORD", server.password)
    made = CatalogMaker(tmp_path, server)
    yield made
    made.close()


def changed(maker: CatalogMaker, **changes: Any) -> SQLCatalog:
    assert isinstance(maker.config, PostgresConfig)
    return SQLCatalog(PostgresConfig(**{**maker.config.model_dump(), **changes}), stack_name="test")


@pytest.mark.fault
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_the_server_is_survived(server: PostgresServer, maker: CatalogMaker, mode: str) -> None:
    """A catalog that is in use while its server restarts, or crashes, waits for it and goes on."""
    catalog = maker.open()
    scene = Scene(catalog)
    run = scene.run()
    before = scene.saved("a")
    server.stop(mode)
    starting = threading.Thread(target=server.start)
    starting.start()
    try:
        assert scene.saved("a").number == 2
        scene.step(run)
        assert catalog.get_artifact_version("a", 1) == before
    finally:
        starting.join()


@pytest.mark.fault
def test_a_connection_that_breaks_inside_a_transaction_is_replaced(maker: CatalogMaker) -> None:
    """The transaction is repeated once, on a new connection; what the first try wrote is gone."""
    catalog = maker.open()
    catalog.migrate()
    tries = []

    def work(session: Any) -> None:
        tries.append(1)
        session.run("INSERT INTO tags (subject, tag, subject_id) VALUES ('run', 't', gen_random_uuid())")
        if len(tries) == 1:
            session.rows("SELECT pg_terminate_backend(pg_backend_pid())")

    catalog.database.write(work)
    assert len(tries) == 2
    assert catalog.database.read(lambda s: s.rows("SELECT count(*) FROM tags")) == [(1,)]


@pytest.mark.fault
def test_a_server_that_stays_away_is_not_waited_for_for_ever(
    server: PostgresServer, maker: CatalogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its patience the catalog says that the server can't be reached, and names it."""
    catalog = maker.open()
    catalog.migrate()
    assert isinstance(catalog.database, PostgresDatabase)
    monkeypatch.setattr(catalog.database, "_retry_seconds", 0.3)
    server.stop()
    try:
        with pytest.raises(RemoteError, match=f"127.0.0.1:{server.port}.*can't be reached"):
            catalog.list_runs()
    finally:
        server.start()
    assert catalog.list_runs().total == 0


def test_a_wrong_address_or_password_is_told_at_once(
    server: PostgresServer, maker: CatalogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was never there, a wrong password, and a missing database are remote errors without a wait."""
    monkeypatch.setattr(postgres, "RETRY_SECONDS", 3600.0)
    for changes in ({"port": 1}, {"database": "nope"}, {"user": "nobody-here"}):
        with pytest.raises(RemoteError, match="can't be reached"):
            changed(maker, **changes).check()
    monkeypatch.setenv("RAYFORM_TEST_PASSWORD", "wrong-secret")
    with pytest.raises(RemoteError, match="authentication failed") as caught:
        changed(maker).check()
    assert "wrong-secret" not in str(caught.value)
    monkeypatch.delenv("RAYFORM_TEST_PASSWORD")
    with pytest.raises(PrerequisiteError, match="RAYFORM_TEST_PASSWORD"):
        changed(maker).check()


def test_a_server_without_tls_is_refused_where_tls_is_required(maker: CatalogMaker) -> None:
    """`sslmode` is `require` by default, so a password isn't sent in the clear."""
    with pytest.raises(RemoteError, match="SSL"):
        changed(maker, sslmode="require").check()


def test_text_that_postgres_cannot_keep_is_a_usage_error(maker: CatalogMaker) -> None:
    """NUL in free text is refused clearly."""
    with pytest.raises(UsageError, match="can't be kept"):
        maker.open().create_model("m", description="nul\0")


def test_a_tunnel_is_opened_on_first_use_and_closed(
    server: PostgresServer, maker: CatalogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tunnel set, the catalog connects through its local port and closes it at the end."""
    opened: list[tuple[str, dict[str, Any]]] = []
    closed: list[int] = []

    class OwnTunnel:
        local_port = server.port

        def close(self) -> None:
            closed.append(1)

    def open_tunnel(address: str, **options: Any) -> OwnTunnel:
        opened.append((address, options))
        return OwnTunnel()

    monkeypatch.setattr(tunnel, "open_tunnel", open_tunnel)
    catalog = changed(maker, host="localhost", tunnel="ssh://me@head", ssh_key="/k", port=5432)
    assert opened == []
    assert catalog.list_runs().total == catalog.list_models().total == 0
    expected = {
        "target_host": "localhost",
        "target_port": 5432,
        "ssh_key": "/k",
        "known_hosts": None,
    }
    assert opened == [("ssh://me@head", expected)]
    catalog.close()
    assert closed == [1]
