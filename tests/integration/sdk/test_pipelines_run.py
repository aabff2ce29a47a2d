"""What pipelines can say, run for real on the default stack."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import sdk_pipelines as pipes

from rayform import Client
from rayform_core.errors import PipelineFailedError, UsageError

pytestmark = pytest.mark.usefixtures("home")


def test_map_and_join_return_a_run_that_can_be_read() -> None:
    """A call runs the pipeline; its run gives status, steps and values."""
    run = pipes.sum_of_squares(count=4)
    assert run.status == "completed"
    assert run.parameters == {"count": 4}
    assert run.steps["add"].output.load() == sum(n**2 + 1 for n in range(4))
    assert run.steps["numbers"].outputs["numbers"].tags == ["raw"]
    again = pipes.sum_of_squares(count=4)
    assert again.id != run.id
    assert {s.status for s in again.step_runs} == {"cached"}
    assert again.steps["add"].output.load() == run.steps["add"].output.load()


def test_maps_of_several_outputs_of_maps_and_gathered_lists() -> None:
    """Mapped steps with two outputs, a map over a map, and a list of single outputs all join."""
    run = pipes.many_ways(count=7)
    assert run.steps["pair"].output.load() == pipes.Point(0, float(sum(range(7))))
    assert run.steps["add"].output.load() == 4 + 9
    assert run.steps["again"].output.load() == sum(n**4 for n in range(7))


def test_an_empty_list_maps_to_an_empty_list() -> None:
    """A map over nothing runs nothing, and its join gets an empty list."""
    assert pipes.sum_of_squares(count=0).steps["add"].output.load() == 0


def test_parameters_of_a_persons_own_types_arrive_as_such() -> None:
    """A pydantic model and a dataclass are frozen as JSON and are themselves again in the worker."""
    run = pipes.with_values(pipes.Options(depth=2, names=("a", "b")), pipes.Point(1, 2.5))
    assert run.steps["describe"].output.load() == "2 ('a', 'b') 1 2.5"


def test_after_orders_steps_without_data(tmp_path: Path) -> None:
    """Steps that share no data run in the order that `after` says."""
    notes = tmp_path / "notes"
    pipes.in_order(str(notes))
    assert notes.read_text().split() == ["first", "second", "third"]


def test_a_pipeline_in_a_pipeline_runs_as_one() -> None:
    """The inner pipeline's output feeds a step of the outer one."""
    run = pipes.nested(count=3)
    assert run.steps["double"].output.load() == 2 * (1 + 2 + 5)


def test_a_stored_version_is_an_input() -> None:
    """An artifact of an earlier run feeds a step, and lineage knows it."""
    pipes.sum_of_squares(count=5)
    stored = Client().get_artifact_version("numbers")
    run = pipes.from_store(stored)
    assert run.steps["add"].output.load() == 10
    assert run.steps["add"].inputs["values"].id == stored.id


def test_what_a_mapped_step_made_is_an_input_of_another_pipeline() -> None:
    """The versions of all instances arrive as a list."""
    earlier = pipes.sum_of_squares(count=3)
    run = pipes.from_store(earlier.steps["square"].output)
    assert run.steps["add"].output.load() == 1 + 2 + 5


def test_retries_and_the_success_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is tried again as often as it says, and its success hook is called once."""
    notes = tmp_path / "notes"
    monkeypatch.setenv("NOTES", str(notes))
    run = pipes.retried(str(notes))
    assert run.steps["unsteady"].output.load() == 3
    assert notes.read_text().splitlines() == ["try", "try", "try", "success hook"]


def test_a_failed_run_raises_and_tells_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed step fails the run, skips what depends on it, lets the rest finish, and calls its own hook."""
    notes = tmp_path / "notes"
    monkeypatch.setenv("NOTES", str(notes))
    with pytest.raises(PipelineFailedError, match="Step 'broken' raised ValueError: as meant"):
        pipes.failing()
    run = Client().list_pipeline_runs()[0]
    assert run.status == "failed"
    assert {key: s.status.value for key, s in run.steps.items()} == {
        "broken": "failed",
        "add": "skipped",
        "square": "completed",
    }
    assert notes.read_text().splitlines() == ["failure hook: as meant"]


def test_configuration_file_and_run_name(tmp_path: Path) -> None:
    """`config_path` overrides code, and names the run."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "parameters: {count: 2}\nrun_name: 'mine-{pipeline}'\ntags: [a]\nsteps:\n  square: {retry: 1}\n"
    )
    run = pipes.sum_of_squares.with_options(config_path=path)()
    assert (run.name, run.parameters, run.tags) == ("mine-sum_of_squares", {"count": 2}, ["a"])


def test_a_wrong_call_leaves_no_run_behind() -> None:
    """What is refused while tracing is never recorded."""
    with pytest.raises(UsageError):
        pipes.sum_of_squares(count="many")  # type: ignore[call-overload]
    assert len(Client().list_pipeline_runs()) == 0
