"""A home of its own for each test; for tests with a browser one home with real runs, a dashboard and Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from support.homes import client, closed_stacks, rayform_home

from rayform.stacks.open import close_stacks
from rayform_server import process

__all__ = ["client", "closed_stacks", "rayform_home"]

PROJECT = Path(__file__).parents[2] / "support" / "dashboard_project"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path is not None, "There is no Chromium. Install it: scripts/setup.sh system"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[process.Running]:
    """The dashboard of a home in which real pipelines ran: two that completed, one that failed."""
    folder = tmp_path_factory.mktemp("served")
    previous = os.environ.get("RAYFORM_HOME")
    os.environ["RAYFORM_HOME"] = str(folder / "home")
    close_stacks()
    try:
        for arguments in (["4"], ["6"], ["6", "fail"]):
            program = [sys.executable, str(PROJECT / "squares.py"), *arguments]
            result = subprocess.run(program, cwd=folder, capture_output=True, text=True)
            assert result.returncode == (1 if "fail" in arguments else 0), result.stderr
        yield process.start_detached(stack="default", port=0)
    finally:
        process.stop()
        close_stacks()
        if previous is None:
            del os.environ["RAYFORM_HOME"]
        else:
            os.environ["RAYFORM_HOME"] = previous


class Visit:
    """A browser's visit to the dashboard: what it asked for, and what went wrong."""

    def __init__(self, context: BrowserContext, served: process.Running) -> None:
        self.base = served.address
        self.page: Page = context.new_page()
        # Addresses that any page or frame of this visit asked for.
        self.asked: list[str] = []
        # Errors of scripts and policies; each fails a test of usual pages.
        self.problems: list[str] = []
        # Questions of pages (alert, confirm); each is accepted.
        self.dialogs: list[str] = []
        context.on("request", lambda request: self.asked.append(request.url))
        context.on("weberror", lambda error: self.problems.append(str(error.error)))
        self.page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        self.page.on("dialog", self._accept)
        self.page.goto(served.entrance())
        self.page.wait_for_url(self.base + "/")

    def _accept(self, dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.accept()

    def goto(self, address: str) -> Page:
        """Open a page of the dashboard."""
        self.page.goto(self.base + address)
        return self.page

    def outside(self) -> list[str]:
        """Return the addresses that lead away from this dashboard."""
        inside = (self.base + "/", "data:", "blob:", "about:")
        return [address for address in self.asked if not address.startswith(inside)]


@pytest.fixture
def visit(chromium: Browser, served: process.Running) -> Iterator[Visit]:
    """A new visit with a session."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    yield Visit(context, served)
    context.close()
