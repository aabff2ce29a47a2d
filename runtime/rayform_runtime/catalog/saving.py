"""Versions that a running step saves by itself, in addition to what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

__all__ = ["FIRST_SAVED", "SavedIn"]

FIRST_SAVED = 10_000
"""Position of the first version that a running step saves by itself, behind all that it returns."""


@dataclass(frozen=True, slots=True)
class SavedIn:
    """The step run that saved a version while it ran, which makes the version one of its outputs.

    Args:
        step_run_id, run_id: the step run, and the run that it belongs to.
        position: how many versions the step run saved before.
    """

    step_run_id: UUID
    run_id: UUID
    position: int
