"""The Ray executor on a real local Ray, with stand-in worker functions."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.ray_steps import task

from rayform_core.errors import UsageError
from rayform_runtime.catalog.entities import StepStatus
from rayform_runtime.execution.interface import RunEvent, StepResult, StepTask
from rayform_runtime.execution.on_ray import tasks
from rayform_runtime.execution.on_ray.messages import Printed
from rayform_runtime.spec import PipelineSpec, Resources, SourceRef, StepSpec

pytestmark = [
    pytest.mark.ray,
    # Ray leaves its own sockets and files to the interpreter's end.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def executor():
    from rayform_runtime.execution.on_ray.executor import RayExecutor

    tests = str(Path(__file__).parents[2])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = tests
    ray_executor = RayExecutor(entry="support.ray_steps:run", cpus=2)
    yield ray_executor
    ray_executor.close(kill=True)
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def collect(executor, ids, timeout=60.0):
    """Wait for these tasks' results; return all that happened, in order."""
    happened, left = [], set(ids)
    deadline = time.monotonic() + timeout
    while left:
        assert time.monotonic() < deadline, f"no result for {left}; got {happened}"
        for item in executor.wait(1.0):
            happened.append(item)
            if isinstance(item, StepResult):
                left.discard(item.step_run_id)
    return happened


def run_one(executor, submitted, **options):
    executor.submit(submitted)
    happened = collect(executor, [submitted.step_run_id], **options)
    return happened, next(i for i in happened if isinstance(i, StepResult))


def pipeline(**resources):
    source = SourceRef(module="m", qualname="f")
    step = StepSpec(key="train", name="train", source=source, resources=Resources(**resources))
    return PipelineSpec(name="p", source=source, steps=[step])


def test_a_task_starts_prints_and_ends_in_that_order(executor):
    """The start comes first, then every line from Python, libraries and stderr, then the result."""
    submitted = task(act="print")
    happened, result = run_one(executor, submitted)
    assert result.status is StepStatus.COMPLETED
    kinds = [type(i).__name__ for i in happened if not (isinstance(i, RunEvent) and i.kind == "phase")]
    assert kinds[0] == "StepTask" and kinds[-1] == "StepResult"
    lines = {
        line for i in happened if isinstance(i, RunEvent) and i.kind == "log" for line in i.text.splitlines()
    }
    assert lines == {"to stdout", "to stderr", "from a library"}


def test_a_result_waits_for_the_lines_that_were_sent_before_it(executor, monkeypatch):
    """Lines that are still on their way when Ray has the result come before it."""
    monkeypatch.setattr(tasks, "_END_OF_LINES", 60.0)
    pass_on, held = executor._line._on_message, []

    def slow(number, message):
        is_output = isinstance(message.content, Printed)
        held.append((number, message)) if is_output else pass_on(number, message)

    monkeypatch.setattr(executor._line, "_on_message", slow)
    submitted = task(act="print")
    executor.submit(submitted)
    happened = []
    deadline = time.monotonic() + 60
    while executor._tasks[submitted.step_run_id].attempt.outcome is None:
        assert time.monotonic() < deadline
        happened += executor.wait(0.1)
    happened += executor.wait(0.2)
    assert held and not [i for i in happened if isinstance(i, StepResult)]
    for number, message in held:
        pass_on(number, message)
    happened += collect(executor, [submitted.step_run_id])
    printed = "\n".join(i.text for i in happened if isinstance(i, RunEvent) and i.kind == "log")
    assert set(printed.splitlines()) == {"to stdout", "to stderr", "from a library"}
    assert isinstance(happened[-1], StepResult)


def test_a_warm_worker_serves_the_next_task(executor):
    """Two tasks in a row run in one process."""
    _, first = run_one(executor, task(act="none"))
    _, second = run_one(executor, task(act="none"))
    assert first.metadata["pid"] == second.metadata["pid"] != os.getpid()


def test_a_step_that_fails_by_itself_is_not_lost(executor):
    """An error that the worker answers is passed on as it is."""
    _, result = run_one(executor, task(act="raise"))
    assert (result.status, result.lost, result.error.message) == (StepStatus.FAILED, False, "no good")


@pytest.mark.fault
def test_a_forked_childs_exit_is_its_own(executor, tmp_path):
    """A worker that is killed after a child of its step has left with a code is tried again, as without the child."""
    happened, result = run_one(executor, task(act="fork", times=1, folder=str(tmp_path)))
    assert result.status is StepStatus.COMPLETED and result.metadata["tries"] == 1
    assert [i.kind for i in happened if isinstance(i, RunEvent)].count("restart") == 1


@pytest.mark.fault
def test_what_a_step_prints_before_it_leaves_is_shown(executor):
    """`os._exit` right after a print loses neither the line nor the code."""
    happened, result = run_one(executor, task(act="exit"))
    assert "last words" in [i.text.strip() for i in happened if isinstance(i, RunEvent) and i.kind == "log"]
    assert "exit code 7" in result.error.message


def test_a_step_that_closes_its_output_has_done_so_for_itself(executor):
    """It completes, and the next one on the same worker prints."""
    _, closing = run_one(executor, task(act="close"))
    happened, printing = run_one(executor, task(act="print"))
    assert closing.status is printing.status is StepStatus.COMPLETED
    assert "from a library" in "".join(i.text for i in happened if isinstance(i, RunEvent))


@pytest.mark.fault
def test_a_killed_worker_process_is_an_event_and_another_try(executor, tmp_path):
    """SIGKILL of the worker starts the step again, once, and says so."""
    happened, result = run_one(executor, task(act="kill", times=1, folder=str(tmp_path)))
    assert result.status is StepStatus.COMPLETED and result.metadata["tries"] == 1
    (restart,) = [i for i in happened if isinstance(i, RunEvent) and i.kind == "restart"]
    assert "worker process died" in restart.text
    assert len([i for i in happened if isinstance(i, StepTask)]) == 1


@pytest.mark.fault
def test_a_worker_that_always_dies_fails_the_step(executor, tmp_path):
    """The second death in a row is the step's failure, as lost."""
    _, result = run_one(executor, task(act="kill", times=9, folder=str(tmp_path)))
    assert (result.status, result.lost, result.error.type) == (StepStatus.FAILED, True, "Crash")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.fault
def test_a_step_that_exits_its_process_says_the_code(executor):
    """`os._exit(7)` is a crash with exit code 7, and no other try."""
    happened, result = run_one(executor, task(act="exit"))
    assert result.error.type == "Crash" and "exit code 7" in result.error.message
    assert not [i for i in happened if isinstance(i, RunEvent) and i.kind == "restart"]


def test_a_timeout_ends_the_step_and_nothing_else(executor):
    """A step over its timeout is stopped and says how long it had; its neighbour completes."""
    slow, quick = task("slow", act="sleep", timeout=1.0), task("quick", act="none")
    executor.submit(slow)
    executor.submit(quick)
    happened = collect(executor, [slow.step_run_id, quick.step_run_id])
    results = {i.step_run_id: i for i in happened if isinstance(i, StepResult)}
    assert results[slow.step_run_id].error.type == "Timeout"
    assert "timeout of 1 s" in results[slow.step_run_id].error.message
    assert results[quick.step_run_id].status is StepStatus.COMPLETED


def test_a_cancelled_task_is_stopped(executor):
    """Cancelling a running task, and a queued one, gives `stopped` for both."""
    running = [task(f"s{i}", act="sleep") for i in range(3)]
    for submitted in running:
        executor.submit(submitted)
    started = 0
    while started < 2:
        started += len([i for i in executor.wait(1.0) if isinstance(i, StepTask)])
    for submitted in running:
        executor.cancel(submitted.step_run_id)
    executor.cancel("unknown")
    happened = collect(executor, [t.step_run_id for t in running])
    assert {i.status for i in happened if isinstance(i, StepResult)} == {StepStatus.STOPPED}


def test_fractions_share_a_cpu(executor):
    """Ten tasks with a tenth of a CPU run at once on two CPUs."""
    many = [task("thin", act="none", resources={"cpus": 0.1}) for _ in range(10)]
    for submitted in many:
        executor.submit(submitted)
    happened = collect(executor, [t.step_run_id for t in many])
    assert len([i for i in happened if isinstance(i, StepResult)]) == 10


def test_a_step_that_fits_no_node_is_refused_at_once(executor):
    """The refusal names the step, what it asked for and what the largest node has."""
    with pytest.raises(UsageError, match=r"'train'.*2 GPUs") as refused:
        executor.check(pipeline(gpus=2))
    assert "largest node has 1 CPU, 0 GPUs" in str(refused.value) or "largest node has 2 CPUs, 0 GPUs" in str(
        refused.value
    )
    executor.check(pipeline(cpus=2))


def test_a_queued_step_says_what_it_waits_for(executor):
    """A step behind others gets a phase with what it waits for, and how long it took in the end."""
    first, second = (
        task("first", act="sleep", resources={"cpus": 2}),
        task("second", act="none", resources={"cpus": 2}),
    )
    executor.submit(first)
    executor.submit(second)
    phases = []
    deadline = time.monotonic() + 20
    while not phases and time.monotonic() < deadline:
        phases += [i for i in executor.wait(1.0) if isinstance(i, RunEvent) and i.step_key == "second"]
    assert phases[0].kind == "phase" and "waiting for 2 CPUs to be free" in phases[0].text
    executor.cancel(first.step_run_id)
    happened = collect(executor, [first.step_run_id, second.step_run_id])
    ended = [i for i in happened if isinstance(i, RunEvent) and i.kind == "phase" and i.step_key == "second"]
    assert ended and ended[0].seconds > 1


def test_a_mapped_step_says_once_what_its_instances_wait_for(executor):
    """Three queued instances of one step are one phase; it ends when the last of them has started."""
    first = task("first", act="sleep", resources={"cpus": 2})
    instances = [replace(task("many", act="none", resources={"cpus": 2}), map_index=i) for i in range(3)]
    stopped = task("stopped", act="none", resources={"cpus": 2})
    for submitted in (first, *instances, stopped):
        executor.submit(submitted)
    happened = []
    deadline = time.monotonic() + 20
    while len(phases_of("many", happened) + phases_of("stopped", happened)) < 2:
        assert time.monotonic() < deadline
        happened += executor.wait(1.0)
    executor.cancel(stopped.step_run_id)
    executor.cancel(first.step_run_id)
    happened += collect(executor, [t.step_run_id for t in (first, *instances, stopped)])
    for name in ("many", "stopped"):
        began, ended = phases_of(name, happened)
        assert (began.seconds, began.map_index, ended.map_index) == (None, None, None)
        assert ended.seconds > 1
    starts = [i for i in happened if isinstance(i, StepTask) and i in instances]
    assert len(starts) == 3 and happened.index(starts[-1]) > happened.index(phases_of("many", happened)[0])


def phases_of(name, happened):
    return [i for i in happened if isinstance(i, RunEvent) and i.kind == "phase" and i.step_key == name]


def test_status_calls_that_time_out_restart_nothing(executor, monkeypatch):
    """Twenty-five questions without an answer, while a step runs, neither restart it nor fail the run."""
    release = threading.Event()

    def silence():
        release.wait(60)
        return []

    monkeypatch.setattr(executor._view, "ask", silence)
    monkeypatch.setattr(executor._view, "_timeout", 0.02)
    try:
        running = task("long", act="sleep", timeout=3.0)
        executor.submit(running)
        happened = []
        while executor._view.unanswered < 25:
            executor._view.nodes(fresh=True)
            happened += executor.wait(0.01)
        happened += collect(executor, [running.step_run_id])
        assert not [i for i in happened if isinstance(i, RunEvent) and i.kind == "restart"]
        assert [i.error.type for i in happened if isinstance(i, StepResult)] == ["Timeout"]
    finally:
        release.set()


def test_a_worker_without_a_line_runs_its_step_all_the_same(executor):
    """The live line decides nothing: without it the start and the result still come."""
    from rayform_runtime.execution.on_ray.channel import ChannelAddress

    line, executor._line.address = executor._line.address, ChannelAddress("127.0.0.1", 1, b"x")
    try:
        happened, result = run_one(executor, task(act="print"))
    finally:
        executor._line.address = line
    assert result.status is StepStatus.COMPLETED
    assert [type(i).__name__ for i in happened if not isinstance(i, RunEvent)] == ["StepTask", "StepResult"]
