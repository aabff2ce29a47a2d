"""Folders that Rayform makes are private to their owner, with all their parents."""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayform_core.errors import PrerequisiteError
from rayform_core.files import make_private, private_folder, write_atomically

_ROOT = Path(__file__).parents[3]
_OPEN_TO_OTHERS = {
    "sdk/rayform/projects.py": "the user's own project",
    "sdk/rayform/reading/downloads.py": "a folder that the user names",
    "sdk/rayform/zenml/forms/fileio.py": "folders that the user asks for, in code of their own",
    "runtime/rayform_runtime/usercode/bundle.py": "code that step containers read on a cluster's machines",
    "runtime/rayform_runtime/cluster/step_workers/image_plugin.py": "markers in Ray's folder on a cluster's machines",
    "runtime/rayform_runtime/cluster/step_workers/stand_in.py": "exit codes in Ray's folder, on a cluster's machines",
}


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_every_missing_parent_is_private(tmp_path: Path) -> None:
    """A folder and each parent that had to be made get mode 0700; folders that existed keep theirs."""
    there = tmp_path / "there"
    there.mkdir()
    before = _mode(there)
    private_folder(there / "a" / "b" / "c")
    write_atomically(there / "x" / "y" / "z.json", {})
    assert {_mode(p) for p in there.rglob("*") if p.is_dir()} == {0o700}
    assert _mode(there / "x" / "y" / "z.json") == 0o600
    assert _mode(there) == before


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """A file in the way is an error that names the path; a folder that is there already is none."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PrerequisiteError, match="file"):
        private_folder(tmp_path / "file")
    with pytest.raises(PrerequisiteError, match="inside"):
        private_folder(tmp_path / "file" / "inside")
    make_private(Path("/"))


def test_no_code_makes_parents_that_others_can_read() -> None:
    """`mkdir(parents=True)` and `makedirs` stand only where a folder is the user's own, or a cluster machine's."""
    callers = set()
    for package in ("core", "sdk", "runtime", "provisioner", "localstack/rayform_localstack"):
        for path in (_ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    parents = any(keyword.arg == "parents" for keyword in node.keywords)
                    if node.func.attr == "makedirs" or (node.func.attr == "mkdir" and parents):
                        callers.add(path.relative_to(_ROOT).as_posix())
    assert callers <= set(_OPEN_TO_OTHERS)
