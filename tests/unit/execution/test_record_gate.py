"""What a step's first look into the catalog waits for."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from rayform_runtime import record_gate
from rayform_runtime.catalog.sql.catalog import SQLCatalog
from rayform_runtime.record_gate import await_record, catalog_waits_for


def test_the_first_look_waits_and_later_ones_do_not() -> None:
    """It asks until the beginning is recorded, then never again, and asking may look into the catalog itself."""
    answers = iter([False, False, True])

    def is_recorded() -> bool:
        await_record()  # as the catalog that it asks does
        return next(answers)

    with catalog_waits_for(is_recorded):
        await_record()
        await_record()
    assert list(answers) == []


def test_a_catalog_waits_before_it_reads_and_before_it_writes(tmp_path: Path) -> None:
    """Also a catalog that was opened before the step; what the question itself asks of it waits for nothing."""
    catalog = SQLCatalog.in_file(str(tmp_path / "catalog.db"), stack_name="test")
    asked: list[int] = []

    def is_recorded() -> bool:
        asked.append(catalog.list_models().total)
        return len(asked) == 2

    with catalog_waits_for(is_recorded):
        assert catalog.list_models().total == 0
        catalog.create_model("after")
    assert asked == [0, 0]
    with catalog_waits_for(is_recorded):
        asked.clear()
        catalog.create_model("later")
    assert asked == [1, 1]
    catalog.close()


def test_threads_of_the_step_wait_too() -> None:
    """A thread that looks while another one asks goes on only once the answer is yes."""
    asked, recorded, order = threading.Event(), threading.Event(), []

    def is_recorded() -> bool:
        asked.set()
        return recorded.is_set()

    def look(name: str) -> None:
        await_record()
        order.append(name)

    with catalog_waits_for(is_recorded):
        threads = [threading.Thread(target=look, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        assert asked.wait(5)
        assert order == []
        recorded.set()
        for thread in threads:
            thread.join(5)
    assert sorted(order) == ["a", "b"]


def test_outside_of_steps_nothing_waits() -> None:
    """A process that runs no step, and a step that has ended, look at once."""
    await_record()
    with catalog_waits_for(lambda: False):
        pass
    await_record()


def test_a_scheduler_that_is_cut_off_is_told_and_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a while the step goes on with a warning, and isn't held up again."""
    monkeypatch.setattr(record_gate, "LONGEST", 0.01)
    with caplog.at_level(logging.WARNING, "rayform.catalog"), catalog_waits_for(lambda: False):
        await_record()
        await_record()
    assert len(caplog.records) == 1
    assert "may not show yet" in caplog.text


def test_a_thread_that_a_step_left_behind_holds_no_other_step_up() -> None:
    """It stops asking when its step has ended, and the next step keeps a gate of its own."""
    asked, order = threading.Event(), []

    def never() -> bool:
        asked.set()
        return False

    def look() -> None:
        await_record()
        order.append("left behind")

    with catalog_waits_for(never):
        left = threading.Thread(target=look)
        left.start()
        assert asked.wait(5)
    answers = iter([False, True])
    with catalog_waits_for(lambda: next(answers)):
        left.join(5)
        assert order == ["left behind"]
        await_record()
    assert list(answers) == []
