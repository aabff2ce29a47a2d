"""Where a pipeline's code is, and what git says about it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rayform.authoring.code_facts import code_place, environment_facts, git_facts


def module_at(file: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a module of this name that says it came from `file`."""
    import types

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    module = types.ModuleType(name)
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, name, module)


def git(folder: Path, *arguments: str) -> None:
    """Run git with a name to commit under."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "init.defaultBranch=trunk"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_without_git_the_scripts_folder_is_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain script's project is the folder that it lies in."""
    module_at(tmp_path / "script.py", "place_script", monkeypatch)
    place = code_place("place_script")
    assert place.root == tmp_path
    assert place.import_paths[0] == "."


def test_the_git_working_tree_is_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script in a repository belongs to it, and imports start from its own folder."""
    git(tmp_path, "init")
    module_at(tmp_path / "examples" / "script.py", "place_script", monkeypatch)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "examples"), str(tmp_path / "src"), *sys.path])
    (tmp_path / "src").mkdir()
    place = code_place("place_script")
    assert place.root == tmp_path
    assert place.import_paths[:2] == ("examples", "src")
    assert not any("site-packages" in path for path in place.import_paths)


def test_a_package_is_imported_from_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For `package.module` imports start from the folder that holds the package."""
    module_at(tmp_path / "package" / "deep" / "module.py", "package.deep.module", monkeypatch)
    assert code_place("package.deep.module").root == tmp_path


def test_a_notebook_belongs_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module without a file has its code in the working folder."""
    monkeypatch.chdir(tmp_path)
    assert code_place("no_such_module").root == tmp_path


def test_git_facts_tell_commit_branch_and_changes(tmp_path: Path) -> None:
    """Commit, branch and whether files were changed are kept with the run."""
    assert git_facts(tmp_path).as_record() == {}
    git(tmp_path, "init")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "one")
    facts = git_facts(tmp_path)
    assert facts.git_branch == "trunk" and facts.git_dirty is False
    assert facts.git_commit is not None and len(facts.git_commit) == 40
    (tmp_path / "a").write_text("2")
    assert git_facts(tmp_path).git_dirty is True


def test_environment_facts_name_python_and_rayform() -> None:
    """What started the run is kept with it."""
    assert {"python", "rayform", "platform"} <= set(environment_facts())
