"""Artifacts: the list, the versions of one, and one version with its previews and lineage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rayform_core.errors import NotFoundError, RayformError, UsageError
from rayform_server import context, formats
from rayform_server.pages.previews import previews_of

if TYPE_CHECKING:
    from rayform.reading.client import Client
    from rayform_runtime.catalog.entities import ArtifactVersion

__all__ = ["artifact", "artifacts", "curves_of", "lineage", "version", "version_of"]

_LINEAGE_NODES = 400


def artifacts(request: Request) -> Response:
    """Show a page of the artifacts."""
    state = context.ListState.of(request, "rayform artifact list")
    page = context.client_of(request).catalog.list_artifacts(state.query())
    return context.page(request, "artifacts.html", state=state, artifacts=page)


def artifact(request: Request) -> Response:
    """Show the versions of an artifact, and how the numbers in their metadata changed."""
    client = context.client_of(request)
    record = client.catalog.get_artifact(request.query_params.get("name", ""))
    state = context.ListState.of(request, f"rayform artifact versions {record.name}")
    if "sort" not in request.query_params:
        state = replace(state, sort="-sequence")
    page = client.catalog.list_artifact_versions(state.query({"artifact_id": record.id}, hydrate=True))
    entries = [(each.version, each.metadata) for each in reversed(page.items)]
    return context.page(
        request, "artifact.html", artifact=record, state=state, versions=page, curves=curves_of(entries)
    )


def curves_of(entries: Sequence[tuple[str, Mapping[str, object]]]) -> dict[str, object]:
    """Return the numbers in metadata over versions, for a chart; empty if nothing changed."""
    series: dict[str, list[float | None]] = {}
    for index, (_, metadata) in enumerate(entries):
        for key, value in metadata.items():
            number = value.get("value") if isinstance(value, Mapping) and "$type" in value else value
            if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
                series.setdefault(key, [None] * len(entries))[index] = number
    kept = {key: values for key, values in series.items() if sum(1 for v in values if v is not None) > 1}
    if not kept:
        return {}
    return {
        "labels": [name for name, _ in entries],
        "series": [{"name": key, "values": values} for key, values in list(kept.items())[:12]],
    }


def version_of(request: Request) -> tuple[Client, ArtifactVersion]:
    """Return the client and the version that a request is about.

    Raises:
        UsageError: its ID isn't one.
    """
    client = context.client_of(request)
    try:
        version_id = UUID(request.path_params["id"])
    except ValueError:
        raise UsageError(f"'{request.path_params['id']}' is not an ID of a version.") from None
    return client, client.catalog.get_artifact_version(version_id)


def version(request: Request) -> Response:
    """Show a version: where it came from, its metadata, its previews and its lineage."""
    client, record = version_of(request)
    producer = None
    if record.producer_run_id is not None:
        try:
            producer = client.catalog.get_run(record.producer_run_id, hydrate=False)
        except NotFoundError:
            producer = None
    step = None
    if producer is not None and record.producer_step_run_id is not None:
        step = client.catalog.get_step_run(record.producer_step_run_id)
    problem, previews = None, []
    try:
        previews = previews_of(record, client.artifact_store)
    except RayformError as error:
        problem = error
    return context.page(
        request,
        "version.html",
        version=record,
        producer=producer,
        step=step,
        previews=previews,
        problem=problem,
    )


def lineage(request: Request) -> Response:
    """Return what a version was made from and what was made from it, as a graph."""
    client, record = version_of(request)
    depth = context.number_of(request, "depth", 3)
    place = context.place_of(request)
    found = client.catalog.lineage(record.id, depth=min(max(depth, 1), 50))
    nodes: list[dict[str, object]] = [
        {
            "id": str(each.id),
            "label": each.name,
            "detail": f"version {each.version} · {formats.size(each.size)}",
            "status": "root" if each.id == record.id else "data",
            "symbol": "◆" if each.artifact_type == "model" else "▤",
            "done": None,
            "href": place.link(f"/versions/{each.id}"),
        }
        for each in found.versions.values()
    ]
    for step in found.step_runs.values():
        run = found.runs.get(step.run_id)
        nodes.append(
            {
                "id": str(step.id),
                "label": step.key,
                "detail": run.name if run else step.status.value,
                "status": step.status.value,
                "symbol": formats.symbol(step.status.value),
                "done": None,
                "href": place.run(run, "step", key=step.key, index=step.map_index) if run else None,
            }
        )
    kept = {node["id"] for node in nodes[:_LINEAGE_NODES]}
    edges = [[str(edge.source), str(edge.target)] for edge in found.edges]
    return JSONResponse(
        {
            "running": False,
            "nodes": nodes[:_LINEAGE_NODES],
            "edges": [edge for edge in edges if kept >= set(edge)],
            "omitted": max(len(nodes) - _LINEAGE_NODES, 0),
        }
    )
