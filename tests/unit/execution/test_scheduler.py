"""What the scheduler decides, with a fake executor and a fake clock against a real catalog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine import each, out, value
from support.scheduling import Bench, FakeExecutor, Lost

from rayform_core.errors import ConflictError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import RunStatus, StepStatus
from rayform_runtime.components import Stack
from rayform_runtime.execution.interface import CodeFacts, StepResult, StepTask
from rayform_runtime.execution.scheduling import heartbeat
from rayform_runtime.spec import PipelineSpec, RetryPolicy


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench.at(tmp_path)
    yield bench
    bench.engine.stack.close()


def fail(task: StepTask) -> object:
    raise ValueError("no good")


def failing(times: int) -> Any:
    tries = iter([fail] * times)
    return lambda task: next(tries, lambda task: 1)(task)


def diamond(bench: Bench) -> PipelineSpec:
    step = bench.engine.step
    return bench.engine.pipeline(
        step("top", "constant"),
        step("left", "add", {"x": out("top")}),
        step("right", "add", {"x": out("top"), "y": value(2)}),
        step("bottom", "add", {"x": out("left"), "y": out("right")}),
    )


# -- ordering -----------------------------------------------------------------------------------------------


def test_a_step_starts_when_the_last_of_its_upstream_has_ended(bench: Bench) -> None:
    """Both branches of a diamond run at once, and the join waits for the later one."""
    executor = bench.executor(choose=lambda count: count - 1)
    outcome = bench.run(diamond(bench), executor)
    assert outcome.status is RunStatus.COMPLETED
    assert executor.log == [
        ("submit", "top"),
        ("end", "top"),
        ("submit", "left"),
        ("submit", "right"),
        ("end", "right"),
        ("end", "left"),
        ("submit", "bottom"),
        ("end", "bottom"),
    ]
    assert executor.closed[0] is False


def test_a_map_starts_all_its_elements_and_joins_when_the_last_has_ended(bench: Bench) -> None:
    """The width is that of the list that the step before it returned."""
    step = bench.engine.step
    spec = bench.engine.pipeline(
        step("list", "numbers", {"count": value(3)}),
        step("each", "square", {"x": each("list")}),
        step("sum", "total", {"values": out("each")}),
    )
    executor = bench.executor({"list": lambda task: [1, 2, 3]})
    outcome = bench.run(spec, executor)
    assert [name for kind, name in executor.log if kind == "submit"] == [
        "list",
        "each[0]",
        "each[1]",
        "each[2]",
        "sum",
    ]
    assert set(bench.engine.statuses(outcome.run_id).values()) == {"completed"}


def test_listeners_get_events_in_order(bench: Bench) -> None:
    """Each step runs before it ends, and both come between the run's own two events."""
    bench.run(diamond(bench), bench.executor())
    events = [(e.step_key, e.step_status or e.run_status) for e in bench.events]
    assert events[0] == (None, RunStatus.RUNNING) and events[-1] == (None, RunStatus.COMPLETED)
    for key in ("top", "left", "right", "bottom"):
        assert [status for k, status in events if k == key] == [StepStatus.RUNNING, StepStatus.COMPLETED]


@settings(max_examples=30)
@given(
    upstream=st.lists(st.sets(st.integers(0, 6), max_size=3), min_size=1, max_size=7),
    failures=st.sets(st.integers(0, 6), max_size=2),
    choices=st.lists(st.integers(0, 6), max_size=14),
)
def test_any_dag_ends_with_every_step_where_it_belongs(
    tmp_path_factory: pytest.TempPathFactory,
    upstream: list[set[int]],
    failures: set[int],
    choices: list[int],
) -> None:
    """Whatever the DAG, the failures and the order of ends: a step runs once after its upstream, or is skipped."""
    bench = Bench.at(tmp_path_factory.mktemp("run"))
    above = [{j for j in js if j < i} for i, js in enumerate(upstream)]
    spec = bench.engine.pipeline(
        *(
            bench.engine.step(f"s{i}", "constant", after=[f"s{j}" for j in js], enable_cache=False)
            for i, js in enumerate(above)
        )
    )
    expected: list[str] = []
    for i, js in enumerate(above):
        runs = all(expected[j] == "completed" for j in js)
        expected.append(("failed" if i in failures else "completed") if runs else "skipped")
    order = iter(choices)
    executor = bench.executor(
        {f"s{i}": fail for i in failures}, choose=lambda count: min(next(order, 0), count - 1)
    )
    outcome = bench.run(spec, executor)
    statuses = bench.engine.statuses(outcome.run_id)
    assert [statuses[f"s{i}"] for i in range(len(above))] == expected
    assert (outcome.status is RunStatus.FAILED) == ("failed" in expected)
    for i, js in enumerate(above):
        if expected[i] != "skipped":
            assert executor.log.count(("submit", f"s{i}")) == 1
            started = executor.log.index(("submit", f"s{i}"))
            assert all(executor.log.index(("end", f"s{j}")) < started for j in js)
    bench.engine.stack.close()


# -- failures and retries -----------------------------------------------------------------------------------


def test_dependents_of_a_failed_step_are_skipped_and_say_why(bench: Bench) -> None:
    """They are never submitted; another branch runs on."""
    executor = bench.executor({"left": fail})
    outcome = bench.run(diamond(bench), executor)
    assert outcome.status is RunStatus.FAILED
    assert list(outcome.errors) == ["left"]
    assert bench.engine.statuses(outcome.run_id) == {
        "top": "completed",
        "left": "failed",
        "right": "completed",
        "bottom": "skipped",
    }
    assert ("submit", "bottom") not in executor.log
    skipped = next(e for e in bench.events if e.step_key == "bottom")
    assert skipped.text == "needs 'left', which failed"


def test_a_retry_waits_for_its_delay_which_grows(bench: Bench) -> None:
    """Two failures with a delay of 10 s and a factor of 3: the tries begin 10 and 30 s after the ends before them."""
    step = bench.engine.step("flaky", "constant", retry=RetryPolicy(max_retries=2, delay=10.0, backoff=3.0))
    executor = bench.executor({"flaky": failing(2)})
    outcome = bench.run(bench.engine.pipeline(step), executor)
    assert outcome.status is RunStatus.COMPLETED
    first, second, third = executor.submitted_at
    assert second - first == pytest.approx(10, abs=0.3)
    assert third - second == pytest.approx(30, abs=0.3)
    assert bench.engine.steps(outcome.run_id)["flaky"].attempt == 3
    assert [e.seconds for e in bench.events if e.step_status is StepStatus.RETRYING] == [10.0, 30.0]
    assert "Try 3 starts in 30 s" in [e.text for e in bench.events if e.kind == "restart"][1]


def test_retries_of_several_steps_come_in_the_order_in_which_they_are_due(bench: Bench) -> None:
    """A short delay overtakes a long one."""
    step = bench.engine.step
    spec = bench.engine.pipeline(
        step("long", "constant", retry=RetryPolicy(max_retries=1, delay=60.0)),
        step("short", "add", retry=RetryPolicy(max_retries=1, delay=1.0)),
    )
    executor = bench.executor({"long": failing(1), "short": failing(1)})
    assert bench.run(spec, executor).status is RunStatus.COMPLETED
    assert [name for kind, name in executor.log if kind == "submit"] == ["long", "short", "short", "long"]


def test_a_step_that_fails_for_good_is_not_tried_more_often_than_its_policy_says(bench: Bench) -> None:
    """One retry makes two tries."""
    step = bench.engine.step("bad", "constant", retry=RetryPolicy(max_retries=1))
    executor = bench.executor({"bad": fail})
    outcome = bench.run(bench.engine.pipeline(step), executor)
    assert outcome.status is RunStatus.FAILED
    assert executor.log.count(("submit", "bad")) == 2


def test_hooks_are_called_for_a_dead_worker_and_for_the_run(bench: Bench) -> None:
    """Their failure message names what ended the step; the run's end waits for them."""

    def die(task: StepTask) -> object:
        raise Lost

    spec = bench.engine.pipeline(
        bench.engine.step("dies", "constant", on_failure=bench.engine.source("on_failure")),
        on_failure=bench.engine.source("broken_hook"),
    )
    executor = bench.executor({"dies": die})
    assert bench.run(spec, executor).status is RunStatus.FAILED
    assert [(hook.step.name, hook.error) for hook in executor.hooks] == [
        ("on_failure", "Crash: It died."),
        ("broken_hook", "Step 'dies': Crash: It died."),
    ]


# -- stop and take-over -------------------------------------------------------------------------------------


def at_wait(executor: FakeExecutor, number: int, act: Any) -> None:
    """Call `act` before the scheduler's n-th wait."""
    waits = iter(range(1, 1000))
    executor.before_wait = lambda: act() if next(waits) == number else None


def test_a_stop_request_ends_what_runs_and_keeps_what_has_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor is killed, steps that ran are stopped, and a resume runs the rest."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.005)
    run_id = new_id()
    catalog = bench.engine.stack.catalog
    spec = diamond(bench)
    executor = bench.executor()
    seen = wait_for_beats(catalog, monkeypatch)

    def stop() -> None:
        catalog.request_stop(run_id)
        seen(RunStatus.STOPPED)

    at_wait(executor, 2, stop)
    outcome = bench.run(spec, executor, run_id=run_id)
    assert outcome.status is RunStatus.STOPPED
    assert executor.closed[0] is True
    statuses = bench.engine.statuses(run_id)
    assert statuses["top"] == "completed" and "stopped" in statuses.values()
    again = bench.executor()
    assert bench.run(spec, again, run_id=run_id, resume=True).status is RunStatus.COMPLETED
    assert ("submit", "top") not in again.log


def wait_for_beats(catalog: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that blocks until a heartbeat has got this answer."""
    import threading

    beat, answers, came = catalog.heartbeat, [], threading.Condition()

    def heartbeat(run_id: UUID) -> RunStatus:
        answer = beat(run_id)
        with came:
            answers.append(answer)
            came.notify_all()
        return answer

    monkeypatch.setattr(catalog, "heartbeat", heartbeat)

    def wait(answer: RunStatus) -> None:
        with came:
            # One more after it: then the thread has passed the first on.
            assert came.wait_for(lambda: answers[:-1].count(answer) > 0, 10)

    return wait


def test_a_run_that_another_process_took_over_is_left_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process ends its workers, writes nothing more, and says so."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.005)
    run_id = new_id()
    catalog = bench.engine.stack.catalog
    other = Stack(bench.engine.stack.spec)
    executor = bench.executor()
    seen = wait_for_beats(catalog, monkeypatch)

    def take_over() -> None:
        other.catalog.mark_interrupted(dead=[run_id])
        other.catalog.restart_run(run_id, host="elsewhere", pid=1, pid_started=1.0)
        seen(RunStatus.INTERRUPTED)

    at_wait(executor, 2, take_over)
    with pytest.raises(ConflictError, match="was taken over by another process"):
        bench.run(diamond(bench), executor, run_id=run_id)
    assert executor.closed == [True]
    run = other.catalog.get_run(run_id)
    assert (run.status, run.host) == (RunStatus.RUNNING, "elsewhere")
    other.close()


def test_a_worker_that_is_lost_after_a_stop_request_is_stopped(bench: Bench) -> None:
    """Ctrl-C ends the workers too: that is no failure of their steps."""
    import os
    import signal

    def die(task: StepTask) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        raise Lost

    run_id = new_id()
    with pytest.raises(KeyboardInterrupt):
        bench.run(
            bench.engine.pipeline(bench.engine.step("s", "constant")),
            bench.executor({"s": die}),
            run_id=run_id,
        )
    assert bench.engine.statuses(run_id) == {"s": "stopped"}
    assert bench.engine.stack.catalog.get_run(run_id).status is RunStatus.STOPPED


# -- what is recorded ---------------------------------------------------------------------------------------


def test_late_facts_about_the_code_are_recorded_after_a_second(bench: Bench) -> None:
    """A long run records them as soon as git has answered, and not once more at its end."""

    class Late:
        polls = 0

        def poll(self) -> CodeFacts | None:
            self.polls += 1
            return CodeFacts(git_commit="abc") if self.polls > 1 else None

        def wait(self) -> CodeFacts:
            pytest.fail("they were recorded before the end")

    def sleep(task: StepTask) -> int:
        bench.clock.sleep(1.5)
        return 1

    outcome = bench.run(
        bench.engine.pipeline(bench.engine.step("s", "constant")),
        bench.executor({"s": sleep}),
        code_soon=Late(),
    )
    assert bench.engine.stack.catalog.get_run(outcome.run_id).code == {"git_commit": "abc"}


def test_a_result_that_the_catalog_refuses_fails_its_step_alone(bench: Bench) -> None:
    """A version name that exists already is that step's failure; the step that ended with it is kept."""
    step = bench.engine.step("named", "constant", enable_cache=False)
    named = step.model_copy(update={"outputs": [step.outputs[0].model_copy(update={"version": "one"})]})
    other = bench.engine.step("other", "add", enable_cache=False)
    spec = bench.engine.pipeline(named, other)
    assert bench.run(spec, bench.executor()).status is RunStatus.COMPLETED
    outcome = bench.run(spec, bench.executor())
    assert bench.engine.statuses(outcome.run_id) == {"named": "failed", "other": "completed"}
    assert outcome.errors["named"].type == "EntityExistsError"


def test_metadata_of_the_run_is_recorded_with_its_step(bench: Bench) -> None:
    """What a step added to its run stands there when the step has ended."""

    def add(task: StepTask) -> StepResult:
        return StepResult(task.step_run_id, StepStatus.COMPLETED, run_metadata={"rows": 7})

    outcome = bench.run(bench.engine.pipeline(bench.engine.step("s", "constant")), bench.executor({"s": add}))
    assert bench.engine.stack.catalog.get_run(outcome.run_id).metadata["rows"] == 7
