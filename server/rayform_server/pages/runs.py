"""The list of runs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rayform_server import context

__all__ = ["runs"]

_STATUSES = ("running", "completed", "failed", "interrupted", "stopped")


def runs(request: Request) -> Response:
    """Show a page of the runs that match the filters."""
    state = context.ListState.of(request, "rayform runs list")
    page = context.client_of(request).catalog.list_runs(state.query())
    return context.page(request, "runs.html", state=state, runs=page, statuses=_STATUSES)
