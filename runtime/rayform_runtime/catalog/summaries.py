"""Step runs in short: which step runs a list has, and how many of a run's step runs have each status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ["StepChoice", "StepSummary"]


@dataclass(frozen=True, slots=True)
class StepChoice:
    """Which step runs of a run are read; all by default.

    Args:
        keys: of these steps only.
        status: with this status only.
        map_index: this instance of a mapped step only.
        by_index: order them by map index, not by start.
        first: how many to skip.
        limit: how many at most.
    """

    keys: Sequence[str] | None = None
    status: str | None = None
    map_index: int | None = None
    by_index: bool = False
    first: int = 0
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class StepSummary:
    """The step runs of one step that have the same status.

    Args:
        key: the step.
        status: their status.
        is_mapped: whether they are instances of a mapped step.
        count: how many they are.
        ended: how many of them ended.
        attempts: the most tries of one.
        started_at: when the first one began.
        ended_at: when the last one ended.
    """

    key: str
    status: str
    is_mapped: bool
    count: int
    ended: int
    attempts: int
    started_at: datetime | None
    ended_at: datetime | None
