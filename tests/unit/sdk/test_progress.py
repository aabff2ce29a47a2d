"""The displays of a run."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rayform.launching.execution import progress_for
from rayform.launching.live_progress import LiveProgress
from rayform.launching.progress import PlainProgress, Progress, cache_table, duration
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import RunStatus, StepError, StepStatus
from rayform_runtime.execution.interface import CacheDecision, RunEvent, RunOutcome
from rayform_runtime.spec import OutputSpec, PipelineSpec, SourceRef, StepInput, StepSpec

SOURCE = SourceRef(module="m", qualname="f")
START = datetime(2026, 1, 1, tzinfo=UTC)


def spec(*keys: str) -> PipelineSpec:
    """A chain of steps with one output each."""
    steps = [
        StepSpec(
            key=key,
            name=key,
            source=SOURCE,
            outputs=[OutputSpec(name="output", artifact_name=key)],
            inputs={"x": StepInput(step=keys[i - 1], output="output")} if i else {},
        )
        for i, key in enumerate(keys)
    ]
    return PipelineSpec(name="p", source=SOURCE, steps=steps)


def event(kind: str, key: str | None, at: float, **facts: Any) -> RunEvent:
    return RunEvent(kind=kind, at=START + timedelta(seconds=at), run_id="r", step_key=key, **facts)


def play(progress: Progress, *events: RunEvent, outcome: RunOutcome | None) -> None:
    progress.begin()
    for one in events:
        progress(one)
    progress.finish(outcome)


def a_good_run(progress: Progress) -> None:
    play(
        progress,
        event("step", "load", 0, step_status=StepStatus.RUNNING),
        event("log", "load", 0.1, text="first\nsecond"),
        event("step", "load", 0.5, step_status=StepStatus.COMPLETED, summaries={"output": "3 rows"}),
        event(
            "step",
            "train",
            0.6,
            step_status=StepStatus.CACHED,
            cache=CacheDecision(True, "nothing changed", from_run="earlier-run"),
            summaries={"output": "0.97"},
        ),
        outcome=RunOutcome(new_id(), RunStatus.COMPLETED),
    )


def test_plain_lines_name_steps_logs_and_values() -> None:
    """Not on a terminal each event is a line, and the last outputs stand at the end."""
    out = io.StringIO()
    a_good_run(PlainProgress(spec("load", "train"), "run-1", "default", out))
    lines = out.getvalue().splitlines()
    assert lines[:-2] == [
        "Run run-1 on stack 'default': 2 steps",
        "  load   started",
        "[load] first",
        "[load] second",
        "  load   completed in 0.50 s",
        "  train  cached from run earlier-run",
    ]
    assert lines[-2].startswith("Run run-1 completed")
    assert lines[-1] == "  train  0.97"


def test_a_failed_step_shows_the_persons_traceback() -> None:
    """The traceback that the worker trimmed is shown once, under the step's name."""
    out = io.StringIO()
    error = StepError("ValueError", "no", 'Traceback (most recent call last):\n  File "a.py"\nValueError: no')
    play(
        PlainProgress(spec("load", "train"), "run-1", "default", out),
        event("step", "load", 0, step_status=StepStatus.RUNNING),
        event("step", "load", 1, step_status=StepStatus.FAILED),
        event("step", "train", 1, step_status=StepStatus.SKIPPED),
        outcome=RunOutcome(new_id(), RunStatus.FAILED, errors={"load": error}),
    )
    text = out.getvalue()
    assert "  load   failed after 1.0 s" in text and "  train  skipped" in text
    assert text.count("ValueError: no") == 1
    assert "Run run-1 failed" in text


def test_instances_of_a_wide_map_are_not_all_named() -> None:
    """A thousand instances don't make a thousand lines, but a failed one is always named."""
    out = io.StringIO()
    progress = PlainProgress(spec("load", "train"), "run-1", "default", out)
    for index in range(1000):
        status = StepStatus.FAILED if index == 700 else StepStatus.COMPLETED
        progress(event("step", "train", 1, step_status=status, map_index=index))
    lines = out.getvalue().splitlines()
    assert len(lines) == 21 and any("train[700]" in line for line in lines)


def test_a_wide_maps_end_is_one_line() -> None:
    """Before the next step starts, and at the latest at the run's end, the instances are counted."""
    out = io.StringIO()
    ends = [
        event(
            "step", "work", i, map_index=i, step_status=StepStatus.FAILED if i == 3 else StepStatus.COMPLETED
        )
        for i in range(30)
    ]
    again = [event("step", "last", 42, map_index=i, step_status=StepStatus.COMPLETED) for i in range(25)]
    play(
        PlainProgress(spec("work", "total", "last"), "run-1", "default", out),
        *ends,
        event("step", "total", 40, step_status=StepStatus.RUNNING),
        event("step", "total", 41, step_status=StepStatus.COMPLETED),
        *again,
        outcome=RunOutcome(new_id(), RunStatus.COMPLETED),
    )
    lines = out.getvalue().splitlines()
    assert lines[lines.index("  total  started") - 1] == "  work   29 completed, 1 failed"
    assert "  last   25 completed" in lines
    assert sum("29 completed" in line for line in lines) == 1


def test_cached_instances_of_a_map_are_counted() -> None:
    """Cached instances of a mapped step make one line together."""
    out = io.StringIO()
    cached = [
        event(
            "step",
            "load",
            0,
            step_status=StepStatus.CACHED,
            map_index=i,
            cache=CacheDecision(True, "", from_run="r0"),
        )
        for i in range(5)
    ]
    end = event("step", "train", 0, step_status=StepStatus.RUNNING)
    play(PlainProgress(spec("load", "train"), "run-1", "default", out), *cached, end, *cached, outcome=None)
    lines = out.getvalue().splitlines()
    assert lines[1:] == ["  load   5 cached from run r0", "  train  started"]


def test_the_live_list_redraws_and_ends_with_the_values() -> None:
    """On a terminal the list of steps is drawn by rich, with log lines above it."""
    out = io.StringIO()
    a_good_run(LiveProgress(spec("load", "train"), "run-1", "default", out))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "[load] first" in text
    assert "✓ load  0.50 s" in text and "✓ train from run earlier-run" in text
    assert text.rstrip().endswith("train  0.97")


def test_the_live_list_settles_mapped_steps() -> None:
    """A mapped step takes the state of its instances once what follows goes on, and at the end."""
    progress = LiveProgress(spec("load", "train"), "run-1", "default", io.StringIO())
    for index in range(3):
        progress(event("step", "load", 0, step_status=StepStatus.RUNNING, map_index=index))
    assert progress.status["load"] is StepStatus.RUNNING
    for index in range(3):
        progress(event("step", "load", 1, step_status=StepStatus.COMPLETED, map_index=index))
    progress(event("step", "train", 1, step_status=StepStatus.RUNNING))
    assert progress.status["load"] is StepStatus.COMPLETED
    progress(event("step", "train", 1, step_status=StepStatus.FAILED, map_index=0))
    progress.finish(None)
    assert progress.status["train"] is StepStatus.FAILED


def test_long_pipelines_fit_the_screen() -> None:
    """With more steps than lines, those at work are kept in sight."""
    keys = [f"step_{i}" for i in range(100)]
    progress = LiveProgress(spec(*keys), "run-1", "default", io.StringIO())
    progress(event("step", "step_50", 0, step_status=StepStatus.RUNNING))
    shown = progress._shown(10)
    assert len(shown) == 9 and "step_50" in shown


def test_a_closed_terminal_does_not_end_the_run() -> None:
    """Events are dropped once nobody can see them."""
    out = io.StringIO()
    progress = PlainProgress(spec("load"), "run-1", "default", out)
    out.close()
    progress(event("step", "load", 0, step_status=StepStatus.RUNNING))
    progress(event("step", "load", 0, step_status=StepStatus.COMPLETED))


@pytest.mark.parametrize(
    ("mode", "kind"), [("off", Progress), ("plain", PlainProgress), ("auto", PlainProgress)]
)
def test_the_variable_chooses_how_much_is_shown(
    monkeypatch: pytest.MonkeyPatch, mode: str, kind: type[Progress]
) -> None:
    """`RAYFORM_PROGRESS` chooses; what is no terminal gets plain lines."""
    monkeypatch.setenv("RAYFORM_PROGRESS", mode)
    assert type(progress_for(spec("load"), "r", "default", io.StringIO())) is kind


def test_the_cache_table_says_why() -> None:
    """Each step has a line with hit or miss and the reason."""
    decisions = {
        "load": CacheDecision(True, "nothing changed", from_run="run-0"),
        "train": CacheDecision(False, "its code changed", changed=["code"]),
    }
    assert cache_table(spec("load", "train", "end"), decisions) == [
        "STEP   CACHE  WHY",
        "load   hit    nothing changed (run run-0)",
        "train  miss   its code changed",
        "end    -      it was not reached",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "0.01 s"), (2.34, "2.3 s"), (59.4, "59 s"), (185, "3 min 5 s"), (7500, "2 h 5 min")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    """Short spans have decimals, long ones minutes and hours."""
    assert duration(seconds) == text


def test_many_final_values_are_cut() -> None:
    """After twenty final values only their number is shown."""
    source = StepSpec(key="x", name="x", source=SOURCE)
    steps = [
        source.model_copy(
            update={"key": f"s{i}", "outputs": [OutputSpec(name="output", artifact_name=f"s{i}")]}
        )
        for i in range(30)
    ]
    text = io.StringIO()
    progress = PlainProgress(PipelineSpec(name="p", source=SOURCE, steps=steps), "the-run", "default", text)
    done = [
        event("step", s.key, i, step_status=StepStatus.COMPLETED, summaries={"output": f"value {i}"})
        for i, s in enumerate(steps)
    ]
    play(progress, *done, outcome=RunOutcome(new_id(), RunStatus.COMPLETED, {}, {}))
    assert "value 19" in text.getvalue()
    assert "value 20" not in text.getvalue()
    assert "and 10 more: rayform runs describe the-run" in text.getvalue()


def test_many_failures_are_cut() -> None:
    """The first five failed steps show their tracebacks; for the rest only their number is shown."""
    text = io.StringIO()
    progress = PlainProgress(spec("a"), "the-run", "default", text)
    errors = {f"a[{i}]": StepError("ValueError", f"bad {i}", f"ValueError: bad {i}\n") for i in range(40)}
    play(progress, outcome=RunOutcome(new_id(), RunStatus.FAILED, errors=errors))
    assert "bad 4" in text.getvalue()
    assert "bad 5" not in text.getvalue()
    assert "35 more failed: rayform runs describe the-run" in text.getvalue()
