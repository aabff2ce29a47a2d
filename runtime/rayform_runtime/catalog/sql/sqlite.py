"""SQLite: one file, WAL, every commit on disk before it returns."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from rayform_core.errors import IntegrityError, PrerequisiteError, RayformError, UsageError
from rayform_core.files import file_lock, private_folder, storage_error
from rayform_runtime.catalog import schema
from rayform_runtime.catalog.interface import CatalogBusyError
from rayform_runtime.catalog.sql.database import (
    Database,
    ForeignKeyViolation,
    Row,
    Session,
    UniqueViolation,
    not_text,
)

__all__ = ["SQLiteDatabase"]

T = TypeVar("T")
BUSY_SECONDS = 60.0
"""How long a writer waits for other writers before it gives up; a transaction takes about a millisecond."""
CACHED_IDS = 32_768
"""How many IDs are kept as `UUID` objects, about 6 MB."""

_UNIQUE = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}


class _SQLiteSession:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.pid = os.getpid()
        self._execute = connection.execute

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return self._execute(sql, values).fetchall()

    def run(self, sql: str, values: Sequence[object] = ()) -> int:
        return self._execute(sql, values).rowcount

    def many(self, sql: str, values: Iterable[Sequence[object]]) -> int:
        return self.connection.executemany(sql, values).rowcount


class SQLiteDatabase(Database):
    """A SQLite file.

    Args:
        path: the file; it and its folder are created if they don't exist, readable by their owner only.
        busy_seconds: how long to wait for other writers.
    """

    name = "sqlite"

    def __init__(self, path: str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        super().__init__()
        self.path = Path(path).expanduser()
        if not self.path.is_absolute():
            raise UsageError(f"Catalog path '{path}' is relative.", hint="Give an absolute path.")
        self.where = f"Catalog '{self.path}'"
        self._busy_seconds = busy_seconds
        # Connections that no thread uses at the moment.
        self._idle: list[_SQLiteSession] = []
        # IDs that were read: rows name the same artifacts, runs and steps again and again.
        self._ids: dict[bytes, UUID] = {}
        # Held while a thread of this process writes. SQLite's own waiting, between processes, sleeps.
        self._writing = threading.Lock()
        # The process that opened the connections; changes in a forked child.
        self._pid = os.getpid()
        # The file when it was opened; another one means that it was replaced.
        self._inode = 0

    def put_id(self, id: UUID) -> bytes:
        return id.int.to_bytes(16, "big")  # `id.bytes`, without the property's call

    def get_id(self, value: bytes) -> UUID:
        id = self._ids.get(value)
        if id is not None:
            return id
        # What UUID(bytes=value) does, without its checks: three times as fast, and lists read many.
        id = _new_uuid(UUID)
        _set(id, "int", int.from_bytes(value, "big"))
        _set(id, "is_safe", _UNKNOWN)
        if len(self._ids) >= CACHED_IDS:
            self._ids.clear()
        self._ids[value] = id
        return id

    def _write(self, work: Callable[[Session], T]) -> T:
        if not self._ready:
            self.ensure_schema()
        self._leave_parents_connections()
        deadline = time.monotonic() + self._busy_seconds
        with self._writing:
            self._check_file()
            while True:
                try:
                    return self._with_session(lambda session: self._transaction(session, work))
                except UnicodeEncodeError as error:
                    raise not_text(error) from error
                except sqlite3.Error as error:
                    if _primary_code(error) not in _BUSY or time.monotonic() >= deadline:
                        raise self._explained(error) from error
                    time.sleep(0.01)

    def _transaction(self, session: _SQLiteSession, work: Callable[[Session], T]) -> T:
        session.run("BEGIN IMMEDIATE")
        try:
            result = work(session)
            session.run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                session.connection.rollback()
            raise
        return result

    def _read(self, work: Callable[[Session], T]) -> T:
        if not self._ready:
            self.ensure_schema()
        self._leave_parents_connections()
        try:
            return self._with_session(work)
        except UnicodeEncodeError as error:
            raise not_text(error) from error
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _with_session(self, work: Callable[[_SQLiteSession], T]) -> T:
        """Call `work` with a connection that no other thread uses; it is kept for the next call if it's sound."""
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._connect()
        try:
            result = work(session)
        except sqlite3.DatabaseError as error:
            # After an I/O or corruption error the connection may hold stale pages; a constraint is harmless.
            if isinstance(error, sqlite3.IntegrityError) and session.pid == os.getpid():
                self._idle.append(session)
                raise self._explained(error) from error
            session.connection.close()
            raise
        except BaseException:
            self._idle.append(session)
            raise
        self._idle.append(session)
        return result

    def _connect(self) -> _SQLiteSession:
        connection = sqlite3.connect(
            self.path,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("PRAGMA cache_size=-16000")
        except BaseException:
            connection.close()
            raise
        return _SQLiteSession(connection)

    def _leave_parents_connections(self) -> None:
        """Give up connections and locks after a fork: a child must not close the former; the latter may be held."""
        if self._pid != os.getpid():
            _abandoned.extend(self._idle)
            self._idle = []
            self._writing = threading.Lock()
            self._opening = threading.RLock()
            self._pid = os.getpid()

    def _check_file(self) -> None:
        """Refuse to write to a file that was removed or replaced: what is written to it would be lost."""
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            inode = -1
        if inode != self._inode:
            raise IntegrityError(
                f"{self.where} was removed or replaced while it was in use.",
                hint="Put the file back, or start again to begin with a new catalog.",
            )

    def ensure_schema(self) -> None:
        self._leave_parents_connections()
        with self._opening:
            if self._ready:
                return
            try:
                if not (self.path.exists() and self._is_current()):
                    private_folder(self.path.parent)
                    with file_lock(
                        self.path.with_name(self.path.name + ".lock"), timeout=60, what=f"{self.where}"
                    ):
                        self._create_or_upgrade()
                self._inode = self.path.stat().st_ino
            except OSError as error:
                raise storage_error(error, self.path) from error
            except sqlite3.Error as error:
                raise self._explained(error) from error
            self._ready = True

    def _is_current(self) -> bool:
        return self._with_session(self._state) == schema.State.CURRENT

    def _state(self, session: Session) -> schema.State:
        tables = {row[0] for row in session.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        version = None
        if schema.VERSION_TABLE in tables:
            version = next((r[0] for r in session.rows(schema.READ_VERSION)), None)
        return schema.judge(version, empty=not tables, where=self.where)

    def _create_or_upgrade(self) -> None:
        # Only if it doesn't exist: closing a file drops all locks that this process has on it (POSIX). Another process
        # doesn't see a connection without its lock, and removes the log that the connection reads and writes.
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise storage_error(error, self.path) from error
        if not self._with_session(self._create_or_back_up):
            return
        self._close_idle()
        from rayform_runtime.catalog.migrations.run import migrate

        migrate("sqlite", lambda: self._connect().connection, schema.HEAD)

    def _create_or_back_up(self, session: _SQLiteSession) -> bool:
        """Create the schema in an empty file; return whether it holds an old one, which is backed up first."""
        state = self._state(session)
        if state == schema.State.CURRENT:
            return False
        session.rows("PRAGMA journal_mode=WAL")
        if state == schema.State.EMPTY:
            self._transaction(session, lambda s: [s.run(sql) for sql in schema.ddl("sqlite")])
            return False
        backup = self.path.with_name(f"{self.path.name}.before-{schema.HEAD}")
        if not backup.exists():
            os.close(os.open(backup, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            with contextlib.closing(sqlite3.connect(backup)) as target:
                session.connection.backup(target)
        return True

    def close(self) -> None:
        self._leave_parents_connections()
        self._close_idle()
        self._ready = False

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().connection.close()

    def _explained(self, error: sqlite3.Error) -> Exception:
        if isinstance(error, sqlite3.IntegrityError):
            if getattr(error, "sqlite_errorcode", 0) in _UNIQUE:
                return UniqueViolation(str(error))
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
                return ForeignKeyViolation(str(error))
            return error
        code = _primary_code(error)
        why = f"SQLite says: {error}."
        if code in _BUSY:
            return CatalogBusyError(
                f"{self.where} is busy.",
                why=f"Other processes wrote to it for {self._busy_seconds:.0f} seconds without a pause.",
                hint="Try again. If it is on a network file system, move it to a local disk.",
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return IntegrityError(
                f"{self.where} is damaged, or isn't a catalog.",
                why=why,
                hint="Nothing was changed. Restore the file from a backup, or move it away to begin a new one.",
            )
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return PrerequisiteError(
                f"{self.where} can't be written.",
                why=f"{why} The disk is full or failing.",
                hint="Free some disk space and try again; what was committed is kept.",
            )
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return PrerequisiteError(
                f"{self.where} can't be opened for writing.",
                why=why,
                hint="Make the file and its folder writable for your user, or set RAYFORM_HOME to a folder that is.",
            )
        return RayformError(f"{self.where} refused a statement.", why=why)


def _primary_code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


_abandoned: list[_SQLiteSession] = []
"""Connections of the parent process, which a forked child must never close."""
_new_uuid = object.__new__
_set = object.__setattr__
_UNKNOWN = UUID(int=0).is_safe
