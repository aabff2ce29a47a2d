"""Who the catalog's server is, and how it may ask for the password, by a real server with TLS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from support.servers.postgres import PostgresServer, running_server

from rayform_core.errors import PrerequisiteError, RemoteError, UsageError
from rayform_localstack.supervisor.authority import DatabaseAuthority
from rayform_provisioner.aws.registration import REGIONS_WITH_ROOTS
from rayform_runtime.catalog import tls
from rayform_runtime.catalog.config import PostgresConfig
from rayform_runtime.catalog.sql.catalog import SQLCatalog


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a CA, which the server's certificate comes from."""
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def server(authority: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server with TLS, whose certificate is for 127.0.0.1."""
    with running_server() as running:
        key, certificate = DatabaseAuthority(authority).issue("127.0.0.1")
        running.settings = [
            "ssl=on",
            f"ssl_key_file={running.put('server.key', key)}",
            f"ssl_cert_file={running.put('server.crt', certificate)}",
        ]
        running.stop()
        running.start()
        yield running


@pytest.fixture
def settings(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[dict[str, object]]:
    """The settings of a catalog on the server; the test adds how it is verified."""
    monkeypatch.setenv("RAYFORM_TEST_PASSWORD", server.password)
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    database = server.create_database()
    yield {
        "host": "127.0.0.1",
        "port": server.port,
        "database": database,
        "user": "rayform",
        "password_env": "RAYFORM_TEST_PASSWORD",
    }
    server.drop_database(database)


def check(settings: dict[str, object], **changes: object) -> None:
    """Connect to a catalog with these settings."""
    catalog = SQLCatalog(PostgresConfig.model_validate({**settings, **changes}), stack_name="test")
    try:
        catalog.check()
    finally:
        catalog.close()


def test_a_server_is_verified_by_its_ca_and_name(
    settings: dict[str, object], authority: Path, tmp_path: Path
) -> None:
    """With `verify-full` only the server of that name, with a certificate of that CA, is the catalog's."""
    ca = authority / "database-ca.pem"
    check(settings, sslmode="verify-full", ca_bundle=str(ca))
    check(settings, sslmode="verify-full", ca_bundle=ca.read_text())
    kept = list((tmp_path / "home/cache/certificates").iterdir())
    assert [path.stat().st_mode & 0o777 for path in kept] == [0o600]
    DatabaseAuthority(tmp_path)
    for other in (str(tmp_path / "database-ca.pem"), "aws-rds", "system"):
        with pytest.raises(RemoteError, match="SSL error") as refused:
            check(settings, sslmode="verify-full", ca_bundle=other)
        assert "Set `ca_bundle`" in str(refused.value)
    with pytest.raises(RemoteError, match="does not match host name"):
        check(settings, host="localhost", sslmode="verify-full", ca_bundle=str(ca))


def test_a_wrong_file_of_certificates_is_named(settings: dict[str, object], tmp_path: Path) -> None:
    """A missing file and one without certificates are told before anything is sent."""
    with pytest.raises(PrerequisiteError, match="gone.pem"):
        check(settings, sslmode="verify-full", ca_bundle=str(tmp_path / "gone.pem"))
    (tmp_path / "empty.pem").write_text("none")
    with pytest.raises(UsageError, match="no certificate"):
        check(settings, sslmode="verify-full", ca_bundle=str(tmp_path / "empty.pem"))


@pytest.mark.parametrize("method", ["password", "trust"])
def test_a_server_that_asks_otherwise_gets_no_password(
    settings: dict[str, object], server: PostgresServer, method: str
) -> None:
    """A server that asks for the password itself, or for none, is refused, unless the settings say so."""
    rules = server.folder / "data/pg_hba.conf"
    before = rules.read_bytes()
    server.put("data/pg_hba.conf", f"local all all trust\nhost all all all {method}\n".encode())
    server.stop()
    server.start()
    try:
        with pytest.raises(RemoteError, match="authentication method requirement") as refused:
            check(settings)
        assert "`require_auth`" in str(refused.value)
        check(settings, require_auth={"password": "password", "trust": "none"}[method])
    finally:
        server.put("data/pg_hba.conf", before)
        server.stop()
        server.start()


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
@pytest.mark.parametrize(
    "host", ["db.example.com", "10.0.0.1", "127.0.0.1,db.example.com", "127.0.0.1.example.com", ""]
)
def test_no_server_off_this_machine_is_reached_without_tls(mode: str, host: str) -> None:
    """The weak modes of libpq are for loopback and sockets alone, also behind a tunnel and in lists of hosts."""
    for more in ({}, {"tunnel": "ssh://me@head"}):
        with pytest.raises(ValidationError, match="without TLS"):
            PostgresConfig.model_validate({"host": host, "sslmode": mode, **more})
    for local in ("127.0.0.1", "::1", "localhost", "/run/postgresql"):
        PostgresConfig.model_validate({"host": local, "sslmode": mode})


def test_the_roots_of_rds_come_with_rayform() -> None:
    """Every certificate is a root of RDS that is valid for years, and the provisioner knows the same regions."""
    import datetime

    from cryptography import x509

    text = tls._AWS_FILE.read_text()
    roots = x509.load_pem_x509_certificates(text.encode())
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=5 * 365)
    for root in roots:
        assert root.subject == root.issuer and "Amazon RDS" in root.subject.rfc4514_string()
        root.verify_directly_issued_by(root)
        assert root.not_valid_after_utc > soon
    assert len(roots) > 3 * len(REGIONS_WITH_ROOTS)
    regions = set(re.findall(r"# Amazon RDS ([a-z]+-[a-z]+-\d) Root CA", text))
    assert regions == REGIONS_WITH_ROOTS
