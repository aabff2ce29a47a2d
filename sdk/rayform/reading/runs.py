"""The functions of `Client` that read and change runs, their steps and pipelines."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rayform.reading import listing
from rayform.reading.metadata import update_tags
from rayform.reading.views.base import Page
from rayform.reading.views.reader import Reader, Ref
from rayform.reading.views.runs import PipelineView, RunView, StepRunView
from rayform.stacks import stack_names
from rayform_core.errors import ConflictError, NotFoundError, RayformError

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import StepRun


def get_pipeline_run(client: Reader, name_id_or_prefix: Ref) -> RunView:
    """Return a run.

    Args:
        name_id_or_prefix: its name, its UUID, or a unique prefix of either.

    Raises:
        NotFoundError: no run has this name or ID.
        ConflictError: the prefix fits several runs.
    """
    try:
        run = client.catalog.get_run(name_id_or_prefix)
    except NotFoundError as error:
        _name_other_stacks(client, error)
        raise
    if not run.status.is_finished and _mark_dead_runs(client):
        run = client.catalog.get_run(run.id)
    return RunView(run, client)


def _name_other_stacks(client: Reader, error: NotFoundError) -> None:
    """If there are other stacks, add to the error that only this stack's catalog was searched."""
    with contextlib.suppress(RayformError):  # the error itself is what counts
        if others := [f"'{other}'" for other in stack_names() if other != client.stack_name]:
            names = ", ".join(others[:5]) + (", …" if len(others) > 5 else "")
            hint = f"For a run of another stack ({names}) add `--stack NAME`, in Python `Client(NAME)`."
            error.why = f"Only the catalog of stack '{client.stack_name}' was searched."
            error.hint = f"{error.hint} {hint}" if error.hint else hint


def list_pipeline_runs(
    client: Reader, sort_by: str | None = None, page: int = 1, size: int = 20, **filters: object
) -> Page[RunView]:
    """List runs.

    Args:
        sort_by: a field, with `-` before it for descending order (or ZenML's `"desc:created"`); newest first by
            default.
        page: which page, from 1.
        size: how many items on a page.
        filters: values by field (`pipeline`, `status`, `name`, `stack_name`, `tag`, `created_at`, …): a value, a
            list of allowed values, or text such as `"contains:x"` or `"gte:2026-01-01"`.

    Raises:
        UsageError: a field is unknown; names the nearest one.
    """
    query = listing.query_of(sort_by, page, size, filters)
    runs = listing.page_of(client.catalog.list_runs, RunView, client, query)
    if any(not run.status.is_finished for run in runs) and _mark_dead_runs(client):
        runs = listing.page_of(client.catalog.list_runs, RunView, client, query)
    return runs


def _mark_dead_runs(client: Reader) -> bool:
    """Mark runs whose process died without recording it; only called if a run claims to be running."""
    from rayform_runtime.execution.scheduling.liveness import mark_dead_runs

    return bool(mark_dead_runs(client.catalog))


def update_pipeline_run(
    client: Reader, name_id_or_prefix: Ref, add_tags: Sequence[str] = (), remove_tags: Sequence[str] = ()
) -> RunView:
    """Change a run's tags."""
    run = get_pipeline_run(client, name_id_or_prefix)
    update_tags(client, "run", run.id, add_tags, remove_tags)
    return run.refresh()


def delete_pipeline_run(client: Reader, name_id_or_prefix: Ref) -> None:
    """Delete a finished run and its step runs. Artifact versions stay, without a producer.

    Raises:
        ConflictError: the run is still running.
    """
    client.catalog.delete_run(get_pipeline_run(client, name_id_or_prefix).id)


def get_run_step(client: Reader, step_run_id: Ref) -> StepRunView:
    """Return a step run by its UUID."""
    return StepRunView(client.catalog.get_step_run(listing.as_uuid(step_run_id, "step run")), client)


def list_run_steps(client: Reader, run: Ref) -> list[StepRunView]:
    """Return the step runs of a run, in the order in which they started."""
    return get_pipeline_run(client, run).step_runs


def step_log(client: Reader, step: StepRun) -> str:
    """Return what a step run printed and logged; empty if it printed nothing.

    Raises:
        NotFoundError: the log is on another machine.
    """
    from rayform_runtime.execution.worker.logs import read_log

    return read_log(step.log_uri, client.artifact_store).decode(errors="replace")


# -- pipelines --------------------------------------------------------------------------------------------
def get_pipeline(client: Reader, name: str) -> PipelineView:
    """Return a pipeline that has runs.

    Raises:
        NotFoundError: no pipeline has this name; names the nearest ones.
    """
    pipelines = list_pipelines(client, name=name, size=1)
    if not pipelines:
        raise NotFoundError("pipeline", name, known=[p.name for p in list_pipelines(client, size=1000)])
    return pipelines[0]


def list_pipelines(
    client: Reader, sort_by: str | None = None, page: int = 1, size: int = 20, **filters: object
) -> Page[PipelineView]:
    """List the pipelines that have runs; see `list_pipeline_runs`."""
    query = listing.query_of(sort_by, page, size, filters)
    return listing.page_of(client.catalog.list_pipelines, PipelineView, client, query)


def delete_pipeline(client: Reader, name: str) -> int:
    """Delete all runs of a pipeline, and return how many there were.

    Raises:
        ConflictError: one is still running; nothing was deleted.
    """
    get_pipeline(client, name)
    runs: list[RunView] = []
    page = 1
    while more := list_pipeline_runs(client, pipeline=name, page=page, size=10_000):
        runs += more
        page += 1
    running = [run.name for run in runs if not run.status.is_finished]
    if running:
        raise ConflictError(
            f"Pipeline '{name}' has a run that is still running.",
            why=f"Run '{running[0]}' hasn't ended.",
            hint=f"Stop it first: rayform runs stop {running[0]}",
        )
    for run in runs:
        client.catalog.delete_run(run.id)
    return len(runs)
