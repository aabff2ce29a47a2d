"""One run: its steps, graph, timeline, artifacts and configuration."""

from __future__ import annotations

import difflib
import shlex
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rayform_core.errors import NotFoundError
from rayform_runtime.catalog.summaries import StepChoice
from rayform_server import context, formats
from rayform_server.graph import StepRow, bars, graph_of, rows_of, title
from rayform_server.pages.actions import repeat_arguments

if TYPE_CHECKING:
    from uuid import UUID

    from rayform.reading.client import Client
    from rayform_runtime.catalog.entities import Run, StepRun

__all__ = ["artifacts", "configuration", "found", "graph", "head", "step", "summary", "timeline"]

_PAGE = 200
"""Instances of a mapped step, or artifacts of a run, on a page."""
_TABLE = 500
"""Steps in the table of a run; the graph has all."""
_BARS = 400
"""Bars of a timeline."""


def found(request: Request) -> tuple[Client, Run]:
    """Return the client and the run that a request is about."""
    client = context.client_of(request)
    return client, client.catalog.get_run(request.path_params["ref"])


def head(run: Run, tab: str) -> dict[str, object]:
    """Return what the head of each of a run's pages shows."""
    return {
        "run": run,
        "tab": tab,
        "can_resume": run.status.is_finished and run.status.value != "completed",
        "can_repeat": run.status.is_finished and repeat_arguments(run) is not None,
        "commands": {
            "describe": shlex.join(["rayform", "runs", "describe", run.name]),
            "resume": shlex.join(["rayform", "runs", "resume", run.name]),
        },
    }


def summary(request: Request) -> Response:
    """Show a run's graph, its steps and its errors."""
    client, run = found(request)
    rows = rows_of(run, client.catalog.summarize_steps(run.id))
    plain = [row.key for row in rows[:_TABLE] if not row.is_mapped]
    steps = client.catalog.list_step_runs(run.id, StepChoice(keys=plain))
    return context.page(
        request,
        "run.html",
        head(run, ""),
        rows=rows[:_TABLE],
        more=len(rows) - _TABLE,
        outputs={step.key: step.outputs for step in steps},
        failed=client.catalog.list_step_runs(run.id, StepChoice(status="failed", limit=10)),
        title_of=title,
    )


def graph(request: Request) -> Response:
    """Return a run's graph as JSON."""
    client, run = found(request)
    rows = rows_of(run, client.catalog.summarize_steps(run.id))
    place = context.place_of(request)

    def link(row: StepRow) -> str:
        return place.run(run, "step", key=row.key)

    return JSONResponse(graph_of(run, rows, link))


def step(request: Request) -> Response:
    """Show one step of a run, or one instance of a mapped step."""
    client, run = found(request)
    key, index = request.query_params.get("key", ""), request.query_params.get("index")
    rows = rows_of(run, client.catalog.summarize_steps(run.id))
    row = next((row for row in rows if row.key == key), None)
    if row is None:
        raise NotFoundError("step", key, known=[row.key for row in rows], within=f"of run '{run.name}'")
    start = context.number_of(request, "from", 0)
    record, instances = None, []
    if index is not None:
        number = context.number_of(request, "index", 0)
        found_steps = client.catalog.list_step_runs(run.id, StepChoice(keys=[key], map_index=number))
        if not found_steps:
            raise NotFoundError("instance", index, within=f"of step '{key}'")
        record = found_steps[-1]
    elif row.is_mapped:
        choice = StepChoice(keys=[key], by_index=True, first=start, limit=_PAGE)
        instances = client.catalog.list_step_runs(run.id, choice)
    elif plain := client.catalog.list_step_runs(run.id, StepChoice(keys=[key])):
        record = plain[-1]
    ids = [] if record is None else _ids(record)
    cached_from = None
    if record is not None and record.cached_from is not None:
        cached_from = _origin(client, record)
    return context.page(
        request,
        "step.html",
        head(run, "step"),
        row=row,
        step=record,
        versions=client.catalog.get_artifact_versions(ids),
        cached_from=cached_from,
        instances=instances,
        start=start,
        size=_PAGE,
        title_of=title,
    )


def _ids(record: StepRun) -> list[UUID]:
    return [each for group in (*record.inputs.values(), *record.outputs.values()) for each in group]


def _origin(client: Client, record: StepRun) -> Run | None:
    assert record.cached_from is not None
    try:
        origin = client.catalog.get_step_run(record.cached_from)
        return client.catalog.get_run(origin.run_id, hydrate=False)
    except NotFoundError:
        return None  # the run was deleted


def timeline(request: Request) -> Response:
    """Show when each step waited and ran."""
    client, run = found(request)
    rows = rows_of(run, client.catalog.summarize_steps(run.id))
    chart = bars(run, rows, client.catalog.list_step_runs(run.id, StepChoice(limit=_BARS)))
    return context.page(request, "timeline.html", head(run, "timeline"), chart=chart)


def artifacts(request: Request) -> Response:
    """Show the artifact versions that a run made or took from the cache."""
    client, run = found(request)
    steps = client.catalog.list_step_runs(run.id)
    made = [(step, name, each) for step in steps for name, ids in step.outputs.items() for each in ids]
    start = context.number_of(request, "from", 0)
    shown = made[start : start + _PAGE]
    versions = client.catalog.get_artifact_versions([version_id for _, _, version_id in shown])
    return context.page(
        request,
        "run_artifacts.html",
        head(run, "artifacts"),
        outputs=[(step, name, versions[each]) for step, name, each in shown if each in versions],
        total=len(made),
        start=start,
        size=_PAGE,
        title_of=title,
    )


def configuration(request: Request) -> Response:
    """Show a run's parameters, code, environment and stack, and how they differ from another run's."""
    client, run = found(request)
    other_name = request.query_params.get("other", "").strip()
    difference: list[str] = []
    other: Run | None = None
    if other_name:
        other = client.catalog.get_run(other_name)
        difference = list(
            difflib.unified_diff(
                _configuration(other).splitlines(),
                _configuration(run).splitlines(),
                other.name,
                run.name,
                n=2,
                lineterm="",
            )
        )
    from rayform_runtime.catalog.entities import Query

    earlier = client.catalog.list_runs(Query({"pipeline": run.pipeline}, size=20)).items
    return context.page(
        request,
        "configuration.html",
        head(run, "configuration"),
        parts_=[
            (name, formats.json_text(part))
            for name, part in (
                ("Parameters", run.parameters),
                ("Metadata", run.metadata),
                ("Code", run.code),
                ("Environment", run.environment),
                ("Stack", run.stack),
            )
            if part
        ],
        other=other,
        difference=difference,
        others=[each for each in earlier if each.id != run.id],
    )


def _configuration(run: Run) -> str:
    parts = {
        "parameters": run.parameters,
        "code": run.code,
        "environment": run.environment,
        "stack": run.stack,
        "steps": run.spec.get("steps", []),
    }
    return formats.json_text(parts)
