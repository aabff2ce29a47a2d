"""Finds runs whose process died without saying so; every command that shows runs calls it first."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from rayform_runtime.processes.identity import process_started, this_host

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import Run
    from rayform_runtime.catalog.interface import Catalog

__all__ = ["STALE_SECONDS", "is_alive", "mark_dead_runs"]

STALE_SECONDS = 60.0
"""A run of another host is taken for dead after this long without a heartbeat."""

_TOLERANCE_SECONDS = 2.0
"""The clock that start times are told by may be set meanwhile."""


def is_alive(run: Run) -> bool | None:
    """Whether the process that schedules a run lives; `None` where this host can't tell."""
    if run.host != this_host() or run.pid is None:
        return None
    started = process_started(run.pid)
    if started is None:
        return False
    return run.pid_started is None or abs(started - run.pid_started) <= _TOLERANCE_SECONDS


def mark_dead_runs(catalog: Catalog, *, stale_seconds: float = STALE_SECONDS) -> list[UUID]:
    """Turn runs whose process is gone to `interrupted`; return their IDs.

    On this host the process itself is looked at; of other hosts the heartbeat tells. Costs one query where no
    run claims to be at work.
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
            # A laptop that slept has old heartbeats and a process that goes on: speak for it.
            from datetime import UTC, datetime

            last = run.heartbeat_at
            if last is not None and (datetime.now(UTC) - last).total_seconds() > stale_seconds / 2:
                catalog.heartbeat(run.id)
    return catalog.mark_interrupted(stale_seconds=stale_seconds, dead=dead)
