"""Keeps what steps print: in a file on the scheduler's machine, and in the stack's bucket while the step still runs.

A bucket can't append to an object, so a log that has grown is written again every few seconds. The larger it is, the
more seldom: a log of 100 MB costs no more traffic than a small one.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from rayform_runtime.execution.worker.logs import LogFile, local_log_path, log_key

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore

__all__ = ["StepLogs"]

_EVERY = 2.0
_BYTES_A_SECOND = 2 * 1024 * 1024
_log = logging.getLogger("rayform.execution")


class StepLogs:
    """The logs of a run's steps.

    Args:
        store: the bucket for copies; `None` keeps the logs on this machine alone.
    """

    def __init__(self, store: ArtifactStore | None) -> None:
        self._store = store
        self._files: dict[tuple[str, str], LogFile] = {}
        self._dirty: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def uri(self, run_id: str, step_run_id: str) -> str:
        """Return the URI that a step run's log will have."""
        if self._store is None:
            return local_log_path(run_id, step_run_id).as_uri()
        return self._store.uri_of(log_key(run_id, step_run_id))

    def write(self, run_id: str, step_run_id: str, text: str) -> None:
        """Append whole lines to a step run's log."""
        key = (run_id, step_run_id)
        file = self._files.get(key)
        if file is None:
            file = self._files[key] = LogFile(local_log_path(run_id, step_run_id))
        file.write(text.encode() + b"\n")
        if self._store is not None:
            with self._lock:
                self._dirty.setdefault(key, time.monotonic() + _EVERY)
            self._start()

    def end(self, run_id: str, step_run_id: str) -> None:
        """Close a log, and copy the new part of it at once."""
        key = (run_id, step_run_id)
        file = self._files.pop(key, None)
        if file is None:
            return
        file.close()
        with self._lock:
            if key in self._dirty:
                self._dirty[key] = 0.0
        self._wake.set()

    def close(self, timeout: float = 30.0) -> None:
        """Close all logs and wait until they are copied. Idempotent."""
        for key in list(self._files):
            self.end(*key)
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="rayform-logs", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            self._wake.wait(0.5)
            self._wake.clear()
            closing = self._closing
            now = time.monotonic()
            with self._lock:
                due = [key for key, at in self._dirty.items() if closing or at <= now]
                for key in due:
                    del self._dirty[key]
            for key in due:
                self._copy(key)
            if closing and not self._dirty:
                return

    def _copy(self, key: tuple[str, str]) -> None:
        assert self._store is not None
        try:
            data = local_log_path(*key).read_bytes()
            self._store.put_bytes(log_key(*key), data)
        except Exception:  # noqa: BLE001 - a log that can't be copied now must not stop the run
            _log.warning("The log of step run %s was not copied.", key[1], exc_info=True)
            return
        with self._lock:
            if key in self._dirty:
                # It has grown meanwhile: the next copy waits in proportion to the log's size.
                self._dirty[key] = max(self._dirty[key], time.monotonic() + len(data) / _BYTES_A_SECOND)
