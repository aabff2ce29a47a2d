"""The logs of a run: the end of them, search, download, and new lines while it runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rayform_core.errors import NotFoundError
from rayform_server import context
from rayform_server.graph import title
from rayform_server.pages.run import found, head
from rayform_server.steplogs import StepLog, lines_of, spans

if TYPE_CHECKING:
    from rayform.reading.client import Client
    from rayform_runtime.catalog.entities import Run, StepRun

__all__ = ["download", "logs", "stream"]

_WINDOW = 128_000
"""Bytes of a log on a page; all logs of a run share it."""
_MATCHES = 500
_SECTIONS = 40
_EVENT_BYTES = 64_000


def _steps(client: Client, run: Run, wanted: str) -> tuple[list[StepRun], list[StepRun]]:
    """Return the step runs of a run that may have a log, and those of them that are wanted."""
    steps = [step for step in client.catalog.list_step_runs(run.id) if step.log_uri]
    chosen = [step for step in steps if not wanted or wanted in (title(step), step.key)]
    if wanted and not chosen:
        raise NotFoundError("log of step", wanted, known=[title(step) for step in steps[:1000]])
    return steps, chosen


def logs(request: Request) -> Response:
    """Show the end of a run's logs, an earlier part of one, or the lines that contain a text."""
    client, run = found(request)
    wanted, text = request.query_params.get("step", ""), request.query_params.get("q", "")
    steps, chosen = _steps(client, run, wanted)
    before = context.number_of(request, "before", 0) or None
    sections, more = [], False
    shown = chosen[:_SECTIONS]
    for step in shown:
        log = StepLog(client, step)
        if text:
            lines, cut = log.search(text, _MATCHES)
            more, begin = more or cut, 0
        else:
            begin, lines = log.before(before if len(chosen) == 1 else None, _WINDOW // len(shown))
        if lines:
            sections.append((step, begin, [(line.number, spans(line.text)) for line in lines]))
    return context.page(
        request,
        "logs.html",
        head(run, "logs"),
        titles=[title(step) for step in steps[:500]],
        wanted=wanted,
        q=text,
        sections=sections,
        more=more,
        omitted=len(chosen) - len(shown),
        before=before,
        title_of=title,
    )


def download(request: Request) -> Response:
    """Return the whole logs as one text file."""
    client, run = found(request)
    _, chosen = _steps(client, run, request.query_params.get("step", ""))

    def parts() -> Iterator[bytes]:
        for step in chosen:
            if len(chosen) > 1:
                yield f"== {title(step)}\n".encode(errors="replace")
            yield from StepLog(client, step).chunks()

    name = run.name if run.name.isascii() and run.name.replace("-", "").replace("_", "").isalnum() else run.id
    return StreamingResponse(
        parts(),
        media_type="text/plain; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}.log"'},
    )


def stream(request: Request) -> Response:
    """Send new lines as server-sent events until the run ends."""
    client, run = found(request)
    wanted = request.query_params.get("step", "")
    return StreamingResponse(_events(client, run, wanted), media_type="text/event-stream")


async def _events(client: Client, run: Run, wanted: str) -> AsyncIterator[str]:
    positions: dict[object, int] = {}
    first = True
    while True:
        run, news = await run_in_threadpool(_news, client, run, wanted, positions, first)
        first = False
        for label, lines in news:
            parts = [[[span.text, span.style] for span in spans(line)] for line in lines]
            yield f"data: {json.dumps({'step': label, 'lines': parts})}\n\n"
        if run.status.is_finished and not news:
            yield "event: end\ndata: {}\n\n"
            return
        yield ": \n\n"  # shows whether the browser is still there
        await asyncio.sleep(0.5)


def _news(
    client: Client, run: Run, wanted: str, positions: dict[object, int], first: bool
) -> tuple[Run, list[tuple[str, list[str]]]]:
    """Return the run as it is now, and whole lines that were written since `positions`, which are moved."""
    run = client.catalog.get_run(run.id, hydrate=False)
    news = []
    for step in client.catalog.list_step_runs(run.id):
        if not step.log_uri or (wanted and wanted not in (title(step), step.key)):
            continue
        if step.id in positions and step.ended_at is not None and positions[step.id] < 0:
            continue  # its end was sent
        log = StepLog(client, step)
        start = positions.get(step.id, log.size() if first else 0)
        data = log.read(start, _EVENT_BYTES)
        if step.ended_at is None:
            data = data[: data.rfind(b"\n") + 1]
        positions[step.id] = start + len(data)
        if step.ended_at is not None and not data:
            positions[step.id] = -1
        if data:
            news.append((title(step), lines_of(data)))
    return run, news
