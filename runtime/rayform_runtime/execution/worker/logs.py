"""The logs of steps: where they are kept, and how they are read.

A step's log has one key, `logs/<run>/<step run>.log`. The local orchestrator writes it below `RAYFORM_HOME` while the
step runs. If the stack's store is remote, the log is copied there when the step ends, so that all users of the stack
can read it.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from rayform_core.errors import NotFoundError
from rayform_core.files import home, private_folder, storage_error

if TYPE_CHECKING:
    from uuid import UUID

    from rayform_runtime.artifacts.stores.interface import ArtifactStore

_KEY = re.compile(r"logs/\w[\w-]*/\w[\w-]*\.log", re.ASCII)
"""What `log_key` returns."""

__all__ = ["LocalLogs", "LogFile", "LogUploads", "local_log_path", "log_key", "read_log"]


def log_key(run_id: UUID | str, step_run_id: UUID | str) -> str:
    """Return the key of a step run's log below a store's root."""
    return f"logs/{run_id}/{step_run_id}.log"


def local_log_path(run_id: UUID | str, step_run_id: UUID | str) -> Path:
    """Return where the local orchestrator writes a step run's log."""
    return home() / log_key(run_id, step_run_id)


class LocalLogs:
    """The paths of a run's logs on this machine. The folder is computed once: each step needs it twice.

    Args:
        run_id: the run.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        folder = local_log_path(run_id, "0").parent
        self._folder, self._uri = f"{folder}/", f"{folder.as_uri()}/"

    def path(self, step_run_id: str) -> str:
        """Return the path of a step run's log."""
        return f"{self._folder}{step_run_id}.log"

    def uri(self, step_run_id: str) -> str:
        """Return its `file:` URI."""
        return f"{self._uri}{step_run_id}.log"


class LogFile:
    """A step run's log while it is written. The first output creates the file, which only its owner can read.

    Args:
        path: the file; the output of earlier tries stays in it.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self.is_written = False
        self._descriptor = -1

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._path)

    def write(self, data: bytes) -> None:
        """Append output.

        Raises:
            PrerequisiteError: the disk is full, or the folder can't be written.
        """
        try:
            if self._descriptor < 0:
                private_folder(self.path.parent)
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._descriptor = os.open(self.path, flags, 0o600)
                self.is_written = True
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise storage_error(error, self.path) from error

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class LogUploads:
    """Copies finished logs to a remote store, in a background thread.

    Args:
        store: gets the copies.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[tuple[str, Path] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def uri(self, run_id: str, step_run_id: str) -> str:
        """Return where a log will be."""
        return self._store.uri_of(log_key(run_id, step_run_id))

    def add(self, run_id: str, step_run_id: str, path: Path) -> None:
        """Copy a log soon."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="rayform-logs", daemon=True)
            self._thread.start()
        self._queue.put((log_key(run_id, step_run_id), path))

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            key, path = item
            try:
                self._store.put_bytes(key, path.read_bytes())
            except Exception:
                logging.getLogger("rayform.execution").warning("log %s wasn't kept", key, exc_info=True)

    def finish(self, timeout: float = 30.0) -> None:
        """Wait for the copies that are under way. Idempotent."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout)
            self._thread = None


def read_log(log_uri: str | None, store: ArtifactStore | None, *, start: int = 0) -> bytes:
    """Return a step run's output from byte `start` on; empty if it printed nothing.

    Args:
        log_uri: `StepRun.log_uri`.
        store: the stack's artifact store, for logs that are kept there.
        start: how many bytes have been read already.

    Raises:
        NotFoundError: the log is on another machine, or in another store.
    """
    if log_uri is None:
        return b""
    try:
        parts = urlsplit(log_uri)
    except ValueError:
        raise _no_log(log_uri) from None
    key = store.key_of(log_uri) if store is not None else None
    if key is None and parts.scheme == "file" and parts.netloc in ("", "localhost"):
        path = Path(unquote(parts.path))
        if not _is_log(path):
            raise _no_log(log_uri)
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise storage_error(error, path) from error
    if store is None or key is None or not _KEY.fullmatch(key):
        raise _no_log(log_uri)
    try:
        return store.get_bytes(key, start=start)
    except NotFoundError:
        return b""


def _is_log(path: Path) -> bool:
    """Whether this is a log of this user's local orchestrator: the catalog may name any other file."""
    folder = home() / "logs"
    is_named_so = _KEY.fullmatch("/".join(path.parts[-3:])) is not None
    return is_named_so and path.resolve().is_relative_to(folder.resolve())


def _no_log(log_uri: str) -> NotFoundError:
    return NotFoundError(
        "log",
        log_uri[:300],
        hint="It is no log below this stack's store or this machine's folder of logs. Switch to the stack that ran it.",
    )
