"""Tells the catalog that a run's process lives, and learns from it that the run must end early."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from uuid import UUID

from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.catalog.interface import Catalog

__all__ = ["HEARTBEAT_SECONDS", "Heartbeat", "RunControl"]

HEARTBEAT_SECONDS = 2.0


@dataclass(slots=True)
class RunControl:
    """Why a run must end early. Signals and the heartbeat's thread set it; the loop reads it."""

    stop_requested: bool = False
    """A user asked to stop the run: by Ctrl-C, SIGTERM or a request in the catalog."""
    taken_over: bool = False
    """Another process runs the run now: this one must write nothing more of it."""

    def request_stop(self) -> None:
        """Ask the loop to stop the run."""
        self.stop_requested = True


class Heartbeat:
    """A thread that beats every `HEARTBEAT_SECONDS` inside the `with` block.

    If the catalog doesn't answer for a while, the thread keeps trying: that is no reason to end a run.

    Args:
        catalog: receives the beats.
        run_id: the run.
        control: set if the run must end early.
    """

    def __init__(self, catalog: Catalog, run_id: UUID, control: RunControl) -> None:
        self._catalog = catalog
        self._run_id = run_id
        self._control = control
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="rayform-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread; waits for a beat that is under way."""
        self._ended.set()
        self._thread.join(timeout=5)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                status = self._catalog.heartbeat(self._run_id)
                if status is RunStatus.STOPPED:
                    self._control.request_stop()
                elif status is RunStatus.INTERRUPTED:
                    self._control.taken_over = True
            except Exception:
                logging.getLogger("rayform.execution").warning("heartbeat failed", exc_info=True)
