"""A private PostgreSQL server for tests: its own folder, a random port on loopback, removed at the end.

The server refuses to run as root, so as root it is run as user `postgres` (or `nobody`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

USER = "rayform"


def find_binaries() -> Path | None:
    """Return the folder of `initdb` and `pg_ctl`: Debian keeps them off PATH."""
    on_path = shutil.which("initdb")
    if on_path and shutil.which("pg_ctl"):
        return Path(on_path).resolve().parent
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return binaries[-1].parent if binaries else None


class PostgresServer:
    """A server that can be stopped and started again on the same port and data."""

    def __init__(self, binaries: Path) -> None:
        self.binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="rayform-pg-"))
        self.password = secrets.token_hex(16)
        self._names = itertools.count(1)
        self._user = _other_user() if os.geteuid() == 0 else None
        if self._user:
            os.chown(self.folder, *self._user)
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        if self._user:
            os.chown(password_file, *self._user)
        self._call(
            "initdb", "-D", str(self.folder / "data"), "-U", USER, "--pwfile", str(password_file),
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip
        self.port = _free_port()
        # Further settings of the server, as `-c` options; used by the next start.
        self.settings: list[str] = []
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        # No test needs PostgreSQL's durability: a crash of the machine may lose the data.
        settings = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder} "
            "-c fsync=off -c full_page_writes=off -c max_connections=150 "
            "-c shared_buffers=32MB -c autovacuum=off"
        )
        settings = " ".join([settings, *(f"-c {setting}" for setting in self.settings)])
        self._call(
            "pg_ctl",
            "-D",
            str(self.folder / "data"),
            "-l",
            str(self.folder / "log"),
            "-o",
            settings,
            "-w",
            "start",
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; mode `immediate` is like a crash."""
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def put(self, name: str, content: bytes) -> Path:
        """Write a file of the server's own into its folder, and return it."""
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        if self._user:
            os.chown(path, *self._user)
        return path

    def create_database(self, template: str | None = None) -> str:
        """Make a database and return its name."""
        name = f"test_{next(self._names)}"
        of = f" TEMPLATE {template}" if template else ""
        with psycopg.connect(**self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}{of}".encode())
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, even if clients are connected to it."""
        with psycopg.connect(**self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())

    def address(self, database: str) -> dict[str, object]:
        """Return the arguments of `psycopg.connect`."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "password": self.password,
            "dbname": database,
        }

    def close(self) -> None:
        """Stop the server and remove its folder."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, program: str, *arguments: str) -> None:
        user = {"user": self._user[0], "group": self._user[1], "extra_groups": []} if self._user else {}
        subprocess.run(
            [str(self.binaries / program), *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            # The server that pg_ctl starts keeps these descriptors, so a pipe would never end.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            **user,
        )


@contextlib.contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Run a server until the context ends."""
    binaries = find_binaries()
    if binaries is None:
        raise RuntimeError("PostgreSQL isn't installed. Run scripts/setup.sh system.")
    server = PostgresServer(binaries)
    try:
        yield server
    finally:
        server.close()


def _other_user() -> tuple[int, int]:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no user 'postgres' or 'nobody'.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
