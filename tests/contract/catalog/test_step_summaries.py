"""Parts and summaries of a run's step runs agree with the whole list, on every catalog."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from support.catalogs import Scene

from rayform_core.errors import NotFoundError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import Run, StepFinish, StepRun, StepStart, StepStatus
from rayform_runtime.catalog.sql.catalog import SQLCatalog
from rayform_runtime.catalog.summaries import StepChoice


def filled(scene: Scene, catalog: SQLCatalog, seed: int) -> tuple[Run, list[StepRun]]:
    """Record step runs of plain and mapped steps, some of which ended, and return the run and all of them."""
    chance = random.Random(seed)
    run = scene.run(f"run-{seed}")
    starts = [
        StepStart(new_id(), run.id, key, key, map_index=index, attempt=chance.randint(1, 3))
        for key in ("a", "b", "wide", "z")
        for index in (range(chance.randint(1, 30)) if key == "wide" else [None])
    ]
    chance.shuffle(starts)
    catalog.start_steps(starts)
    ends = (StepStatus.COMPLETED, StepStatus.FAILED)
    catalog.finish_steps(
        [StepFinish(s.id, run.id, chance.choice(ends)) for s in starts if chance.random() < 0.7]
    )
    return run, catalog.list_step_runs(run.id)


@pytest.mark.parametrize("seed", range(4))
def test_a_summary_counts_the_list(scene: Scene, catalog: SQLCatalog, seed: int) -> None:
    """For each step and status: how many, how many ended, the most tries, the first start and the last end."""
    run, steps = filled(scene, catalog, seed)
    summaries = catalog.summarize_steps(run.id)
    assert Counter({(s.key, s.status): s.count for s in summaries}) == Counter(
        (s.key, s.status.value) for s in steps
    )
    for summary in summaries:
        group = [s for s in steps if (s.key, s.status.value) == (summary.key, summary.status)]
        assert summary.is_mapped == (summary.key == "wide")
        assert summary.ended == sum(1 for s in group if s.ended_at)
        assert summary.attempts == max(s.attempt for s in group)
        assert summary.started_at == min((s.started_at for s in group if s.started_at), default=None)
        assert summary.ended_at == max((s.ended_at for s in group if s.ended_at), default=None)


@pytest.mark.parametrize("seed", range(4))
def test_a_choice_is_a_part_of_the_list(scene: Scene, catalog: SQLCatalog, seed: int) -> None:
    """Keys, a status, an index and a page select what the same test selects from the whole list."""
    run, steps = filled(scene, catalog, seed)
    read = catalog.list_step_runs
    assert read(run.id, StepChoice(keys=["a", "z"])) == [s for s in steps if s.key in ("a", "z")]
    assert read(run.id, StepChoice(keys=[])) == []
    assert read(run.id, StepChoice(status="failed")) == [s for s in steps if s.status == "failed"]
    assert read(run.id, StepChoice(map_index=0)) == [s for s in steps if s.map_index == 0]
    assert read(run.id, StepChoice(first=2, limit=5)) == steps[2:7]
    wide = read(run.id, StepChoice(keys=["wide"], by_index=True))
    assert [s.map_index for s in wide] == sorted(s.map_index or 0 for s in steps if s.key == "wide")


def test_an_unknown_run_has_no_list(catalog: SQLCatalog) -> None:
    """A run that doesn't exist is an error for the list, and an empty summary."""
    with pytest.raises(NotFoundError):
        catalog.list_step_runs(new_id(), StepChoice(limit=1))
    assert catalog.summarize_steps(new_id()) == []
