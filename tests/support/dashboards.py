"""The dashboard for tests: its application with a session, and a small catalog with runs of each status."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rayform.reading.client import Client
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import (
    NewArtifactVersion,
    NewRun,
    RunStatus,
    StepError,
    StepFinish,
    StepStart,
    StepStatus,
    Visualization,
)
from rayform_server.app import create_app
from rayform_server.security import Sessions

KEY = b"k" * 32
PORT = 8237


def opened(stack: str = "default", *, with_session: bool = True) -> TestClient:
    """Return a client of the dashboard's application; with a session, as a browser has after its first page."""
    app = create_app(stack=stack, key=KEY, port=PORT)
    browser = TestClient(app, base_url=f"http://127.0.0.1:{PORT}", raise_server_exceptions=False)
    if with_session:
        assert browser.get("/enter", params={"token": Sessions.token(KEY)}).status_code == 200
    return browser


@pytest.fixture
def browser(rayform_home: Path) -> TestClient:
    """A client of the dashboard, with a session."""
    return opened()


@dataclass(frozen=True)
class Texts:
    """What users can name and write in a run."""

    run: str = "train-1"
    pipeline: str = "train"
    tag: str = "nightly"
    step: str = "fit"
    artifact: str = "model"
    key: str = "accuracy"
    value: object = 0.9
    error: str = "it failed"
    log: bytes = b"a line\n"


def write_run(client: Client, texts: Texts = Texts(), status: RunStatus = RunStatus.FAILED) -> NewRun:
    """Write a run with two steps, an artifact version, a log, an error and metadata."""
    catalog = client.catalog
    spec = {"name": texts.pipeline, "steps": [{"key": texts.step}, {"key": "next", "after": [texts.step]}]}
    run = NewRun(
        new_id(), texts.run, texts.pipeline, spec, "default", {}, {texts.key: texts.value}, [texts.tag]
    )
    catalog.create_run(run)
    first, second, version = new_id(), new_id(), new_id()
    log = client.artifact_store.uri_of(f"logs/{run.id}/{first}.log")
    client.artifact_store.put_bytes(f"logs/{run.id}/{first}.log", texts.log)
    catalog.start_steps(
        [StepStart(first, run.id, texts.step, texts.step, log_uri=log, parameters={texts.key: texts.value})]
    )
    output = NewArtifactVersion(
        version, texts.artifact, client.artifact_store.uri_of(f"versions/{version}"), "builtins:str", "m:M",
        "d" * 64, 10,
        metadata={texts.key: texts.value}, tags=[texts.tag], output_name="output",
        visualizations=[Visualization("page.html", "html", "visualizations/page.html")],
    )  # fmt: skip
    catalog.finish_steps(
        [StepFinish(first, run.id, StepStatus.COMPLETED, [output], metadata={texts.key: texts.value})]
    )
    catalog.start_steps([StepStart(second, run.id, "next", "next", inputs={"x": [version]})])
    error = StepError("ValueError", texts.error, texts.error)
    catalog.finish_steps([StepFinish(second, run.id, StepStatus.FAILED, error=error)])
    model = catalog.create_model_version(
        texts.artifact, metadata={texts.key: texts.value}, tags=[texts.tag], run_id=run.id
    )
    catalog.link_model_version(model.id, artifact_version_ids=[version], run_ids=[run.id])
    catalog.finish_run(run.id, status, error if status is RunStatus.FAILED else None)
    return run


def links(
    browser: TestClient, starts: tuple[str, ...] = ("/",), most: int = 400
) -> Iterator[tuple[str, str]]:
    """Yield the address and the text of each page that can be reached by links."""
    import html
    import re

    seen: set[str] = set()
    waiting = list(starts)
    while waiting and len(seen) < most:
        address = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        answer = browser.get(address)
        assert answer.status_code == 200, (address, answer.status_code, answer.text[-2000:])
        yield address, answer.text
        if "html" in answer.headers["content-type"]:
            hrefs = re.findall(r'(?:href|data-graph)="(/[^"]*)"', answer.text)
            waiting += [html.unescape(href) for href in hrefs if not href.startswith("/static")]
