"""The house stays walkable: sizes of files, folders and classes, and how much is typed `Any`."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGES = ("core/rayform_core", "runtime/rayform_runtime", "sdk/rayform", "provisioner/rayform_provisioner",
            "localstack/rayform_localstack", "server/rayform_server")  # fmt: skip
FILES = [
    path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if not {"templates", "migrations"} & set(path.parts)
]


def test_no_module_is_over_500_lines() -> None:
    """A module of more than 500 lines holds more than one subject."""
    assert FILES
    assert not [path for path in FILES if len(path.read_text().splitlines()) > 500]


def test_no_folder_has_over_20_modules() -> None:
    """A folder holds at most 20 files side by side; the command line and the materializers are lists by nature."""
    counts = Counter(path.parent.relative_to(ROOT).as_posix() for path in FILES)
    lists = ("sdk/rayform/cli", "runtime/rayform_runtime/artifacts/materializers")
    assert not {folder: count for folder, count in counts.items() if count > 20 and folder not in lists}


def test_no_class_is_over_350_lines() -> None:
    """A class of more than 350 lines hangs together by more than one purpose."""
    sizes = {
        f"{path.relative_to(ROOT)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    assert not {name: lines for name, lines in sizes.items() if lines > 350}


def test_few_values_are_typed_any() -> None:
    """`Any` stands at most fifteen times in a thousand lines."""
    texts = [path.read_text() for path in FILES]
    words = sum(len(re.findall(r"\bAny\b", text)) for text in texts)
    lines = sum(1 for text in texts for line in text.splitlines() if line.strip())
    assert words / lines * 1000 <= 15
