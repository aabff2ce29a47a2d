"""What may wait for others to share its commit, and what may not."""

from __future__ import annotations

from uuid import uuid4

import pytest

from rayform_runtime.catalog.entities import StepFinish, StepStart, StepStatus
from rayform_runtime.execution.scheduling.pending_records import PendingRecords


def beginning() -> StepStart:
    return StepStart(id=uuid4(), run_id=uuid4(), key="train", name="train")


def end() -> StepFinish:
    return StepFinish(uuid4(), uuid4(), StepStatus.COMPLETED)


@pytest.fixture
def written() -> list[object]:
    return []


@pytest.fixture
def pending(written: list[object]) -> PendingRecords:
    return PendingRecords(lambda event: None, written.extend)


@pytest.mark.parametrize("seconds", [0.011, 3600.0, -5.0, None])
def test_the_end_of_a_step_that_took_long_is_due_at_once(
    pending: PendingRecords, seconds: float | None
) -> None:
    """A step that took longer than 10 ms, or nobody knows how long, never waits for its commit."""
    pending.add(beginning())
    pending.add(end(), seconds=seconds)
    pending.add(end(), seconds=0.001)
    assert pending.due_in() == 0.0


@pytest.mark.parametrize("change", ["beginning", "end"])
def test_what_is_quickly_done_again_waits_a_little(pending: PendingRecords, change: str) -> None:
    """A beginning, and the end of a step of one millisecond, wait for others, 10 ms at most."""
    if change == "beginning":
        pending.add(beginning())
    else:
        pending.add(end(), seconds=0.001)
    assert pending.due_in() <= 0.01
    assert not pending._is_due


def test_a_commit_empties_what_was_due(pending: PendingRecords, written: list[object]) -> None:
    """After a commit nothing is held, and what comes next has a wait of its own."""
    pending.add(end(), cache_key="key", seconds=None)
    assert pending.holds_any(["key"])
    pending.write()
    assert len(written) == 1
    assert not pending
    assert not pending.holds_any(["key"])
    pending.add(end(), seconds=0.0)
    assert pending.due_in() != 0.0
