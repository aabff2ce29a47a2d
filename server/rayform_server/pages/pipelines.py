"""Pipelines: the list, and one pipeline over time."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from rayform_core.errors import NotFoundError
from rayform_runtime.catalog.entities import Query, Run
from rayform_server import context, formats
from rayform_server.graph import rows_of

__all__ = ["pipeline", "pipelines"]

_RUNS = 30
"""Runs of a pipeline in its charts."""


@dataclass(frozen=True, slots=True)
class Column:
    """A run in the matrix of runs and steps; `height` is its duration in thousandths of the longest one."""

    run: Run
    seconds: float | None
    height: float
    cells: dict[str, str]


def pipelines(request: Request) -> Response:
    """Show a page of the pipelines."""
    state = context.ListState.of(request, "rayform pipeline list")
    if "sort" not in request.query_params:
        from dataclasses import replace

        state = replace(state, sort="-last_run_at")
    page = context.client_of(request).catalog.list_pipelines(state.query())
    return context.page(request, "pipelines.html", state=state, pipelines=page)


def pipeline(request: Request) -> Response:
    """Show a pipeline's durations and failures over time, and its newest runs by step."""
    client = context.client_of(request)
    name = request.query_params.get("name", "")
    runs = client.catalog.list_runs(Query({"pipeline": [f"eq:{name}"]}, size=_RUNS))
    if not runs.items:
        known = [each.name for each in client.catalog.list_pipelines(Query(size=1000)).items]
        raise NotFoundError("pipeline", name, known=known)
    newest = list(reversed(runs.items))
    times = [formats.took(run.started_at, run.ended_at) if run.ended_at else None for run in newest]
    longest = max((seconds for seconds in times if seconds is not None), default=0.0) or 1.0
    columns, keys, cached, ended = [], dict[str, None](), 0, 0
    for run, seconds in zip(newest, times, strict=True):
        rows = rows_of(run, client.catalog.summarize_steps(run.id))
        cells = {row.key: row.status for row in rows}
        keys |= dict.fromkeys(cells)
        cached += sum(1 for status in cells.values() if status == "cached")
        ended += sum(1 for status in cells.values() if status in ("cached", "completed"))
        columns.append(Column(run, seconds, 1000 * (seconds or 0) / longest, cells))
    finished = [run for run in newest if run.status.is_finished]
    return context.page(
        request,
        "pipeline.html",
        name=name,
        runs=runs,
        columns=columns,
        keys=list(keys)[:60],
        more_keys=max(len(keys) - 60, 0),
        longest=longest,
        cached_share=cached / ended if ended else None,
        failed=sum(1 for run in finished if run.status.value in ("failed", "interrupted")),
        finished=len(finished),
        last_good=next((run for run in reversed(newest) if run.status.value == "completed"), None),
    )
