"""The dashboard in Chromium, over real runs: every page and action, its looks, the keyboard, and no JavaScript."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from rayform.reading.client import Client
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import NewRun, RunStatus, StepFinish, StepStart, StepStatus
from rayform_runtime.execution.worker.logs import local_log_path
from rayform_runtime.processes.identity import process_started, this_host
from rayform_server import process

pytestmark = [pytest.mark.browser, pytest.mark.slow]
AXE = (Path(__file__).parents[2] / "support" / "vendor" / "axe.min.js").read_text()


def addresses() -> list[str]:
    """Return an address of each page."""
    client = Client()
    run, failed = (client.list_pipeline_runs(status=s)[0] for s in ("completed", "failed"))
    table = client.get_artifact_version("squares")
    return [
        "/", "/runs", "/runs?filter=status%3Dfailed&sort=name", f"/runs/{run.name}", f"/runs/{failed.name}",
        f"/runs/{run.name}/timeline", f"/runs/{run.name}/logs", f"/runs/{run.name}/logs?step=report&q=7",
        f"/runs/{run.name}/artifacts", f"/runs/{run.name}/configuration?other={failed.name}",
        f"/runs/{run.name}/step?key=square", f"/runs/{run.name}/step?key=square&index=1",
        f"/compare/runs?run={run.name}&run={failed.name}", "/pipelines", "/pipeline?name=training", "/artifacts",
        "/artifact?name=squares", f"/versions/{table.id}", "/models", "/model?name=squares",
        "/compare/models?name=squares&v=1&v=2", "/stacks", "/search?q=squ", "/search",
    ]  # fmt: skip


def settle(page: Page) -> None:
    """Wait until what scripts add to the page is there."""
    page.wait_for_load_state()
    for box in page.query_selector_all("[data-graph]"):
        box.wait_for_selector("svg .node", state="attached")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_fits_and_is_accessible(visit, theme: str) -> None:
    """No page has a serious finding of axe, an error, or a part that is too wide, and none asks another host."""
    page = visit.page
    page.emulate_media(color_scheme=theme)
    findings = []
    for address in addresses():
        visit.goto(address)
        settle(page)
        for width in (400, 2560, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (address, width)
        page.evaluate(AXE)
        result = page.evaluate("axe.run({resultTypes: ['violations']})")
        for violation in result["violations"]:
            if violation["impact"] in ("serious", "critical"):
                nodes = [node["html"][:150] for node in violation["nodes"][:3]]
                findings.append((address, violation["id"], nodes))
    assert not findings, json.dumps(findings[:12], indent=1)
    assert not visit.problems
    assert not visit.outside()


def test_lists_read_without_javascript(chromium: Browser, served: process.Running) -> None:
    """With scripts turned off, each page has its heading and its rows, and filters and pages work."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(served.entrance())
    page.wait_for_url(served.address + "/")
    for address in addresses():
        page.goto(served.address + address)
        assert page.locator("h1").count() == 1, address
    page.goto(served.address + "/runs")
    assert page.locator("tbody tr").count() == 3
    page.get_by_label("Filter, such as").fill("status=failed")
    page.get_by_role("button", name="Filter").click()
    assert page.locator("tbody tr").count() == 1
    page.get_by_label("Remove the filter status=failed").click()
    assert page.locator("tbody tr").count() == 3
    context.close()


def test_the_graph_has_a_node_for_each_step(visit) -> None:
    """A map is one node with its progress, and a click shows a step next to the graph."""
    run = Client().list_pipeline_runs(status="completed")[-1]
    page = visit.goto(f"/runs/{run.name}")
    nodes = page.locator("svg .node")
    expect(nodes).to_have_count(5)
    expect(page.locator("svg .node", has_text="square")).to_contain_text("4 of 4")
    page.locator("svg .node", has_text="report").click()
    expect(page.locator("#panel h2")).to_contain_text("report")
    page.get_by_label("Close").click()
    expect(page.locator("#panel")).to_be_hidden()
    version = Client().get_artifact_version("squares")
    page = visit.goto(f"/versions/{version.id}")
    expect(page.locator("svg .node", has_text="table")).to_have_count(1)
    expect(page.locator("canvas")).to_have_count(0)
    page = visit.goto("/model?name=squares")
    expect(page.locator("canvas").first).to_be_visible()
    assert not visit.problems


def test_the_keyboard_is_enough(visit) -> None:
    """The first Tab skips to the content; Ctrl-K searches, arrows choose, Enter opens; buttons can be reached."""
    page = visit.goto("/runs")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Control+k")
    page.keyboard.type("squares")
    expect(page.locator("#hits a").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/artifact?name=squares")
    run = Client().list_pipeline_runs(status="failed")[0]
    page = visit.goto(f"/runs/{run.name}")
    settle(page)
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
            )
        )
    assert {"Resume", "Run again", "Delete", "Timeline", "Logs"} <= reached
    assert any(text and text.startswith("checkfailed") for text in reached)


def test_the_theme_stays(visit) -> None:
    """The button changes the theme, and the next page has it."""
    page = visit.goto("/")
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    visit.goto("/runs")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def begin_run(name: str) -> tuple[Client, NewRun, StepStart, Path]:
    """Record a run of this process with one step that is running, and return its log too."""
    import os

    client = Client()
    pid = os.getpid()
    run = NewRun(
        new_id(), name, "live", {"steps": [{"key": "work"}]}, "default", {}, host=this_host(), pid=pid,
        pid_started=process_started(pid),
    )  # fmt: skip
    client.catalog.create_run(run)
    step_id = new_id()
    log = local_log_path(run.id, step_id)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("first line\n")
    step = StepStart(step_id, run.id, "work", "work", log_uri=log.as_uri())
    client.catalog.start_steps([step])
    return client, run, step, log


def test_a_running_run_is_followed(visit) -> None:
    """New lines of its log appear, its status changes by itself, and Stop asks it to stop."""
    client, run, step, log = begin_run("live-1")
    page = visit.goto("/runs/live-1/logs")
    expect(page.locator(".log")).to_contain_text("first line")
    page.wait_for_function("performance.getEntriesByType('resource').length > 0")
    deadline, number = time.monotonic() + 15, 0
    while "new line" not in page.locator(".log").inner_text() and time.monotonic() < deadline:
        number += 1
        with log.open("a") as file:
            file.write(f"new line {number} <b>\n")
        page.wait_for_timeout(200)
    expect(page.locator(".log")).to_contain_text("<b>")
    page = visit.goto("/runs/live-1")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_contain_text("to stop")
    assert client.catalog.heartbeat(run.id) is RunStatus.STOPPED
    client.catalog.finish_steps([StepFinish(step.id, run.id, StepStatus.STOPPED)])
    client.catalog.finish_run(run.id, RunStatus.STOPPED)
    expect(page.locator("h1 .s-stopped")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status")).to_contain_text("Deleted run live-1.")
    assert visit.dialogs == ["Delete run live-1? Its artifacts stay."]
    assert not visit.problems


def test_actions(visit) -> None:
    """Runs are compared, a pipeline runs again, and a version is promoted, all by clicks."""
    page = visit.goto("/runs")
    for box in page.locator("tbody input[type=checkbox]").all()[:2]:
        box.check()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("h1")).to_have_text("Compare 2 runs")
    page = visit.goto("/model?name=squares")
    article = page.locator("article", has_text="Version 2")
    article.get_by_text("Move", exact=True).first.click()
    article.get_by_label("Stage").select_option("production")
    article.get_by_role("button", name="Move").click()
    expect(page.get_by_role("status")).to_contain_text("production")
    client = Client()
    assert client.get_model_version("squares", "production").version == "2"
    before = client.list_pipeline_runs().total
    failed = client.list_pipeline_runs(status="failed")[0]
    page = visit.goto(f"/runs/{failed.name}")
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_role("status")).to_contain_text("runs again")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        runs = client.list_pipeline_runs()
        if runs.total > before and runs[0].status.is_finished:
            break
        page.wait_for_timeout(200)
    assert runs[0].parameters == failed.parameters
    assert not visit.problems
