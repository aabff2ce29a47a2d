"""Many processes and threads at once: numbers stay consecutive, and no writer gets an error about a locked database."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import support.catalog_writers
from support.catalogs import CatalogMaker, Scene

from rayform_core.errors import ConflictError
from rayform_runtime.catalog.entities import ModelStage, Query, RunStatus, StepStatus
from rayform_runtime.catalog.sql.catalog import SQLCatalog

WRITERS = Path(support.catalog_writers.__file__)


def command(maker: CatalogMaker, action: str, count: int) -> list[str]:
    return [sys.executable, str(WRITERS), maker.config.model_dump_json(exclude_none=True), action, str(count)]


def results(maker: CatalogMaker, action: str, count: int) -> list[list[str]]:
    done = subprocess.run(
        command(maker, action, count),
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env=dict(os.environ),
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_sixty_four_processes_make_sixty_four_versions(empty: CatalogMaker) -> None:
    """64 processes save one artifact at once, in a catalog that doesn't exist yet, and get 1 to 64."""
    numbers = [result[0] if isinstance(result, list) else result for result in results(empty, "versions", 64)]
    assert sorted(numbers, key=int) == [str(number) for number in range(1, 65)]


@pytest.mark.slow
def test_ten_runs_at_once_record_everything(maker: CatalogMaker) -> None:
    """Ten runs of twenty steps that run at once are all recorded, with 200 consecutive versions."""
    outcomes = results(maker, "runs", 10)
    assert all(isinstance(outcome, list) for outcome in outcomes), outcomes
    assert sorted(int(n) for outcome in outcomes for n in outcome) == list(range(1, 201))
    catalog = maker.open()
    assert catalog.list_runs(Query(filters={"status": "completed"})).total == 10


def test_a_fork_leaves_the_catalog_usable(maker: CatalogMaker) -> None:
    """Parent and child of a fork both go on with a catalog that was open before."""
    outcomes = results(maker, "fork", 1)
    assert len(outcomes) == 2
    assert sorted(int(n) for outcome in outcomes for n in outcome) == list(range(2, 42))


def test_threads_share_one_catalog(scene: Scene, catalog: SQLCatalog) -> None:
    """Eight threads that save through one catalog object get consecutive numbers."""
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: scene.saved("a").number, range(80)))
    assert sorted(n for n in numbers if n) == list(range(1, 81))


@pytest.mark.fault
@pytest.mark.slow
def test_killed_writers_leave_nothing_half_written(maker: CatalogMaker) -> None:
    """After `kill -9` at random moments every step is recorded whole or not at all, and numbering goes on."""
    chance = random.Random(7)
    for _ in range(4):
        process = subprocess.Popen(
            command(maker, "endless", 3),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=dict(os.environ),
        )
        assert process.stdout is not None
        try:
            for _ in range(3):
                assert process.stdout.readline() == "working\n"
            threading.Event().wait(chance.uniform(0.02, 0.3))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    catalog = maker.open()
    versions = catalog.list_artifact_versions(Query(size=10_000, order="sequence"))
    assert [v.number for v in versions.items] == list(range(1, versions.total + 1))
    assert versions.total > 0
    recorded = {v.producer_step_run_id for v in versions.items}
    for run in catalog.unfinished_runs():
        for step in catalog.list_step_runs(run.id):
            assert (step.status == StepStatus.COMPLETED) == (step.id in recorded)
    dead = [run.id for run in catalog.unfinished_runs()]
    assert set(catalog.mark_interrupted(dead=dead)) == set(dead)
    assert {run.status for run in catalog.list_runs(Query(size=100)).items} == {RunStatus.INTERRUPTED}
    assert Scene(catalog).saved("shared").number == versions.total + 1


def test_concurrent_promotions_leave_one_in_production(catalog: SQLCatalog) -> None:
    """If several versions are promoted at once, one wins; with force they archive each other."""
    versions = [catalog.create_model_version("m") for _ in range(8)]

    def promote(force: bool, id: object) -> bool:
        try:
            catalog.set_model_stage(id, ModelStage.PRODUCTION, force=force)  # type: ignore[arg-type]
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda v: promote(False, v.id), versions)) == 1
        assert sum(pool.map(lambda v: promote(True, v.id), versions)) == 8
    stages = [v.stage for v in catalog.list_model_versions().items]
    assert stages.count(ModelStage.PRODUCTION) == 1
    stage = dict.fromkeys((v.id for v in versions), ModelStage.NONE)
    for change in catalog.list_stage_changes("m"):
        assert stage[change.model_version_id] == change.old
        stage[change.model_version_id] = change.new
        assert list(stage.values()).count(ModelStage.PRODUCTION) <= 1
