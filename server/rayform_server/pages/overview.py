"""The first page: what runs, what failed, what ran last."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from rayform_server import context, formats
from rayform_server.graph import rows_of

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import Run
    from rayform_runtime.catalog.interface import Catalog

__all__ = ["overview"]


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed runs of a pipeline with the same error."""

    pipeline: str
    error: str
    runs: list[Run]


def overview(request: Request) -> Response:
    """Show the runs in progress, the failures of the last week and the newest runs."""
    from rayform_runtime.catalog.entities import Query

    client = context.client_of(request)
    catalog = client.catalog
    week_ago = datetime.now(UTC) - timedelta(days=7)
    # Two lists: each has an index of its own, and both together none.
    failed = [
        run
        for status in ("failed", "interrupted")
        for run in catalog.list_runs(
            Query({"status": status, "created_at": f"gte:{week_ago.isoformat()}"}, size=50)
        ).items
    ]
    newest = catalog.list_runs(Query(size=10))
    live = catalog.unfinished_runs()[:20]
    return context.page(
        request,
        "overview.html",
        live=[(run, *_progress(catalog, run)) for run in live],
        failures=_grouped(failed),
        newest=newest.items,
        total=newest.total,
    )


def _grouped(runs: list[Run]) -> list[Failures]:
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        message = f"{run.error.type}: {run.error.message}" if run.error else run.status.value
        groups[run.pipeline, formats.short(message, 160)].append(run)
    rows = [Failures(pipeline, error, found) for (pipeline, error), found in groups.items()]
    return sorted(rows, key=lambda row: -len(row.runs))[:10]


def _progress(catalog: Catalog, run: Run) -> tuple[int, int, float | None]:
    """Return a run's ended and known steps, and the seconds that it still needs if it takes as long as earlier ones."""
    from rayform_runtime.catalog.entities import Query

    rows = rows_of(catalog.get_run(run.id), catalog.summarize_steps(run.id))
    steps = sum(max(row.total, 1) for row in rows)
    ended = sum(row.ended for row in rows)
    past = catalog.list_runs(Query({"pipeline": run.pipeline, "status": "completed"}, size=10)).items
    times = [
        seconds for each in past if (seconds := formats.took(each.started_at, each.ended_at)) is not None
    ]
    passed = formats.took(run.started_at, None)
    left = max(statistics.median(times) - passed, 0.0) if times and passed is not None else None
    return ended, steps, left
