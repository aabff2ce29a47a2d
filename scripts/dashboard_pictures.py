"""Makes the pictures of docs/dashboard.md: real runs in a temporary home, shown by Chromium.

python scripts/dashboard_pictures.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pictures"
PIPELINE = ROOT / "tests" / "support" / "dashboard_project" / "squares.py"


def main() -> None:
    """Run pipelines and take the pictures."""
    with tempfile.TemporaryDirectory(prefix="rayform-pictures-") as home:
        os.environ["RAYFORM_HOME"] = home
        for arguments in (["4"], ["6"], ["6", "fail"], ["9"], ["12"]):
            subprocess.run([sys.executable, str(PIPELINE), *arguments], cwd=home, capture_output=True)
        from rayform.reading.client import Client
        from rayform_server import process

        client = Client()
        client.set_model_stage(client.get_model_version("squares", 3), "production")
        client.set_model_stage(client.get_model_version("squares", 5), "staging")
        run, first = (
            client.list_pipeline_runs(status="completed", size=10)[0],
            client.list_pipeline_runs(sort_by="created")[0],
        )
        pages = {
            "overview": ("/", "light"),
            "runs": ("/runs", "dark"),
            "run": (f"/runs/{first.name}", "light"),
            "timeline": (f"/runs/{first.name}/timeline", "dark"),
            "model": ("/model?name=squares", "light"),
            "version": (f"/versions/{run.steps['table'].output.id}", "dark"),
        }
        state = process.start_detached(stack="default", port=0)
        try:
            take(state, pages)
        finally:
            process.stop()


def take(state, pages: dict[str, tuple[str, str]]) -> None:
    """Write one WebP file for each page."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 760})
        page.goto(state.entrance())
        page.wait_for_url(state.address + "/")
        for name, (address, theme) in pages.items():
            page.emulate_media(color_scheme=theme)
            page.goto(state.address + address)
            page.wait_for_load_state("networkidle")
            picture = FOLDER / f"dashboard-{name}.png"
            page.screenshot(path=picture)
            Image.open(picture).save(picture.with_suffix(".webp"), quality=80, method=6)
            picture.unlink()
        browser.close()


if __name__ == "__main__":
    main()
