"""The documentation says what the code does."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rayform_core import errors

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


def test_commands_page_is_that_of_the_commands() -> None:
    """`docs/cli.md` is what `scripts/make_cli_docs.py` makes."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "make_cli_docs.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_page_of_zenml_names_is_that_of_the_table() -> None:
    """`docs/zenml-names.md` is what `scripts/make_zenml_names.py` makes."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "make_zenml_names.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_exit_codes_page_has_every_error_class() -> None:
    """`docs/exit-codes.md` names each class of the error tree with its code."""
    text = (DOCS / "exit-codes.md").read_text()
    for name in errors.__all__:
        found = getattr(errors, name)
        if isinstance(found, type):
            assert re.search(rf"^\| {found.exit_code} \|.*`{name}`", text, re.MULTILINE), name


def pages_in(entry: object) -> list[str]:
    """Return the pages that a part of the navigation names."""
    if isinstance(entry, str):
        return [entry]
    if isinstance(entry, dict):
        return [page for value in entry.values() for page in pages_in(value)]
    assert isinstance(entry, list)
    return [page for value in entry for page in pages_in(value)]


def navigation() -> list[str]:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
    return pages_in(yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=Loader)["nav"])


def test_every_page_is_in_the_navigation_and_exists() -> None:
    """The navigation names each page once, and no page that isn't there."""
    named = navigation()
    assert len(named) == len(set(named))
    there = {p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")}
    assert {page for page in named if not page.endswith("/")} <= there
    assert {p for p in there if not p.startswith("adr/")} <= set(named)


def test_the_first_page_leads_to_every_other() -> None:
    """`docs/index.md` links all pages, for readers of the files, who have no navigation."""
    linked = set(re.findall(r"\]\(([^)#\s]+)", (DOCS / "index.md").read_text()))
    assert {page for page in navigation() if page.endswith(".md")} - {"index.md"} <= linked


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that exists."""
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} → {target}"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda p: p.name)
def test_names_in_python_examples_exist(page: Path) -> None:
    """What examples import from `rayform` can be imported."""
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        for module, names in re.findall(
            r"^from (rayform[\w.]*) import \(?([\w, \n]+?)\)?$", block, re.MULTILINE
        ):
            assert importlib.util.find_spec(module) is not None
            loaded = importlib.import_module(module)
            for name in re.split(r"[,\s]+", names.strip()):
                assert not name or hasattr(loaded, name), f"{page.name}: {module}.{name}"


@pytest.mark.parametrize("page", ["architecture.md", "where-to-change.md"])
def test_every_file_that_a_page_on_the_code_names_exists(page: str) -> None:
    """Each path in back quotes is a file or folder of the repository, by itself or in a room or a room's folder."""
    tree = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    places = {f"/{path}" for path in tree} | {f"/{parent}" for path in tree for parent in Path(path).parents}
    rooms = (DOCS / page).read_text().partition("## How a run travels")[0]  # below are paths in the bucket
    names = re.findall(r"`([\w./-]+?\.(?:py|md|toml)|[\w./-]+/)`", rooms)
    assert names
    for name in names:
        path = name.replace("MODULE", "network").rstrip("/")
        if {"GROUP", "NAME"} & set(Path(path).with_suffix("").parts):
            path = str(Path(path).parent)
        assert any(place.endswith(f"/{path}") for place in places), name
