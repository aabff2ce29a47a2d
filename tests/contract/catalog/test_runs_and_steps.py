"""What every catalog does with runs and step runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from support.catalogs import CatalogMaker, Scene

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import (
    Query,
    RunStatus,
    StepError,
    StepFinish,
    StepStart,
    StepStatus,
    Visualization,
)
from rayform_runtime.catalog.sql.catalog import SQLCatalog


def test_a_run_comes_back_as_it_was_recorded(scene: Scene, catalog: SQLCatalog) -> None:
    """Every field of a new run is read back, with times in UTC and text of any script."""
    made = scene.run(
        "läufer-東京",
        parameters={"rate": 0.1, "inf": float("inf"), "deep": {"$type": "mine", "x": [1, None]}},
        tags=["b", "a", "a"],
        user="ada",
        code={"commit": "abc"},
        environment={"python": "3.11"},
        orchestrator_id="job-1",
    )
    run = catalog.get_run(made.id)
    assert run == made
    assert run.tags == ("a", "b")
    assert run.created_at.tzinfo is UTC
    assert catalog.get_run("läufer-東京", hydrate=False).spec == {}
    assert catalog.get_run(str(made.id)) == catalog.get_run(made.id.hex) == made


def test_a_taken_run_name_is_a_conflict(scene: Scene, catalog: SQLCatalog) -> None:
    """A second run of the same name is refused and leaves nothing behind."""
    scene.run("one")
    with pytest.raises(ConflictError, match="run 'one'"):
        scene.run("one")
    assert catalog.list_runs().total == 1


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 256, "nul\0"])
def test_names_that_cannot_be_typed_are_refused(scene: Scene, name: str) -> None:
    """A name that is empty, too long or unprintable is a usage error."""
    with pytest.raises(UsageError):
        scene.run(name or "\t")


def test_a_unique_prefix_finds_and_an_ambiguous_one_lists(scene: Scene, catalog: SQLCatalog) -> None:
    """The start of an ID finds its run; the error of one that two IDs share lists both."""
    first, _ = scene.run("first"), scene.run("second")
    shared = str(first.id)[:4]
    assert catalog.get_run(str(first.id)[:-2]).id == first.id
    with pytest.raises(ConflictError) as caught:
        catalog.get_run(shared)
    assert str(first.id) in str(caught.value) and "second" in str(caught.value)


def test_the_start_of_a_name_finds_its_run(scene: Scene, catalog: SQLCatalog) -> None:
    """A unique start of a name finds its run, a whole name goes first, and a start that several share lists them."""
    train, training = scene.run("train"), scene.run("training-läufer-東京")
    wild = scene.run("x%y_z")
    assert catalog.get_run("train").id == train.id
    assert catalog.get_run("training-läu").id == training.id
    assert catalog.get_run("x%").id == wild.id
    with pytest.raises(ConflictError) as caught:
        catalog.get_run("trai")
    assert "'train'" in str(caught.value) and f"'training-läufer-東京' ({training.id})" in str(caught.value)


@pytest.mark.parametrize("pattern", ["%", "_raining", "tr%", "TRAIN", "x%z", "raining", "train*"])
def test_the_start_of_a_name_is_no_pattern(scene: Scene, catalog: SQLCatalog, pattern: str) -> None:
    """Wildcards, the middle of a name and the other case of its letters match nothing."""
    scene.run("training")
    scene.run("x_y%z")
    with pytest.raises(NotFoundError):
        catalog.get_run(pattern)


def test_the_start_of_an_id_comes_before_that_of_a_name(scene: Scene, catalog: SQLCatalog) -> None:
    """Text that starts an ID and a name refers to the ID's run."""
    first = scene.run("first")
    start = str(first.id)[:-2]
    # No ID goes on with an "x", while "-c" would start one of sixteen IDs.
    other = scene.run(f"{start}-x")
    assert catalog.get_run(start).id == first.id
    assert catalog.get_run(f"{start}-x").id == other.id


def test_an_unknown_run_names_its_neighbours(scene: Scene, catalog: SQLCatalog) -> None:
    """Looking for a misspelt run names the nearest one."""
    scene.run("training-monday")
    with pytest.raises(NotFoundError, match="training-monday"):
        catalog.get_run("trainin-monday")
    with pytest.raises(NotFoundError):
        catalog.get_run(new_id())


def test_ends_and_beginnings_are_one_commit(scene: Scene, catalog: SQLCatalog) -> None:
    """A step's end and the beginning of the one that takes its output are recorded together, in this order."""
    run = scene.run()
    first = scene.start(run, "first")
    made = scene.version("number")
    second = StepStart(id=new_id(), run_id=run.id, key="second", name="second", inputs={"x": [made.id]})
    catalog.record_steps([StepFinish(first.id, run.id, StepStatus.COMPLETED, outputs=[made]), second])
    steps = {step.key: step for step in catalog.list_step_runs(run.id)}
    assert steps["first"].status is StepStatus.COMPLETED
    assert steps["first"].outputs == {"output": [made.id]} or [*steps["first"].outputs.values()] == [
        [made.id]
    ]
    assert (steps["second"].status, steps["second"].inputs) == (StepStatus.RUNNING, {"x": [made.id]})
    catalog.record_steps([])


def test_a_commit_whose_answer_is_lost_may_be_repeated(
    scene: Scene, catalog: SQLCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beginning, an end and what follows it are the same after a second try of a commit that had come through."""
    run = scene.run()
    made = scene.version("number")
    first = StepStart(id=new_id(), run_id=run.id, key="first", name="first")
    second = StepStart(id=new_id(), run_id=run.id, key="second", name="second", inputs={"x": [made.id]})
    end = StepFinish(first.id, run.id, StepStatus.COMPLETED, outputs=[made], metadata={"n": 1})
    write = catalog.database.write

    def write_twice(work: Any) -> Any:
        write(work)  # the server commits, and its answer doesn't arrive
        return write(work)

    monkeypatch.setattr(catalog.database, "write", write_twice)
    catalog.record_steps([first, end, second])
    steps = {step.key: step for step in catalog.list_step_runs(run.id)}
    assert {key: step.status for key, step in steps.items()} == {
        "first": StepStatus.COMPLETED,
        "second": StepStatus.RUNNING,
    }
    assert list(steps["first"].outputs.values()) == [[made.id]]
    assert catalog.list_artifact_versions(Query({"artifact": "number"})).total == 1


def test_changes_of_one_commit_are_recorded_all_or_none(scene: Scene, catalog: SQLCatalog) -> None:
    """If one of them is refused, for a taken version name or an unknown input, none is recorded."""
    run = scene.run()
    first = scene.start(run, "first")
    scene.saved("number", version="v1")
    end = StepFinish(first.id, run.id, StepStatus.COMPLETED, outputs=[scene.version("number", version="v1")])
    second = StepStart(id=new_id(), run_id=run.id, key="second", name="second")
    with pytest.raises(ConflictError, match="v1"):
        catalog.record_steps([second, end])
    lost = StepStart(id=new_id(), run_id=run.id, key="third", name="third", inputs={"x": [new_id()]})
    end = StepFinish(first.id, run.id, StepStatus.COMPLETED, outputs=[scene.version("number")])
    with pytest.raises(NotFoundError):
        catalog.record_steps([end, second, lost])
    (only,) = catalog.list_step_runs(run.id)
    assert (only.key, only.status) == ("first", StepStatus.RUNNING)


def test_ending_a_run_settles_its_steps(scene: Scene, catalog: SQLCatalog) -> None:
    """Steps that were running when their run ended are shown by how it ended."""
    for status, expected in (
        (RunStatus.COMPLETED, StepStatus.INTERRUPTED),
        (RunStatus.FAILED, StepStatus.INTERRUPTED),
        (RunStatus.STOPPED, StepStatus.STOPPED),
        (RunStatus.INTERRUPTED, StepStatus.INTERRUPTED),
    ):
        run = scene.run()
        scene.start(run)
        error = StepError("ValueError", "no \0 good", "Traceback …") if status == RunStatus.FAILED else None
        ended = catalog.finish_run(run.id, status, error)
        assert (ended.status, ended.error) == (status, error)
        assert ended.ended_at is not None
        assert catalog.list_step_runs(run.id)[0].status == expected


def test_a_completed_run_stays_completed(scene: Scene, catalog: SQLCatalog) -> None:
    """A late end doesn't overwrite the success that was recorded."""
    run = scene.run()
    first = catalog.finish_run(run.id, RunStatus.COMPLETED)
    assert catalog.finish_run(run.id, RunStatus.INTERRUPTED) == first
    with pytest.raises(NotFoundError):
        catalog.finish_run(new_id(), RunStatus.FAILED)


def test_the_heartbeat_carries_a_stop_request(scene: Scene, catalog: SQLCatalog) -> None:
    """A run sees at its next heartbeat that it must stop."""
    run = scene.run()
    assert catalog.heartbeat(run.id) == RunStatus.RUNNING
    catalog.request_stop(run.id)
    assert catalog.heartbeat(run.id) == RunStatus.STOPPED
    catalog.finish_run(run.id, RunStatus.STOPPED)
    with pytest.raises(ConflictError, match="isn.t running"):
        catalog.request_stop(run.id)
    with pytest.raises(NotFoundError):
        catalog.heartbeat(new_id())


def test_silent_and_dead_runs_become_interrupted(scene: Scene, catalog: SQLCatalog) -> None:
    """Runs whose heartbeat stays the same, and those that a caller knows to be dead, are marked with their steps."""
    alive, dead = scene.run(), scene.run()
    scene.start(dead)
    assert {run.id for run in catalog.unfinished_runs()} == {alive.id, dead.id}
    assert catalog.mark_interrupted() == []
    silent = {alive.id: catalog.get_run(alive.id).heartbeat_at}
    assert catalog.mark_interrupted(dead=[dead.id]) == [dead.id]
    assert catalog.get_run(dead.id).status == RunStatus.INTERRUPTED
    assert catalog.list_step_runs(dead.id)[0].status == StepStatus.INTERRUPTED
    catalog.heartbeat(alive.id)
    assert catalog.mark_interrupted(silent=silent) == []
    silent = {alive.id: catalog.get_run(alive.id).heartbeat_at}
    assert catalog.mark_interrupted(silent=silent) == [alive.id]
    assert catalog.unfinished_runs() == []


def test_a_run_that_was_taken_for_dead_comes_back(
    maker: CatalogMaker, scene: Scene, catalog: SQLCatalog
) -> None:
    """The process that still has an interrupted run revives it; another process doesn't."""
    run = scene.run()
    other = maker.open()
    other.mark_interrupted(dead=[run.id])
    assert other.heartbeat(run.id) == RunStatus.INTERRUPTED
    assert catalog.heartbeat(run.id) == RunStatus.RUNNING


def test_a_run_that_was_taken_over_is_lost_to_its_first_process(
    maker: CatalogMaker, scene: Scene, catalog: SQLCatalog
) -> None:
    """After another process resumed the run, the first one's heartbeat returns that it lost it."""
    run = scene.run()
    other = maker.open()
    other.mark_interrupted(dead=[run.id])
    taken = other.restart_run(run.id, host="there", pid=2, pid_started=3.0, orchestrator_id="job")
    assert (taken.id, taken.status, taken.host, taken.pid) == (run.id, RunStatus.RUNNING, "there", 2)
    assert catalog.heartbeat(run.id) == RunStatus.INTERRUPTED
    assert other.heartbeat(run.id) == RunStatus.RUNNING


def test_only_runs_that_ended_without_success_restart(scene: Scene, catalog: SQLCatalog) -> None:
    """A run that is running, and one that completed, can't be resumed."""
    run = scene.run()
    with pytest.raises(ConflictError, match="is running"):
        catalog.restart_run(run.id, host="there", pid=2, pid_started=3.0)
    catalog.finish_run(run.id, RunStatus.FAILED, StepError("E", "m"))
    assert catalog.restart_run(run.id, host="there", pid=2, pid_started=3.0).error is None
    catalog.finish_run(run.id, RunStatus.COMPLETED)
    with pytest.raises(ConflictError, match="nothing to resume"):
        catalog.restart_run(run.id, host="there", pid=2, pid_started=3.0)
    with pytest.raises(NotFoundError):
        catalog.restart_run(new_id(), host="there", pid=2, pid_started=3.0)


def test_a_step_run_comes_back_with_inputs_and_outputs_in_order(scene: Scene, catalog: SQLCatalog) -> None:
    """A finished step run has all that was recorded at its start and end."""
    run = scene.run()
    a, b, c = (scene.saved(name) for name in "abc")
    start = StepStart(
        id=new_id(),
        run_id=run.id,
        key="join",
        name="join",
        attempt=1,
        map_index=3,
        cache_key="key",
        parameters={"n": 1},
        inputs={"z": [c.id, a.id], "y": [b.id], "again": [a.id]},
        resources={"cpus": 2.0},
        source="mod:join",
        code_digest="cd",
        log_uri="file:///log",
    )
    catalog.start_steps([start])
    assert catalog.get_step_run(start.id).status == StepStatus.RUNNING
    ended = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    outputs = [scene.version(n, output_name=n) for n in ("second", "first")]
    outputs.append(scene.version("second", output_name="second"))
    catalog.finish_steps(
        [
            StepFinish(
                id=start.id,
                run_id=run.id,
                status=StepStatus.COMPLETED,
                outputs=outputs,
                metadata={"loss": 0.5},
                ended_at=ended,
            )
        ]
    )
    step = catalog.get_step_run(start.id)
    assert step.inputs == {"z": [c.id, a.id], "y": [b.id], "again": [a.id]}
    assert list(step.inputs) == ["z", "y", "again"]
    assert step.outputs == {"second": [outputs[0].id, outputs[2].id], "first": [outputs[1].id]}
    assert list(step.outputs) == ["second", "first"]
    assert (step.status, step.ended_at, step.metadata) == (StepStatus.COMPLETED, ended, {"loss": 0.5})
    assert (step.map_index, step.parameters, step.resources) == (3, {"n": 1}, {"cpus": 2.0})
    assert (step.source, step.code_digest, step.log_uri) == ("mod:join", "cd", "file:///log")
    assert catalog.list_step_runs(run.id) == [step]


def test_outputs_come_back_as_versions(scene: Scene, catalog: SQLCatalog) -> None:
    """What `finish_steps` returns is what the catalog then holds."""
    run = scene.run()
    start = scene.start(run)
    new = scene.version(
        "model",
        tags=["x"],
        metadata={"shape": (1, 2)},
        visualizations=[Visualization("plot", "html", "plot.html")],
        output_name="model",
        artifact_type="model",
    )
    made = catalog.finish_steps(
        [StepFinish(id=start.id, run_id=run.id, status=StepStatus.COMPLETED, outputs=[new])]
    )[0][0]
    assert (made.version, made.number, made.producer_step_run_id, made.producer_run_id) == (
        "1",
        1,
        start.id,
        run.id,
    )
    assert catalog.get_artifact_version(made.id) == made


def test_repeating_a_finish_changes_nothing(scene: Scene, catalog: SQLCatalog) -> None:
    """A finish that is sent twice returns the same versions, also among new ones."""
    run = scene.run()
    starts = [scene.start(run, key) for key in ("a", "b", "empty")]
    finishes = [
        StepFinish(
            id=start.id,
            run_id=run.id,
            status=StepStatus.COMPLETED,
            outputs=[] if start.key == "empty" else [scene.version("data", output_name="data")],
            metadata={"m": 1},
        )
        for start in starts
    ]
    first = catalog.finish_steps(finishes[:1])
    before = catalog.get_step_run(starts[0].id)
    everything = catalog.finish_steps(finishes)
    assert everything[0] == first[0]
    assert everything[1][0].number == 2
    assert everything[2] == []
    assert catalog.finish_steps(finishes) == everything
    assert catalog.get_step_run(starts[0].id) == before
    assert catalog.list_artifact_versions().total == 2
    late = finishes[0]._replace(status=StepStatus.FAILED, outputs=[])
    catalog.finish_steps([late])
    assert catalog.get_step_run(starts[0].id).status == StepStatus.COMPLETED


def test_a_retry_begins_the_same_step_run_again(scene: Scene, catalog: SQLCatalog) -> None:
    """A higher attempt clears the error and takes the inputs of the new attempt."""
    run = scene.run()
    old, new = scene.saved("in"), scene.saved("in")
    start = scene.start(run, inputs={"x": [old.id]})
    error = StepError("ValueError", "no", "tb")
    catalog.finish_steps([StepFinish(id=start.id, run_id=run.id, status=StepStatus.RETRYING, error=error)])
    waiting = catalog.get_step_run(start.id)
    assert (waiting.status, waiting.error, waiting.ended_at) == (StepStatus.RETRYING, error, None)
    catalog.start_steps([start._replace(attempt=2, inputs={"x": [new.id]})])
    again = catalog.get_step_run(start.id)
    assert (again.status, again.attempt, again.error, again.inputs) == (
        StepStatus.RUNNING,
        2,
        None,
        {"x": [new.id]},
    )


def test_metadata_logged_while_a_step_runs_is_kept(scene: Scene, catalog: SQLCatalog) -> None:
    """Metadata that a step logged and metadata of its end are merged."""
    from rayform_runtime.catalog.entities import Subject

    run = scene.run()
    start = scene.start(run)
    catalog.log_metadata(Subject.STEP_RUN, start.id, {"epoch": 1, "lr": 0.1})
    catalog.finish_steps(
        [StepFinish(id=start.id, run_id=run.id, status=StepStatus.COMPLETED, metadata={"epoch": 2})]
    )
    assert catalog.get_step_run(start.id).metadata == {"epoch": 2, "lr": 0.1}


def test_what_a_step_refers_to_must_exist(scene: Scene, catalog: SQLCatalog) -> None:
    """A step of an unknown run, or with an unknown input, is refused and nothing of it is recorded."""
    run = scene.run()
    ghost = new_id()
    good = StepStart(id=new_id(), run_id=run.id, key="good", name="good")
    with pytest.raises(NotFoundError, match=f"artifact version '{ghost}'"):
        catalog.start_steps([good, good._replace(id=new_id(), inputs={"x": [ghost]})])
    with pytest.raises(NotFoundError, match=f"run '{ghost}'"):
        catalog.start_steps([good._replace(run_id=ghost)])
    with pytest.raises(NotFoundError, match="step run"):
        catalog.finish_steps([StepFinish(id=ghost, run_id=run.id, status=StepStatus.FAILED)])
    assert catalog.list_step_runs(run.id) == []
    with pytest.raises(NotFoundError):
        catalog.list_step_runs(ghost)
    with pytest.raises(NotFoundError):
        catalog.get_step_run(ghost)


def test_the_cache_finds_the_newest_whole_result(scene: Scene, catalog: SQLCatalog) -> None:
    """A key finds the newest completed step run whose outputs are all still there."""
    run = scene.run()
    old_id, old = scene.step(run, "a", outputs=["x", "y"], cache_key="k")
    new_id_, new = scene.step(scene.run("later"), "a", outputs=["x", "y"], cache_key="k")
    failed = scene.start(run, "f", cache_key="failed")
    catalog.finish_steps([StepFinish(id=failed.id, run_id=run.id, status=StepStatus.FAILED)])
    scene.step(run, "none", outputs=[], cache_key="empty")
    results = catalog.find_cached(["k", "k", "failed", "unknown", "empty"])
    assert set(results) == {"k", "empty"}
    assert (results["k"].step_run_id, results["k"].run_name) == (new_id_, "later")
    assert results["k"].outputs == {"x": new[0], "y": new[1]}
    assert list(results["k"].outputs) == ["x", "y"]
    assert results["empty"].outputs == {}
    catalog.delete_artifact_versions([new[1].id], force=True)
    assert catalog.find_cached(["k"])["k"].step_run_id == old_id
    catalog.delete_artifact_versions([old[0].id], force=True)
    assert catalog.find_cached(["k"]) == {}
    assert catalog.find_cached([]) == {}


def test_cached_steps_take_over_outputs_that_outlive_their_maker(scene: Scene, catalog: SQLCatalog) -> None:
    """A cached step run has its source's outputs, also after the run that made them is deleted."""
    first, second = scene.run(), scene.run()
    source = scene.saved("in")
    made_by, made = scene.step(first, "a", inputs={"x": [source.id]}, outputs=["p", "q"], cache_key="k")
    cached_id = scene.cached(second, "a", made_by, {"x": [source.id]})
    cached = catalog.get_step_run(cached_id)
    assert (cached.status, cached.cached_from) == (StepStatus.CACHED, made_by)
    assert cached.outputs == {"p": [made[0].id], "q": [made[1].id]}
    assert cached.inputs == {"x": [source.id]}
    assert [step.id for step in catalog.find_cache_candidates("training", "a")] == [cached_id, made_by]
    catalog.finish_run(first.id, RunStatus.COMPLETED)
    catalog.delete_run(first.id)
    assert catalog.get_step_run(cached_id) == cached
    kept = catalog.get_artifact_version(made[0].id)
    assert (kept.producer_step_run_id, kept.producer_run_id) == (None, None)


def test_skipped_steps_are_recorded_whole(scene: Scene, catalog: SQLCatalog) -> None:
    """`record_cached` also takes steps that were skipped."""
    run, id = scene.run(), new_id()
    catalog.record_cached(
        [
            (
                StepStart(id=id, run_id=run.id, key="s", name="s"),
                StepFinish(id=id, run_id=run.id, status=StepStatus.SKIPPED),
            )
        ]
    )
    step = catalog.get_step_run(id)
    assert step.status == StepStatus.SKIPPED and step.ended_at is not None


def test_steps_are_listed_by_start_and_map_index(scene: Scene, catalog: SQLCatalog) -> None:
    """Instances of a mapped step that started together come in order of their index."""
    run = scene.run()
    scene.start(run, "first")
    catalog.start_steps(
        [StepStart(id=new_id(), run_id=run.id, key="m", name="m", map_index=i) for i in (2, 0, 1)]
    )
    listed = catalog.list_step_runs(run.id)
    assert [(step.key, step.map_index) for step in listed] == [("first", None), ("m", 0), ("m", 1), ("m", 2)]


def test_a_run_at_work_is_not_deleted(scene: Scene, catalog: SQLCatalog) -> None:
    """Only a run that ended can be deleted; its steps and tags go with it."""
    run = scene.run(tags=["t"])
    scene.step(run)
    with pytest.raises(ConflictError, match="is running"):
        catalog.delete_run(run.id)
    catalog.finish_run(run.id, RunStatus.FAILED)
    catalog.delete_run(run.id)
    assert catalog.list_runs(Query(filters={"tag": "t"})).total == 0
    assert catalog.get_artifact_version("model").producer_run_id is None
    with pytest.raises(NotFoundError):
        catalog.delete_run(run.id)


def test_pipelines_are_listed_with_their_last_run(scene: Scene, catalog: SQLCatalog) -> None:
    """Each pipeline shows how many runs it had and how the last one stands."""
    for name in ("a1", "a2"):
        scene.run(name, pipeline="a")
    run = scene.run("b1", pipeline="b")
    catalog.finish_run(run.id, RunStatus.COMPLETED)
    page = catalog.list_pipelines()
    assert page.total == 2
    assert [(p.name, p.runs, p.last_run, p.last_status) for p in page.items] == [
        ("b", 1, "b1", RunStatus.COMPLETED),
        ("a", 2, "a2", RunStatus.RUNNING),
    ]
    assert [p.name for p in catalog.list_pipelines(Query(filters={"name": "a"})).items] == ["a"]


def test_one_step_takes_few_statements(scene: Scene, catalog: SQLCatalog, statements) -> None:  # type: ignore[no-untyped-def]
    """A step that isn't cached takes six statements and two commits at most, look-up in the cache included."""
    run = scene.run()
    source = scene.saved("in")
    seen = statements(catalog)
    catalog.find_cached(["key"])
    scene.step(run, inputs={"x": [source.id]}, cache_key="key")
    flow = [sql for sql in seen if sql in ("BEGIN IMMEDIATE", "COMMIT")]
    assert len(seen) - len(flow) <= 6
    assert flow.count("COMMIT") <= 2


def test_a_thousand_steps_that_end_together_take_few_statements(
    scene: Scene, catalog: SQLCatalog, statements
) -> None:  # type: ignore[no-untyped-def]
    """The instances of a mapped step are recorded together, however many they are."""
    run = scene.run()
    source = scene.saved("in")
    starts = [
        StepStart(id=new_id(), run_id=run.id, key="m", name="m", map_index=i, inputs={"x": [source.id]})
        for i in range(1000)
    ]
    seen = statements(catalog)
    catalog.start_steps(starts)
    made = catalog.finish_steps(
        [
            StepFinish(id=s.id, run_id=run.id, status=StepStatus.COMPLETED, outputs=[scene.version("out")])
            for s in starts
        ]
    )
    assert len(seen) <= 9
    assert [versions[0].number for versions in made] == list(range(1, 1001))
