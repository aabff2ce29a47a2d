"""Finds runs whose process died without recording it; every command that shows runs calls it first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import UUID

from rayform_runtime.execution.scheduling.heartbeat import HEARTBEAT_SECONDS
from rayform_runtime.processes.identity import machine_and_boot, process_started, this_host

if TYPE_CHECKING:
    from datetime import datetime

    from rayform_runtime.catalog.entities import Run
    from rayform_runtime.catalog.interface import Catalog

__all__ = ["CONFIRM_SECONDS", "STALE_SECONDS", "is_alive", "mark_dead_runs"]

STALE_SECONDS = 60.0
"""A run of another host is looked at closely after this many seconds without a heartbeat."""

CONFIRM_SECONDS = 3 * HEARTBEAT_SECONDS
"""For how long such a run must then stay silent, on this machine's monotonic clock, before it counts as dead."""

_LOOK_EVERY = 0.25
_TOLERANCE_SECONDS = 0.005
"""How far two readings of one start may differ: half a clock tick, for rounding in a database."""


def is_alive(run: Run) -> bool | None:
    """Whether the process that schedules a run lives; `None` if this host can't know.

    The answer depends on the process's start since boot and on the boot's ID, never on the wall clock.
    """
    if run.host is None or run.pid is None:
        return None
    here = this_host()
    machine, boot = machine_and_boot(run.host)
    this_machine, this_boot = machine_and_boot(here)
    if machine != this_machine:
        return None
    if boot != this_boot:
        # An earlier version of Rayform recorded no boot: only the heartbeat can tell.
        return None if not boot or not this_boot else False
    started = process_started(run.pid)
    if started is None:
        return False
    return run.pid_started is None or abs(started - run.pid_started) <= _TOLERANCE_SECONDS


def mark_dead_runs(
    catalog: Catalog, *, stale_seconds: float = STALE_SECONDS, confirm_seconds: float = CONFIRM_SECONDS
) -> list[UUID]:
    """Mark runs whose process is gone as `interrupted`; return their IDs.

    For a run of this host, the process itself decides. For one of another host, its heartbeat does. The two machines'
    clocks may differ, or be set meanwhile, so an old heartbeat is only a reason to watch: a run that beats again is
    alive, whatever its heartbeats' times are. Costs one query if no run claims to be running, and waits only if a run
    of another host looks dead.

    Args:
        catalog: has the runs.
        stale_seconds: how old the last heartbeat of another host's run may be.
        confirm_seconds: for how long a run with an older one is watched.
    """
    runs = catalog.unfinished_runs()
    if not runs:
        return []
    dead: list[UUID] = []
    silent: dict[UUID, datetime | None] = {}
    for run in runs:
        alive = is_alive(run)
        if alive is False:
            dead.append(run.id)
        elif alive:
            # The laptop slept: its heartbeats are old and its process goes on. Beat for it, so that other hosts
            # see that too.
            if _age(run) > stale_seconds / 2:
                catalog.heartbeat(run.id)
        elif _age(run) > stale_seconds:
            silent[run.id] = run.heartbeat_at
    if silent:
        silent = _still_silent(catalog, silent, confirm_seconds)
    if not dead and not silent:
        return []
    return catalog.mark_interrupted(dead=dead, silent=silent)


def _age(run: Run) -> float:
    """Return how many seconds ago the last heartbeat was, as far as two clocks can tell."""
    if run.heartbeat_at is None:
        return float("inf")
    from datetime import UTC, datetime

    return (datetime.now(UTC) - run.heartbeat_at).total_seconds()


def _still_silent(
    catalog: Catalog, silent: dict[UUID, datetime | None], seconds: float
) -> dict[UUID, datetime | None]:
    """Watch runs for some seconds; return those whose heartbeat stays as it is."""
    end = time.monotonic() + seconds
    while silent and time.monotonic() < end:
        time.sleep(_LOOK_EVERY)
        beats = {run.id: run.heartbeat_at for run in catalog.unfinished_runs()}
        silent = {run: beat for run, beat in silent.items() if run in beats and beats[run] == beat}
    return silent
