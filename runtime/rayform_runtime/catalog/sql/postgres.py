"""PostgreSQL through psycopg 3; lost connections, for instance after a restart of the server, are replaced."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import psycopg
from psycopg import errors
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus
from psycopg.types.string import TextLoader

from rayform_core.errors import PrerequisiteError, RayformError, RemoteError, UsageError
from rayform_runtime.catalog import schema
from rayform_runtime.catalog.config import PostgresConfig
from rayform_runtime.catalog.interface import CatalogBusyError
from rayform_runtime.catalog.secrets import read_password
from rayform_runtime.catalog.sql.database import (
    Database,
    ForeignKeyViolation,
    Row,
    Session,
    UniqueViolation,
    not_text,
)
from rayform_runtime.catalog.tls import root_certificates

if TYPE_CHECKING:
    from rayform_runtime.remote.tunnel import Tunnel

__all__ = ["PostgresDatabase"]

T = TypeVar("T")
RETRY_SECONDS = 30.0
"""How long to wait for a server that has answered before."""
CONNECT_SECONDS = 10
CACHED_IDS = 32_768
"""How many IDs are kept as `UUID` objects, about 6 MB."""

_TRY_AGAIN = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)
_STARTING = (errors.CannotConnectNow, errors.TooManyConnections)


@functools.lru_cache(maxsize=1024)
def _psycopg_sql(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


class _IdLoader(Loader):
    """Reads IDs in a quarter of the time of psycopg's own loader: rows name the same ones again and again."""

    def load(self, data: Buffer) -> UUID:
        text = bytes(data)
        id = _ids.get(text)
        if id is None:
            id = UUID(text.decode())
            if len(_ids) >= CACHED_IDS:
                _ids.clear()
            _ids[text] = id
        return id


class _PostgresSession:
    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self.connection = connection

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return self.connection.execute(_psycopg_sql(sql).encode(), values).fetchall()

    def run(self, sql: str, values: Sequence[object] = ()) -> int:
        return self.connection.execute(_psycopg_sql(sql).encode(), values).rowcount

    def many(self, sql: str, values: Iterable[Sequence[object]]) -> int:
        with self.connection.cursor() as cursor:
            cursor.executemany(_psycopg_sql(sql).encode(), values)
            return cursor.rowcount


class PostgresDatabase(Database):
    """A PostgreSQL database.

    Args:
        config: where the database is and how to sign in.
        retry_seconds: how long to wait for a server that went away, or for locks.
    """

    name = "postgresql"

    def __init__(self, config: PostgresConfig, *, retry_seconds: float = RETRY_SECONDS) -> None:
        super().__init__()
        self.config = config
        self.where = f"Catalog '{config.database}' on '{config.host}:{config.port}'"
        self._retry_seconds = retry_seconds
        # Connections that no thread uses at the moment.
        self._idle: list[_PostgresSession] = []
        # The process that opened the connections; changes in a forked child.
        self._pid = os.getpid()
        # Whether the server has answered; only then is it worth waiting for.
        self._was_there = False
        # Read for the first connection, and again after one was refused.
        self._password: str | None = None
        # Open from the first connection on, if the settings name one.
        self._tunnel: Tunnel | None = None

    def put_id(self, id: UUID) -> UUID:
        return id

    def get_id(self, value: UUID) -> UUID:
        return value

    def within(self, column: str, values: Sequence[object]) -> Iterable[tuple[str, Sequence[object]]]:
        # An array is one value: planning a statement with hundreds of values takes longer than running it.
        if values:
            yield f"{column} = ANY(?)", (list(values),)

    def lock_clause(self) -> str:
        return " FOR UPDATE"

    def _write(self, work: Callable[[Session], T]) -> T:
        def transaction(session: _PostgresSession) -> T:
            session.connection.execute("BEGIN")
            try:
                result = work(session)
                session.connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(psycopg.Error):
                    if session.connection.info.transaction_status != TransactionStatus.IDLE:
                        session.connection.execute("ROLLBACK")
                raise
            return result

        return self._persist(transaction)

    def _read(self, work: Callable[[Session], T]) -> T:
        return self._persist(work)

    def _persist(self, work: Callable[[_PostgresSession], T]) -> T:
        """Call `work` until the server answers, replacing broken connections."""
        self._leave_parents_connections()
        deadline = time.monotonic() + self._retry_seconds
        pause = 0.01
        while True:
            try:
                if not self._ready:
                    self.ensure_schema()
                with self._session() as session:
                    return work(session)
            except UnicodeEncodeError as error:
                raise not_text(error) from error
            except psycopg.Error as error:
                transient = isinstance(error, (*_TRY_AGAIN, *_STARTING)) or (
                    self._was_there and _connection_is_lost(error)
                )
                if not transient or time.monotonic() + pause >= deadline:
                    raise self._explained(error) from error
                if not isinstance(error, _TRY_AGAIN):
                    self._forget_connections()
            time.sleep(pause)
            pause = min(pause * 2, 1.0)

    @contextlib.contextmanager
    def _session(self) -> Iterator[_PostgresSession]:
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._connect()
        try:
            yield session
        finally:
            usable = (
                not session.connection.closed
                and session.connection.info.transaction_status == TransactionStatus.IDLE
                and self._pid == os.getpid()
            )
            if usable:
                self._idle.append(session)
            else:
                session.connection.close()

    def _connect(self) -> _PostgresSession:
        return _PostgresSession(self._open())

    def _open(self) -> psycopg.Connection[Row]:
        config = self.config
        port, hostaddr = config.port, None
        if config.tunnel:
            # `host` stays the server's own name, against which its certificate is checked.
            port, hostaddr = self._tunnel_port(config.tunnel), "127.0.0.1"
        if self._password is None:
            self._password = read_password(config)
        try:
            connection = psycopg.connect(
                host=config.host,
                hostaddr=hostaddr,
                port=port,
                dbname=config.database,
                user=config.user,
                password=self._password,
                sslmode=config.sslmode,
                sslrootcert=root_certificates(config.ca_bundle),
                # A server that asks for the password itself, or for none, isn't the catalog's.
                require_auth=config.require_auth if self._password is not None else None,
                connect_timeout=CONNECT_SECONDS,
                application_name="rayform",
                keepalives_idle=30,
                keepalives_interval=10,
                keepalives_count=3,
                options="-c idle_in_transaction_session_timeout=60000 -c lock_timeout=20000",
                autocommit=True,
            )
        except psycopg.Error:
            self._close_tunnel()
            self._password = None  # it may have changed; the next try reads it again
            raise
        connection.adapters.register_loader("uuid", _IdLoader)
        # JSON is decoded where it is needed, by the same code as SQLite's.
        connection.adapters.register_loader("json", TextLoader)
        connection.prepare_threshold = 2
        connection.prepared_max = 300
        self._was_there = True
        return connection

    def _tunnel_port(self, address: str) -> int:
        with self._opening:
            if self._tunnel is None:
                from rayform_runtime.remote.tunnel import open_tunnel

                self._tunnel = open_tunnel(
                    address,
                    target_host=self.config.host,
                    target_port=self.config.port,
                    ssh_key=self.config.ssh_key,
                    known_hosts=self.config.known_hosts,
                )
            return self._tunnel.local_port

    def _close_tunnel(self) -> None:
        with self._opening:
            tunnel, self._tunnel = self._tunnel, None
            if tunnel is not None:
                tunnel.close()

    def _leave_parents_connections(self) -> None:
        """Give up connections after a fork: a child must not use its parent's, nor close them."""
        if self._pid != os.getpid():
            _abandoned.append((self._idle, self._tunnel))
            self._idle, self._tunnel = [], None
            self._opening = threading.RLock()
            self._pid = os.getpid()

    def _forget_connections(self) -> None:
        while self._idle:
            self._idle.pop().connection.close()

    def ensure_schema(self) -> None:
        self._leave_parents_connections()
        with self._opening:
            if self._ready:
                return
            try:
                with self._session() as session:
                    state = self._state(session)
                    if state == schema.State.EMPTY:
                        state = self._create(session)
            except errors.InsufficientPrivilege as error:
                raise self._explained(error) from error
            if state == schema.State.OLD:
                from rayform_runtime.catalog.migrations.run import migrate

                migrate("postgresql", self._open_for_migration, schema.HEAD)
            self._ready = True

    def _open_for_migration(self) -> psycopg.Connection[Row]:
        connection = self._open()
        connection.autocommit = False
        return connection

    def _state(self, session: Session) -> schema.State:
        tables = {
            row[0]
            for row in session.rows(
                "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
            )
        }
        version = None
        if schema.VERSION_TABLE in tables:
            version = next((row[0] for row in session.rows(schema.READ_VERSION)), None)
        return schema.judge(version, empty=not tables, where=self.where)

    def _create(self, session: _PostgresSession) -> schema.State:
        with session.connection.transaction():
            session.rows("SELECT pg_advisory_xact_lock(?)", (schema.ADVISORY_LOCK,))
            state = self._state(session)
            if state == schema.State.EMPTY:
                for statement in schema.ddl("postgresql"):
                    session.connection.execute(statement.encode())
                state = schema.State.CURRENT
        return state

    def close(self) -> None:
        self._leave_parents_connections()
        self._forget_connections()
        self._close_tunnel()
        self._ready = False

    def _explained(self, error: psycopg.Error) -> Exception:
        if isinstance(error, errors.UniqueViolation):
            return UniqueViolation(error.diag.constraint_name or str(error))
        if isinstance(error, errors.ForeignKeyViolation):
            return ForeignKeyViolation(error.diag.constraint_name or str(error))
        why = f"PostgreSQL says: {' '.join(str(error).split())}."
        if isinstance(error, psycopg.DataError):
            return UsageError("A value can't be kept.", why=why, hint="Nothing was changed.")
        if isinstance(error, errors.LockNotAvailable | errors.DeadlockDetected | errors.SerializationFailure):
            return CatalogBusyError(f"{self.where} is busy.", why=why, hint="Try again.")
        if isinstance(error, errors.DiskFull):
            return PrerequisiteError(
                f"{self.where} can't be written.",
                why=why,
                hint="Give the server more disk; what was committed is kept.",
            )
        if isinstance(error, errors.InsufficientPrivilege | errors.ReadOnlySqlTransaction):
            return RemoteError(
                f"{self.where} refused to write.",
                why=why,
                hint=f"Let user '{self.config.user}' create and write tables there.",
            )
        if isinstance(error, psycopg.OperationalError):
            hint = "Check that the server runs, that this machine reaches it, and that user and password are right."
            text = str(error)
            if "certificate" in text or "root.crt" in text or "SSL error" in text:
                hint = "Set `ca_bundle` to the CA of the server's certificate (`aws-rds` for Amazon RDS)."
            elif "authentication method requirement" in text:
                hint = (
                    "The server asks for the password in another way than `require_auth` says. Let it use "
                    "scram-sha-256; if it really can't, set `require_auth`."
                )
            return RemoteError(
                f"{self.where} can't be reached.",
                why=why,
                hint=hint,
            )
        return RayformError(f"{self.where} refused a statement.", why=why)


def _connection_is_lost(error: psycopg.Error) -> bool:
    """Whether the server went away, rather than refusing a statement."""
    state = error.sqlstate
    lost = state is None or state[:2] in ("08", "57")
    return isinstance(error, psycopg.OperationalError | errors.ReadOnlySqlTransaction) and (
        lost or isinstance(error, errors.ReadOnlySqlTransaction)
    )


_abandoned: list[object] = []
"""Connections of the parent process, which a forked child must never close."""
_ids: dict[bytes, UUID] = {}
