"""Tells the catalog that a run's process lives, and hears from it that the run shall stop."""

from __future__ import annotations

import logging
import threading
from uuid import UUID

from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.catalog.interface import Catalog

__all__ = ["HEARTBEAT_SECONDS", "Heartbeat"]

HEARTBEAT_SECONDS = 2.0


class Heartbeat:
    """A thread that beats every `HEARTBEAT_SECONDS` until `stop`.

    A catalog that doesn't answer for a while is no reason to end a run: the thread goes on trying.

    Args:
        catalog: where to.
        run_id: the run.
    """

    def __init__(self, catalog: Catalog, run_id: UUID) -> None:
        self._catalog = catalog
        self._run_id = run_id
        self._ended = threading.Event()
        self.stop_requested = False
        self.taken_over = False
        """Another process runs the run now: this one must write nothing more of it."""
        self._thread = threading.Thread(target=self._beat, name="rayform-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                status = self._catalog.heartbeat(self._run_id)
                if status is RunStatus.STOPPED:
                    self.stop_requested = True
                elif status is RunStatus.INTERRUPTED:
                    self.taken_over = True
            except Exception:
                logging.getLogger("rayform.execution").warning("heartbeat failed", exc_info=True)

    def stop(self) -> None:
        """End the thread; waits for a beat that is under way."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
