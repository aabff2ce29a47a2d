"""Search over names, UUIDs and tags."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rayform_core.errors import RayformError
from rayform_runtime.catalog.entities import Query
from rayform_server import context

if TYPE_CHECKING:
    from rayform.reading.client import Client

__all__ = ["search", "search_json"]

_EACH = 8
_ID = re.compile(r"[0-9a-fA-F]{8}[0-9a-fA-F\-]*")


class Hit(NamedTuple):
    """Something that fits the text: what it is, its name, a detail, its address."""

    kind: str
    name: str
    detail: str
    href: str


def search(request: Request) -> Response:
    """Show what fits a text."""
    text = request.query_params.get("q", "").strip()[:200]
    return context.page(request, "search.html", q=text, hits=_hits(request, text))


def search_json(request: Request) -> Response:
    """Return what fits a text, for the search field."""
    text = request.query_params.get("q", "").strip()[:200]
    return JSONResponse([hit._asdict() for hit in _hits(request, text)])


def _hits(request: Request, text: str) -> list[Hit]:
    if not text:
        return []
    client, place = context.client_of(request), context.place_of(request)
    hits = _by_id(client, place, text) if _ID.fullmatch(text) else []
    catalog = client.catalog
    named = Query({"name": f"contains:{text}"}, size=_EACH)
    tagged = Query({"tag": f"eq:{text}"}, size=_EACH)
    runs = {run.id: run for query in (named, tagged) for run in catalog.list_runs(query).items}
    hits += [Hit("pipeline", p.name, f"{p.runs:,} runs", place.link("/pipeline", name=p.name))
             for p in catalog.list_pipelines(named).items]  # fmt: skip
    hits += [Hit("run", run.name, run.status.value, place.run(run)) for run in runs.values()]
    artifacts = {a.id: a for query in (named, tagged) for a in catalog.list_artifacts(query).items}
    hits += [Hit("artifact", a.name, f"version {a.latest_version}", place.link("/artifact", name=a.name))
             for a in artifacts.values()]  # fmt: skip
    models = {m.id: m for query in (named, tagged) for m in catalog.list_models(query).items}
    hits += [Hit("model", m.name, f"version {m.latest_version}", place.link("/model", name=m.name))
             for m in models.values()]  # fmt: skip
    return hits


def _by_id(client: Client, place: context.Place, text: str) -> list[Hit]:
    hits = []
    with contextlib.suppress(RayformError):
        run = client.catalog.get_run(text, hydrate=False)
        hits.append(Hit("run", run.name, str(run.id), place.run(run)))
    with contextlib.suppress(RayformError):
        version = client.catalog.get_artifact_version(text)
        hits.append(
            Hit(
                "version",
                f"{version.name} {version.version}",
                str(version.id),
                place.link(f"/versions/{version.id}"),
            )
        )
    return hits
