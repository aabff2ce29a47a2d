"""Finds runs whose process died without recording it; every command that shows runs calls it first."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from rayform_runtime.processes.identity import process_started, this_host

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import Run
    from rayform_runtime.catalog.interface import Catalog

__all__ = ["STALE_SECONDS", "is_alive", "mark_dead_runs"]

STALE_SECONDS = 60.0
"""A run of another host counts as dead after this many seconds without a heartbeat."""

_TOLERANCE_SECONDS = 2.0
"""How far two readings of one start time may differ: the clock may be set between them."""


def is_alive(run: Run) -> bool | None:
    """Whether the process that schedules a run lives; `None` if this host can't know."""
    if run.host != this_host() or run.pid is None:
        return None
    started = process_started(run.pid)
    if started is None:
        return False
    return run.pid_started is None or abs(started - run.pid_started) <= _TOLERANCE_SECONDS


def mark_dead_runs(catalog: Catalog, *, stale_seconds: float = STALE_SECONDS) -> list[UUID]:
    """Mark runs whose process is gone as `interrupted`; return their IDs.

    For a run of this host, the process itself decides; for one of another host, its heartbeat. Costs one query if no
    run claims to be running.
    """
    runs = catalog.unfinished_runs()
    if not runs:
        return []
    dead = []
    for run in runs:
        alive = is_alive(run)
        if alive is False:
            dead.append(run.id)
        elif alive:
            # The laptop slept: its heartbeats are old and its process goes on. Beat for it.
            from datetime import UTC, datetime

            last = run.heartbeat_at
            if last is not None and (datetime.now(UTC) - last).total_seconds() > stale_seconds / 2:
                catalog.heartbeat(run.id)
    return catalog.mark_interrupted(stale_seconds=stale_seconds, dead=dead)
