"""Pipelines on the local engine: real worker processes, catalog and store."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.engine import Engine, each, out, value

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import RunStatus, StepFinish, StepStatus
from rayform_runtime.catalog.interface import CatalogBusyError
from rayform_runtime.catalog.sql.catalog import SQLCatalog
from rayform_runtime.catalog.sql.sqlite import SQLiteDatabase
from rayform_runtime.execution.interface import CodeFacts, RunEvent, StepResult
from rayform_runtime.execution.local.fork_launcher import ForkLauncher
from rayform_runtime.execution.local.orchestrator import LocalOrchestrator
from rayform_runtime.execution.scheduling.loop import RunLoop
from rayform_runtime.execution.scheduling.records import RunRecords
from rayform_runtime.processes.identity import process_started
from rayform_runtime.spec import ListInput, ModelSpec, ParameterInput, Resources, RetryPolicy


@pytest.fixture(scope="module")
def orchestrator() -> Iterator[LocalOrchestrator]:
    """One orchestrator, warm for all tests; it declares four CPUs whatever the machine has."""
    from rayform_runtime.execution.config import LocalOrchestratorConfig

    built = LocalOrchestrator(LocalOrchestratorConfig(cpus=4), stack_name="test")
    yield built
    built.close()


@pytest.fixture
def engine(
    tmp_path: Path, orchestrator: LocalOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """A project and a stack of its own for each test."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    built = Engine.at(tmp_path)
    built.stack.__dict__["orchestrator"] = orchestrator
    yield built
    built.stack.__dict__.pop("orchestrator")
    built.stack.close()


def gone_soon(pid: int, seconds: float = 3.0) -> bool:
    deadline = time.monotonic() + seconds
    while process_started(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    return process_started(pid) is None


# -- data ---------------------------------------------------------------------------------------------------


def test_values_travel_along_the_dag(engine: Engine) -> None:
    """Outputs of steps, pipeline parameters, literal values and defaults reach the functions."""
    outcome = engine.run(
        engine.pipeline(
            engine.step("one", "constant", {"value": ParameterInput(parameter="start")}),
            engine.step("two", "add", {"x": out("one"), "y": value(5)}),
            engine.step("three", "add", {"x": out("two")}),
            parameters={"start": 10},
        )
    )
    assert outcome.status is RunStatus.COMPLETED
    assert engine.value_of(outcome.run_id, "three") == 16
    steps = engine.steps(outcome.run_id)
    assert steps["two"].inputs == {"x": [*steps["one"].outputs["output"]]}
    assert steps["two"].parameters == {"y": 5}


@pytest.mark.parametrize("kind", ["tags", "step metadata", "run metadata"])
def test_what_the_catalog_cannot_keep_fails_the_step_that_said_it(engine: Engine, kind: str) -> None:
    """A tag or a value of metadata that can't be stored fails its step, and no other."""
    outcome = engine.run(
        engine.pipeline(
            engine.step("noted", "note", {"kind": value(kind)}),
            engine.step("slow", "sleep", {"seconds": value(0.3)}),
        )
    )
    assert outcome.status is RunStatus.FAILED
    steps = engine.steps(outcome.run_id)
    assert steps["slow"].status is StepStatus.COMPLETED
    assert steps["noted"].status is StepStatus.FAILED
    assert steps["noted"].error is not None and steps["noted"].error.type == "UsageError"


def test_a_catalog_that_others_hold_is_waited_for_once(engine: Engine) -> None:
    """If another process locks the catalog, a chain of short steps waits once, and not once per step."""
    before = engine.stack.catalog
    assert isinstance(before, SQLCatalog) and isinstance(before.database, SQLiteDatabase)
    path = before.database.path
    before.close()
    catalog = SQLCatalog(SQLiteDatabase(str(path), busy_seconds=0.3), stack_name=engine.stack.name)
    engine.stack.catalog = catalog
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def hold(event: RunEvent) -> None:
        if event.step_key == "s0" and event.step_status is StepStatus.COMPLETED and not holder.in_transaction:
            holder.execute("BEGIN IMMEDIATE")

    steps = [engine.step("s0", "constant")]
    steps += [engine.step(f"s{n}", "add", {"x": out(f"s{n - 1}")}) for n in range(1, 60)]
    with contextlib.closing(holder), pytest.raises(CatalogBusyError) as caught:
        engine.run(engine.pipeline(*steps), listener=hold)
    assert len(caught.value.__notes__) == 2  # one for all that was not recorded, one for the run's own end


def test_a_step_finds_what_came_before_it_in_the_catalog(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that begins while its upstream is still being recorded sees it in the catalog when it looks."""
    began = engine.folder / "began"
    record = RunRecords.record

    def record_late(records: RunRecords, changes: Any) -> None:
        """Write the end of `one` only once `two` has run up to its look into the catalog."""
        if any(getattr(change, "key", "") == "two" for change in changes):
            assert any(isinstance(change, StepFinish) for change in changes)
            deadline = time.monotonic() + 20
            while not began.exists() and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(0.2)  # enough for the step to look, if it didn't wait
        record(records, changes)

    monkeypatch.setattr(RunRecords, "record", record_late)
    outcome = engine.run(
        engine.pipeline(
            engine.step("one", "constant"),
            engine.step(
                "two", "look_back", {"path": value(str(began)), "upstream": value("one"), "x": out("one")}
            ),
        )
    )
    assert began.exists()
    assert engine.value_of(outcome.run_id, "two") == "completed running"


def test_what_can_be_recorded_is_kept_where_something_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a step's end shares a commit with a refused beginning, the step stays completed, and the run resumes."""
    record = RunRecords.record

    def refuse_two(records: RunRecords, changes: Any) -> None:
        if any(getattr(change, "key", "") == "two" for change in changes):
            raise NotFoundError("artifact version", "x")
        record(records, changes)

    monkeypatch.setattr(RunRecords, "record", refuse_two)
    run_id = new_id()
    spec = engine.pipeline(
        engine.step("one", "constant"), engine.step("two", "add", {"x": out("one")}), enable_cache=False
    )
    with pytest.raises(NotFoundError):
        engine.run(spec, run_id=run_id)
    assert engine.statuses(run_id) == {"one": "completed"}
    monkeypatch.setattr(RunRecords, "record", record)
    outcome = engine.run(spec, run_id=run_id, resume=True)
    assert engine.value_of(outcome.run_id, "two") == 2


def test_no_step_ends_before_it_begins(engine: Engine) -> None:
    """A beginning that is recorded together with its end keeps its own time."""
    steps = [engine.step("s0", "constant")]
    steps += [engine.step(f"s{i}", "add", {"x": out(f"s{i - 1}")}) for i in range(1, 8)]
    outcome = engine.run(engine.pipeline(*steps, enable_cache=False))
    for step in engine.steps(outcome.run_id).values():
        assert step.started_at is not None and step.ended_at is not None
        assert step.started_at <= step.ended_at


class LateFacts:
    """Facts that are asked for in the background."""

    def __init__(self, answered: threading.Event) -> None:
        self.answered = answered

    def poll(self) -> CodeFacts | None:
        """Nothing before the answer."""
        return CodeFacts(git_commit="abc") if self.answered.is_set() else None

    def wait(self) -> CodeFacts:
        """Answer now."""
        self.answered.set()
        return CodeFacts(git_commit="abc")


def test_facts_of_the_code_that_come_late_are_recorded_with_the_end(engine: Engine) -> None:
    """A run doesn't wait for git to begin, and what git said stands with the run when it has ended."""
    answered = threading.Event()
    seen: list[bool] = []
    outcome = engine.run(
        engine.pipeline(engine.step("one", "constant")),
        code_soon=LateFacts(answered),
        listener=lambda event: seen.append(answered.is_set()),
    )
    assert seen[0] is False
    assert engine.stack.catalog.get_run(outcome.run_id).code == {"git_commit": "abc"}


def test_facts_of_the_code_are_recorded_while_a_long_run_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed later on has them too."""
    monkeypatch.setattr("rayform_runtime.execution.scheduling.late_code._WAIT", 0.05)
    answered = threading.Event()
    late = LateFacts(answered)
    monkeypatch.setattr(late, "wait", lambda: pytest.fail("they were recorded before the end"))
    outcome = engine.run(
        engine.pipeline(engine.step("s", "sleep", {"seconds": value(0.5)})),
        code_soon=late,
        listener=lambda event: answered.set(),
    )
    assert engine.stack.catalog.get_run(outcome.run_id).code == {"git_commit": "abc"}


def test_a_result_of_this_very_run_is_found_in_the_cache(engine: Engine) -> None:
    """A step that repeats an earlier step of the run takes that step's result."""
    one = engine.step("one", "constant", {"value": value(3)})
    two = engine.step("two", "square", {"x": out("one")})
    three = engine.step("three", "square", {"x": out("one")}, after=["two"])
    three = three.model_copy(update={"outputs": two.outputs})  # both make versions of one artifact
    outcome = engine.run(engine.pipeline(one, two, three))
    assert engine.statuses(outcome.run_id) == {"one": "completed", "two": "completed", "three": "cached"}


def test_several_outputs_are_separate_artifacts(engine: Engine) -> None:
    """Each declared output of a tuple becomes a version of its own artifact."""
    outcome = engine.run(
        engine.pipeline(
            engine.step("both", "pair", {"x": value(3)}, outputs=("number", "text")),
            engine.step("next", "add", {"x": out("both", "number")}),
        )
    )
    assert engine.value_of(outcome.run_id, "both", "text") == "3"
    assert engine.value_of(outcome.run_id, "next") == 4


def test_wrong_number_of_outputs_is_a_clear_error(engine: Engine) -> None:
    """A step fails if it returns another number of values than it declares, and the error says so."""
    outcome = engine.run(engine.pipeline(engine.step("s", "constant", outputs=("a", "b"))))
    assert "declares 2 outputs: 'a', 'b'" in outcome.errors["s"].message


def test_map_fans_out_and_joins_in_order(engine: Engine) -> None:
    """A mapped step runs once an element; its results join to a list in the order of the elements."""
    outcome = engine.run(
        engine.pipeline(
            engine.step("list", "numbers", {"count": value(5)}),
            engine.step("squares", "square", {"x": each("list")}),
            engine.step("more", "add", {"x": each("squares"), "y": value(100)}),
            engine.step("sum", "total", {"values": out("more")}),
        )
    )
    assert outcome.status is RunStatus.COMPLETED
    assert [engine.value_of(outcome.run_id, f"more[{i}]") for i in range(5)] == [100, 101, 104, 109, 116]
    assert engine.value_of(outcome.run_id, "sum") == 530


def test_map_over_an_empty_list_joins_to_an_empty_list(engine: Engine) -> None:
    """An empty list makes no instances, and the join gets an empty list."""
    outcome = engine.run(
        engine.pipeline(
            engine.step("list", "numbers", {"count": value(0)}),
            engine.step("squares", "square", {"x": each("list")}),
            engine.step("sum", "total", {"values": out("squares")}),
        )
    )
    assert outcome.status is RunStatus.COMPLETED
    assert engine.value_of(outcome.run_id, "sum") == 0


def test_map_over_two_lists_walks_them_side_by_side(engine: Engine) -> None:
    """Two mapped inputs of equal length are taken pairwise; of different length they are refused."""
    steps = [
        engine.step("a", "numbers", {"count": value(3)}),
        engine.step("b", "numbers", {"count": ParameterInput(parameter="n")}),
        engine.step("sums", "add", {"x": each("a"), "y": each("b")}),
        engine.step("sum", "total", {"values": out("sums")}),
    ]
    outcome = engine.run(engine.pipeline(*steps, parameters={"n": 3}))
    assert engine.value_of(outcome.run_id, "sum") == 6
    outcome = engine.run(engine.pipeline(*steps, parameters={"n": 4}))
    assert "'x' has 3, 'y' has 4 elements" in outcome.errors["sums"].message
    assert engine.statuses(outcome.run_id)["sum"] == "skipped"


def test_map_over_what_is_no_list_is_a_clear_error(engine: Engine) -> None:
    """Mapping over a number fails the mapped step with the reason."""
    outcome = engine.run(
        engine.pipeline(engine.step("one", "constant"), engine.step("m", "square", {"x": each("one")}))
    )
    assert "neither a list nor a tuple" in outcome.errors["m"].message


def test_list_of_outputs_reaches_one_argument(engine: Engine) -> None:
    """A list of outputs of several steps arrives in order; a mapped step's outputs become several elements."""
    outcome = engine.run(
        engine.pipeline(
            engine.step("one", "constant", {"value": value(10)}),
            engine.step("two", "constant", {"value": value(20)}),
            engine.step("sum", "total", {"values": ListInput(items=[out("two"), out("one")])}),
        )
    )
    assert engine.value_of(outcome.run_id, "sum") == 30


def test_parameters_are_coerced_to_annotations(engine: Engine) -> None:
    """JSON values are converted to the types of the function's annotations."""
    outcome = engine.run(
        engine.pipeline(engine.step("s", "when", {"moment": value("2026-01-31"), "days": value("P1D")}))
    )
    assert datetime.fromisoformat(engine.value_of(outcome.run_id, "s")) == datetime(2026, 2, 1)
    outcome = engine.run(engine.pipeline(engine.step("s", "add", {"x": value("many")})))
    assert "Argument 'x' of step 's'" in outcome.errors["s"].message


# -- failure ------------------------------------------------------------------------------------------------


def test_failure_skips_dependents_and_lets_other_branches_finish(engine: Engine) -> None:
    """A failed step fails the run; steps that depend on it are skipped, and others still run."""
    outcome = engine.run(
        engine.pipeline(
            engine.step("bad", "fail"),
            engine.step("child", "add", {"x": out("bad")}),
            engine.step("later", "constant", after=["child"]),
            engine.step("slow", "sleep", {"seconds": value(0.2)}),
            engine.step("other", "constant", after=["slow"]),
        )
    )
    assert outcome.status is RunStatus.FAILED
    assert engine.statuses(outcome.run_id) == {
        "bad": "failed",
        "child": "skipped",
        "later": "skipped",
        "slow": "completed",
        "other": "completed",
    }


def test_traceback_has_the_persons_frames_alone(engine: Engine) -> None:
    """The error carries the function's own frames and causes, and none of Rayform's."""
    outcome = engine.run(engine.pipeline(engine.step("a", "fail"), engine.step("b", "chained_failure")))
    shown = outcome.errors["a"].traceback
    assert shown.count("  File ") == 2
    assert "in deeper" in shown
    assert shown.endswith("ValueError: no good\n")
    assert "rayform_runtime" not in shown
    assert "KeyError: 'missing'" in outcome.errors["b"].traceback
    stored = engine.steps(outcome.run_id)["a"].error
    assert stored is not None
    assert stored.traceback == shown


def test_retries_wait_without_holding_up_others(engine: Engine) -> None:
    """A failing step is tried again after a growing delay, while other steps go on."""
    path = engine.folder / "tries"
    started = time.monotonic()
    outcome = engine.run(
        engine.pipeline(
            engine.step(
                "flaky",
                "count_and_fail",
                {"path": value(str(path)), "times": value(2)},
                retry=RetryPolicy(max_retries=2, delay=0.1, backoff=3),
            ),
            engine.step("other", "constant"),
        )
    )
    assert time.monotonic() - started >= 0.4
    assert outcome.status is RunStatus.COMPLETED
    assert engine.steps(outcome.run_id)["flaky"].attempt == 3
    kinds = [(e.step_key, e.step_status) for e in engine.events if e.kind == "step"]
    assert kinds.index(("other", StepStatus.COMPLETED)) < kinds.index(("flaky", StepStatus.COMPLETED))
    assert next(e.text for e in engine.events if e.kind == "restart").endswith("ConnectionError: try 1")


def test_errors_that_stay_are_not_retried(engine: Engine) -> None:
    """A value that no materializer can store fails at once, whatever the number of retries."""
    outcome = engine.run(
        engine.pipeline(engine.step("s", "unknown", retry=RetryPolicy(max_retries=5, delay=10)))
    )
    assert outcome.status is RunStatus.FAILED
    assert engine.steps(outcome.run_id)["s"].attempt == 1
    assert "Unknown" in outcome.errors["s"].message


def test_timeout_ends_that_step_alone(engine: Engine, tmp_path: Path) -> None:
    """A step over its timeout is killed with the processes it started; another one goes on."""
    pids = tmp_path / "pids"
    outcome = engine.run(
        engine.pipeline(
            engine.step("stuck", "leave_child", {"path": value(str(pids))}, timeout=0.5),
            engine.step("fine", "sleep", {"seconds": value(0.8)}),
        )
    )
    assert outcome.errors["stuck"].type == "Timeout"
    assert engine.statuses(outcome.run_id) == {"stuck": "failed", "fine": "completed"}
    assert "leave_child" in engine.log_of(outcome.run_id, "stuck")
    assert all(gone_soon(int(pid)) for pid in pids.read_text().split())


@pytest.mark.parametrize(
    ("function", "inputs", "message"),
    [
        ("exit_hard", {}, "exit code 3"),
        ("die_by", {"signum": value(signal.SIGSEGV)}, "SIGSEGV"),
        ("die_by", {"signum": value(signal.SIGKILL)}, "SIGKILL"),
    ],
)
def test_worker_that_dies_is_a_crash_of_its_step(
    engine: Engine, function: str, inputs: dict[str, object], message: str
) -> None:
    """A step whose process dies fails with the reason, and the run goes on with another worker."""
    outcome = engine.run(
        engine.pipeline(
            engine.step("dies", function, inputs),
            engine.step("lives", "constant"),  # type: ignore[arg-type]
        )
    )
    assert outcome.errors["dies"].type == "Crash"
    assert message in outcome.errors["dies"].message
    assert engine.statuses(outcome.run_id)["lives"] == "completed"


def test_crash_is_retried(engine: Engine) -> None:
    """A worker that died counts as a failed try."""
    outcome = engine.run(engine.pipeline(engine.step("dies", "exit_hard", retry=RetryPolicy(max_retries=1))))
    assert engine.steps(outcome.run_id)["dies"].attempt == 2


def test_a_worker_that_dies_as_the_run_is_stopped_is_stopped(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash after a stop request, for instance because of Ctrl-C itself, isn't recorded as a failure."""
    take = RunLoop._take

    def stopped_first(loop: RunLoop, reports: list[Any]) -> None:
        if any(isinstance(report, StepResult) for report in reports):
            loop._control.request_stop()
        take(loop, reports)

    monkeypatch.setattr(RunLoop, "_take", stopped_first)
    run_id = new_id()
    outcome = engine.run(engine.pipeline(engine.step("dies", "exit_hard")), run_id=run_id)
    assert outcome.status is RunStatus.STOPPED
    assert outcome.errors == {}
    assert engine.statuses(run_id)["dies"] == "stopped"


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_ctrl_c_reaches_no_fork_server_that_is_just_starting() -> None:
    """The fork server has left the terminal's group before its first line runs."""
    launcher = ForkLauncher()
    try:
        assert launcher._process is not None
        assert os.getsid(launcher._process.pid) == launcher._process.pid
    finally:
        launcher.shutdown()


def test_sys_exit_in_a_step_is_its_failure(engine: Engine) -> None:
    """`sys.exit` fails the step, and the worker goes on."""
    outcome = engine.run(engine.pipeline(engine.step("s", "raise_exit")))
    assert outcome.errors["s"].type == "SystemExit"


def test_deleted_artifact_is_a_clear_error(engine: Engine) -> None:
    """A step that needs data that somebody has deleted fails with that reason."""
    first = engine.run(engine.pipeline(engine.step("one", "constant")))
    version = engine.steps(first.run_id)["one"].outputs["output"][0]
    shutil.rmtree(engine.folder / "store")
    from rayform_runtime.spec import ArtifactInput

    outcome = engine.run(
        engine.pipeline(engine.step("s", "add", {"x": ArtifactInput(artifact_version_id=str(version))}))
    )
    assert outcome.errors["s"].type == "ArtifactMissingError"


# -- resources and workers ----------------------------------------------------------------------------------


def test_steps_run_in_parallel_within_the_cpus(engine: Engine) -> None:
    """Four CPUs run at once four steps of one CPU, two of two CPUs, or forty of a tenth."""
    for cpus, count, peak in ((1, 6, 4), (2, 4, 2), (0.1, 8, 8)):
        folder = engine.folder / f"peak-{cpus}"
        folder.mkdir()
        outcome = engine.run(
            engine.pipeline(
                *(
                    engine.step(
                        f"s{i}",
                        "parallel_peak",
                        {"folder": value(str(folder)), "x": value(i)},
                        resources=Resources(cpus=cpus),
                    )
                    for i in range(count)
                )
            )
        )
        peaks = [engine.value_of(outcome.run_id, f"s{i}") for i in range(count)]
        assert max(peaks) <= peak
        assert max(peaks) > 1


def test_step_that_never_fits_is_refused_before_anything_runs(engine: Engine) -> None:
    """Too many CPUs, too much memory, a GPU that isn't there: refused, and no run is recorded."""
    for resources in (Resources(cpus=5), Resources(memory=1 << 60), Resources(gpus=64)):
        with pytest.raises(UsageError, match="Step 'big' can never run"):
            engine.run(
                engine.pipeline(
                    engine.step("ok", "constant"), engine.step("big", "constant", resources=resources)
                )
            )
    assert engine.stack.catalog.list_runs().total == 0


def test_workers_stay_warm(engine: Engine) -> None:
    """One worker runs a chain of steps."""
    outcome = engine.run(
        engine.pipeline(
            engine.step("a", "process"),
            engine.step("b", "process", after=["a"]),
            engine.step("c", "process", after=["b"]),
        )
    )
    assert len({engine.value_of(outcome.run_id, key) for key in "abc"}) == 1


def test_no_process_is_left_after_a_run(engine: Engine) -> None:
    """Workers of a run end with it."""
    outcome = engine.run(engine.pipeline(engine.step("a", "process")))
    assert gone_soon(engine.value_of(outcome.run_id, "a"))


def test_environment_of_pipeline_and_step(engine: Engine) -> None:
    """A step sees the pipeline's variables and its own, and not those of another step."""
    read = {"name": value("COLOUR")}
    outcome = engine.run(
        engine.pipeline(
            engine.step("plain", "environment", read),
            engine.step("own", "environment", read, environment={"COLOUR": "red"}),
            engine.step("again", "environment", read, after=["own"]),
            environment={"COLOUR": "blue"},
        )
    )
    assert [engine.value_of(outcome.run_id, k) for k in ("plain", "own", "again")] == ["blue", "red", "blue"]


def test_logs_are_shown_live_and_kept(engine: Engine) -> None:
    """All output of a step and its children is shown under the step's name and kept in order."""
    outcome = engine.run(engine.pipeline(engine.step("talk", "say", {"text": value("hällo")})))
    kept = engine.log_of(outcome.run_id, "talk")
    assert kept.splitlines() == ["hällo", "to stderr", "from a child"]
    live = "\n".join(e.text for e in engine.events if e.kind == "log" and e.step_key == "talk")
    assert live == kept.rstrip("\n")


# -- context and hooks --------------------------------------------------------------------------------------


def test_context_metadata_is_recorded_with_the_result(engine: Engine) -> None:
    """Metadata that a step logs about its output, itself, the run and the model is recorded there."""
    outcome = engine.run(
        engine.pipeline(engine.step("s", "metadata"), model=ModelSpec(name="classifier", tags=["t"]))
    )
    assert outcome.status is RunStatus.COMPLETED
    catalog = engine.stack.catalog
    step = engine.steps(outcome.run_id)["s"]
    version = catalog.get_artifact_versions([step.outputs["output"][0]])[step.outputs["output"][0]]
    assert version.metadata["accuracy"] == 0.5
    assert version.tags == ("good",)
    assert step.metadata["said"] == "step"
    run = catalog.get_run(outcome.run_id)
    assert run.metadata["said"] == "run"
    model = catalog.get_model_version("classifier")
    assert model.metadata["said"] == "model"
    assert outcome.run_id in model.run_ids
    assert run.model_version_id == model.id
    assert [v.id for v in catalog.list_model_version_artifacts(model.id)] == [version.id]


def test_hooks_are_called_in_the_worker(engine: Engine) -> None:
    """Success and failure hooks of steps and of the run are called, the failure hook once for all tries."""
    hooks = engine.folder / "hooks"
    outcome = engine.run(
        engine.pipeline(
            engine.step("good", "constant", on_success=engine.source("on_success")),
            engine.step(
                "bad",
                "fail",
                on_failure=engine.source("on_failure"),
                retry=RetryPolicy(max_retries=2),
                after=["good"],
            ),
            engine.step("odd", "constant", on_success=engine.source("broken_hook"), after=["good"]),
            environment={"HOOKS": str(hooks)},
            on_failure=engine.source("on_failure"),
        )
    )
    assert hooks.read_text().splitlines() == [
        "success",
        "failure ValueError: no good",
        "failure PipelineFailedError: Step 'bad': ValueError: no good",
    ]
    assert engine.statuses(outcome.run_id)["odd"] == "completed"
    assert "RuntimeError: hook" in engine.log_of(outcome.run_id, "odd")


def test_failure_hook_is_called_for_a_step_whose_process_died(engine: Engine) -> None:
    """If a timeout or crash ends the worker, another worker calls the hook."""
    hooks = engine.folder / "hooks"
    engine.run(
        engine.pipeline(
            engine.step("dies", "exit_hard", on_failure=engine.source("on_failure")),
            environment={"HOOKS": str(hooks)},
        )
    )
    assert hooks.read_text().startswith(
        "failure PipelineFailedError: Crash: Its process ended with exit code 3"
    )


def test_failed_step_keeps_what_it_said(engine: Engine) -> None:
    """Metadata of the step and the run that a failing step logged is recorded."""
    outcome = engine.run(engine.pipeline(engine.step("s", "metadata_then_fail")))
    assert outcome.status is RunStatus.FAILED
    assert engine.steps(outcome.run_id)["s"].metadata["said"] == "step"
    assert engine.stack.catalog.get_run(outcome.run_id).metadata["said"] == "run"


# -- cache --------------------------------------------------------------------------------------------------


def test_unchanged_steps_come_from_the_cache(engine: Engine) -> None:
    """The second run takes all results from the first; a changed parameter runs the steps that depend on it."""

    def spec(y: int, digest: str = "d") -> object:
        return engine.pipeline(
            engine.step("list", "numbers", {"count": value(3)}),
            engine.step("mapped", "add", {"x": each("list"), "y": value(y)}, code_digest=digest),
            engine.step("sum", "total", {"values": out("mapped")}),
        )

    first = engine.run(spec(1), run_name="first")  # type: ignore[arg-type]
    second = engine.run(spec(1))  # type: ignore[arg-type]
    assert set(engine.statuses(second.run_id).values()) == {"cached"}
    assert engine.value_of(second.run_id, "sum") == 6
    assert second.cache["sum"].from_run == "first"
    assert not first.cache["sum"].hit
    third = engine.run(spec(2), explain_cache=True)  # type: ignore[arg-type]
    assert third.cache["list"].hit
    assert third.cache["mapped"].changed == ("parameter 'y' was 1 and is 2",)
    assert third.cache["sum"].changed == ("input 'values'",)
    assert engine.value_of(third.run_id, "sum") == 9
    fourth = engine.run(spec(2, "other code"), explain_cache=True)  # type: ignore[arg-type]
    assert "code" in fourth.cache["mapped"].changed[0]
    # Its new results equal the old ones, so the steps that depend on them needn't run.
    assert fourth.cache["sum"].hit


def test_cache_can_be_turned_off(engine: Engine) -> None:
    """The run, the pipeline and the step can each turn the cache off."""
    step = engine.step("s", "constant")
    engine.run(engine.pipeline(step))
    off = engine.step("s", "constant", enable_cache=False)
    for spec, options in (
        (engine.pipeline(step), {"no_cache": True}),
        (engine.pipeline(step, enable_cache=False), {}),
        (engine.pipeline(off), {}),
        (engine.pipeline(engine.step("s", "constant", code_digest="")), {}),
    ):
        outcome = engine.run(spec, **options)
        assert engine.statuses(outcome.run_id) == {"s": "completed"}
    assert engine.statuses(engine.run(engine.pipeline(step)).run_id) == {"s": "cached"}


def test_cached_result_whose_data_is_gone_is_made_again(engine: Engine) -> None:
    """A result whose data was deleted from the store is a miss."""
    spec = engine.pipeline(engine.step("s", "constant"))
    engine.run(spec)
    shutil.rmtree(engine.folder / "store")
    outcome = engine.run(spec)
    assert engine.statuses(outcome.run_id) == {"s": "completed"}
    assert "no longer" in outcome.cache["s"].reason


# -- resume, spin, stop -------------------------------------------------------------------------------------


def test_resume_runs_only_what_is_missing(engine: Engine) -> None:
    """A resumed run keeps its ID and runs no finished step again, mapped ones included, even without the cache."""
    marks = engine.folder / "marks"
    marks.mkdir()
    flag = engine.folder / "flag"
    flag.touch()
    folder = value(str(marks))
    spec = engine.pipeline(
        engine.step("one", "touch", {"folder": folder, "name": value("one")}),
        engine.step("list", "numbers", {"count": value(3)}),
        engine.step("each", "touch", {"folder": folder, "name": value("each"), "x": each("list")}),
        engine.step(
            "bad", "touch_then_fail", {"folder": folder, "name": value("bad"), "flag": value(str(flag))}
        ),
        engine.step("last", "touch", {"folder": folder, "name": out("bad")}, after=["each", "one"]),
        enable_cache=False,
    )
    first = engine.run(spec)
    assert first.status is RunStatus.FAILED
    before = sorted(p.name for p in marks.iterdir())
    assert len(before) == 5
    flag.unlink()
    again = engine.run(spec, run_id=first.run_id, resume=True)
    assert again.status is RunStatus.COMPLETED
    assert again.run_id == first.run_id
    new = sorted(p.name.split("-")[0] for p in marks.iterdir() if p.name not in before)
    assert new == ["bad", "bad"]  # the failed step, and the last one under the name that it got from it
    assert set(engine.statuses(first.run_id).values()) == {"completed"}
    assert engine.steps(first.run_id)["bad"].attempt == 2
    with pytest.raises(ConflictError):
        engine.run(spec, run_id=first.run_id, resume=True)


def test_spin_runs_one_step_on_an_earlier_runs_inputs(engine: Engine) -> None:
    """`only` runs the named step in a new run, with outputs of an earlier run."""
    spec = engine.pipeline(
        engine.step("list", "numbers", {"count": value(4)}),
        engine.step("squares", "square", {"x": each("list")}),
        engine.step("sum", "total", {"values": out("squares")}),
    )
    first = engine.run(spec)
    alone = engine.run(spec, only=["sum"], inputs_from=first.run_id)
    assert engine.statuses(alone.run_id) == {"sum": "completed"}
    assert engine.value_of(alone.run_id, "sum") == 14
    mapped = engine.run(spec, only=["squares"], inputs_from=first.run_id, debug=True)
    assert len(engine.statuses(mapped.run_id)) == 4
    third = engine.run(spec, only=["squares"], only_index=3, inputs_from=first.run_id)
    assert engine.statuses(third.run_id) == {"squares[3]": "completed"}
    with pytest.raises(NotFoundError, match="Did you mean 'squares'"):
        engine.run(spec, only=["square"], inputs_from=first.run_id)


def test_stop_request_ends_the_run_soon(engine: Engine) -> None:
    """`stop` ends a running run; it is recorded as stopped, and can be resumed."""
    flag = engine.folder / "flag"
    flag.touch()
    spec = engine.pipeline(
        engine.step("quick", "constant"),
        engine.step("long", "sleep_if", {"flag": value(str(flag)), "seconds": value(60), "x": out("quick")}),
    )
    run_id = new_id()
    running = threading.Event()

    def on_event(event: object) -> None:
        if getattr(event, "step_key", None) == "long":
            running.set()

    stopper = threading.Thread(
        target=lambda: running.wait(20) and engine.stack.orchestrator.stop(run_id, engine.stack)
    )
    stopper.start()
    started = time.monotonic()
    outcome = engine.run(spec, run_id=run_id, listener=on_event)
    stopper.join()
    assert outcome.status is RunStatus.STOPPED
    assert time.monotonic() - started < 10
    assert engine.statuses(run_id) == {"quick": "completed", "long": "stopped"}
    flag.unlink()
    assert engine.run(spec, run_id=run_id, resume=True).status is RunStatus.COMPLETED


def test_run_name_that_exists_is_refused(engine: Engine) -> None:
    """Two runs can't have one name."""
    spec = engine.pipeline(engine.step("s", "constant"))
    engine.run(spec, run_name="taken")
    with pytest.raises(ConflictError):
        engine.run(spec, run_name="taken")


def test_thousand_wide_map_completes(engine: Engine) -> None:
    """A wide map joins to the right result."""
    outcome = engine.run(
        engine.pipeline(
            engine.step("list", "numbers", {"count": value(300)}),
            engine.step("squares", "square", {"x": each("list")}),
            engine.step("sum", "total", {"values": out("squares")}),
        )
    )
    assert engine.value_of(outcome.run_id, "sum") == sum(i * i for i in range(300))


def test_long_chain_of_skipped_steps(engine: Engine) -> None:
    """A failure at the head of a chain of a thousand steps skips them all."""
    steps = [engine.step("s0", "fail")]
    steps += [engine.step(f"s{i}", "add", {"x": out(f"s{i - 1}")}) for i in range(1, 1000)]
    outcome = engine.run(engine.pipeline(*steps))
    assert list(engine.statuses(outcome.run_id).values()).count("skipped") == 999


def test_max_workers_bounds_processes(engine: Engine) -> None:
    """Steps with different environments take turns where only two workers are allowed."""
    from rayform_runtime.execution.config import LocalOrchestratorConfig

    small = LocalOrchestrator(LocalOrchestratorConfig(cpus=8, max_workers=2), stack_name="test")
    warm = engine.stack.__dict__["orchestrator"]
    engine.stack.__dict__["orchestrator"] = small
    try:
        read = {"name": value("N")}
        outcome = engine.run(
            engine.pipeline(
                *(engine.step(f"s{i}", "environment", read, environment={"N": str(i)}) for i in range(5))
            )
        )
        assert [engine.value_of(outcome.run_id, f"s{i}") for i in range(5)] == list("01234")
    finally:
        engine.stack.__dict__["orchestrator"] = warm
        small.close()


def test_spawned_workers_do_the_same(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start method of systems where forking is unsafe runs the same pipelines."""
    from rayform_runtime.execution.config import LocalOrchestratorConfig

    monkeypatch.setenv("RAYFORM_START_METHOD", "spawn")
    spawning = LocalOrchestrator(LocalOrchestratorConfig(cpus=2), stack_name="test")
    warm = engine.stack.__dict__["orchestrator"]
    engine.stack.__dict__["orchestrator"] = spawning
    try:
        outcome = engine.run(
            engine.pipeline(
                engine.step("list", "numbers", {"count": value(3)}),
                engine.step("squares", "square", {"x": each("list")}),
                engine.step("sum", "total", {"values": out("squares")}),
                engine.step("dies", "exit_hard"),
                engine.step("where", "process"),
            )
        )
        assert engine.value_of(outcome.run_id, "sum") == 5
        assert "exit code 3" in outcome.errors["dies"].message
        assert gone_soon(engine.value_of(outcome.run_id, "where"))
        assert os.getpid() != engine.value_of(outcome.run_id, "where")
    finally:
        engine.stack.__dict__["orchestrator"] = warm
        spawning.close()
