"""What is left of a run whose catalog fails: at each of its calls in turn, once or for good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.engine import each, out, value
from support.scheduling import Bench, FailingCatalog, FakeExecutor

from rayform_core.errors import RemoteError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import RunStatus, StepStatus
from rayform_runtime.catalog.interface import CatalogBusyError
from rayform_runtime.execution.interface import CodeFacts, RunOutcome, StepResult, StepTask
from rayform_runtime.spec import ModelSpec, PipelineSpec, RetryPolicy


class Late:
    """Facts about the code that come while the run is on."""

    def __init__(self) -> None:
        self.polls = 0

    def poll(self) -> CodeFacts | None:
        self.polls += 1
        return CodeFacts(git_commit="abc") if self.polls > 1 else None

    def wait(self) -> CodeFacts:
        return CodeFacts(git_commit="abc")


def rich_pipeline(bench: Bench) -> PipelineSpec:
    """A pipeline whose run makes every kind of call: models, metadata, a map, a retry, a failure, a skip."""
    step = bench.engine.step
    return bench.engine.pipeline(
        step("list", "numbers", {"count": value(2)}),
        step("each", "square", {"x": each("list")}),
        step("noted", "constant", model=ModelSpec(name="other")),
        step("flaky", "constant", {"value": value(2)}, retry=RetryPolicy(max_retries=1, delay=2.0)),
        step("sum", "total", {"values": out("each")}, after=["flaky"]),
        model=ModelSpec(name="classifier"),
    )


def acts() -> dict[str, Callable[[StepTask], object]]:
    tries = iter([ConnectionError("once")])

    def flaky(task: StepTask) -> int:
        for error in tries:
            raise error
        return 1

    def noted(task: StepTask) -> StepResult:
        return StepResult(
            task.step_run_id, StepStatus.COMPLETED, run_metadata={"rows": 7}, model_metadata={"rows": 7}
        )

    return {"list": lambda task: [1, 2], "flaky": flaky, "noted": noted}


def fail(task: StepTask) -> object:
    raise ValueError("no good")


def prepare(bench: Bench) -> dict[str, Any]:
    """Make what the cases need: nothing, an earlier equal run, or a run to resume."""
    spec = bench.engine.pipeline(*(bench.engine.step(f"s{i}", "add", {"x": value(i)}) for i in range(5)))
    first = bench.run(spec, bench.executor())
    broken = bench.run(rich_pipeline(bench), bench.executor({**acts(), "each": fail}))
    assert broken.status is RunStatus.FAILED
    bench.engine.stack.close()
    return {"first": first.run_id, "broken": broken.run_id}


@dataclass(frozen=True)
class Prepared:
    """A folder with a store, what its catalog held in the beginning, and the IDs of the runs in it."""

    folder: Path
    catalog: bytes
    ids: dict[str, UUID]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    ids = prepare(Bench.at(folder))
    return Prepared(folder, (folder / "catalog.db").read_bytes(), ids)


def new_run(bench: Bench, ids: dict[str, UUID]) -> dict[str, Any]:
    return {"spec": rich_pipeline(bench), "run_id": new_id(), "code_soon": Late(), "no_cache": True}


def cached_run(bench: Bench, ids: dict[str, UUID]) -> dict[str, Any]:
    """A run that takes all but one step from the cache, and says why it doesn't take that one."""
    steps = [bench.engine.step(f"s{i}", "add", {"x": value(i + (i == 4) * 5)}) for i in range(5)]
    return {"spec": bench.engine.pipeline(*steps), "run_id": new_id(), "explain_cache": True}


def resumed_run(bench: Bench, ids: dict[str, UUID]) -> dict[str, Any]:
    return {"spec": rich_pipeline(bench), "run_id": ids["broken"], "resume": True}


def one_step_alone(bench: Bench, ids: dict[str, UUID]) -> dict[str, Any]:
    spec = bench.engine.pipeline(
        bench.engine.step("s0", "add", {"x": value(0)}), bench.engine.step("last", "add", {"x": out("s0")})
    )
    return {"spec": spec, "run_id": new_id(), "only": ["last"], "inputs_from": ids["first"]}


EXPECTED = {
    new_run: {"create_model_version", "link_model_version", "finish_steps", "log_metadata", "set_run_code"},
    cached_run: {"find_cached", "find_cache_candidates", "record_cached", "record_steps", "get_run"},
    resumed_run: {"restart_run", "list_step_runs", "get_artifact_versions", "list_model_versions"},
    one_step_alone: {"create_run", "list_step_runs", "get_artifact_versions", "finish_run"},
}
"""By case, calls that it is there for."""
CASES = list(EXPECTED)


class Case:
    """One run on the catalog as it was prepared."""

    def __init__(self, prepared: Prepared, make: Callable[..., Any]) -> None:
        for file in prepared.folder.glob("catalog.db*"):
            file.unlink()
        (prepared.folder / "catalog.db").write_bytes(prepared.catalog)
        self.bench = Bench.at(prepared.folder)
        self.request = make(self.bench, prepared.ids)
        self.executor: FakeExecutor = self.bench.executor(acts())

    def close(self) -> None:
        self.bench.engine.stack.close()

    def run(self, catalog: FailingCatalog) -> RunOutcome:
        request = dict(self.request)
        return self.bench.run(request.pop("spec"), self.executor, catalog=catalog, **request)

    @property
    def catalog(self) -> Any:
        return self.bench.engine.stack.catalog


@pytest.mark.parametrize("make", CASES)
def test_a_catalog_that_fails_at_any_call_leaves_a_run_that_can_be_resumed(
    make: Callable[..., Any], prepared: Prepared
) -> None:
    """The error that is raised is the catalog's own, workers are closed, and the run is interrupted."""
    good = FailingCatalog(None)
    case = Case(prepared, make)
    good.catalog = case.catalog
    assert case.run(good).status is RunStatus.COMPLETED
    assert EXPECTED[make] <= set(good.calls)
    case.close()
    recorded = good.calls.index("restart_run" if "resume" in case.request else "create_run") + 1
    for number, name in enumerate(good.calls, 1):
        kinds = [RemoteError, CatalogBusyError, OSError]
        error = kinds[number % 3]("The catalog is away.")
        case = Case(prepared, make)
        failing = FailingCatalog(case.catalog, error, number)
        where = f"{type(error).__name__} at call {number}, {name}"
        with pytest.raises(type(error)) as caught:
            case.run(failing)
        assert caught.value is error, where
        assert case.executor.closed, where
        assert failing.calls[:number] == good.calls[:number], where
        if number > recorded:
            run = case.catalog.get_run(case.request["run_id"])
            assert run.status is RunStatus.INTERRUPTED, where
            assert run.error is not None and run.error.type == type(error).__name__, where
            assert not getattr(error, "__notes__", ()), where
            again = {**case.request, "resume": True, "code_soon": None}
            outcome = case.bench.run(again.pop("spec"), case.bench.executor(acts()), **again)
            assert outcome.status is RunStatus.COMPLETED, where
        case.close()


@pytest.mark.parametrize("make", CASES)
def test_a_catalog_that_stays_away_is_reported_once(make: Callable[..., Any], prepared: Prepared) -> None:
    """The first error is the one that is raised, with a note that the run couldn't be marked."""
    good = FailingCatalog(None)
    case = Case(prepared, make)
    good.catalog = case.catalog
    case.run(good)
    case.close()
    recorded = good.calls.index("restart_run" if "resume" in case.request else "create_run") + 1
    for number in range(recorded + 1, len(good.calls) + 1):
        case = Case(prepared, make)
        error = RemoteError("The catalog is away.")
        failing = FailingCatalog(case.catalog, error, number, lasting=True)
        with pytest.raises(RemoteError) as caught:
            case.run(failing)
        assert caught.value is error
        assert "The run couldn't be marked as interrupted either: The catalog is away." in error.__notes__
        assert case.executor.closed
        assert len(failing.calls) <= number + 2  # what waits to be recorded, and the run's end
        case.close()


def test_ctrl_c_while_a_run_is_opened_stops_it(prepared: Prepared) -> None:
    """The run that is recorded already is marked as stopped, and can be resumed."""
    case = Case(prepared, new_run)
    failing = FailingCatalog(case.catalog, KeyboardInterrupt())  # type: ignore[arg-type]
    calls = FailingCatalog(case.catalog)
    case.run(calls)
    case.close()
    case = Case(prepared, new_run)
    failing.catalog, failing.fail_at = case.catalog, calls.calls.index("link_model_version") + 1
    with pytest.raises(KeyboardInterrupt):
        case.run(failing)
    assert case.catalog.get_run(case.request["run_id"]).status is RunStatus.STOPPED
    assert case.executor.closed
    case.close()
