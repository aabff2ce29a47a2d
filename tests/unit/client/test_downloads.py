"""What a download never replaces."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from rayform import Client
from rayform.artifacts import save_artifact
from rayform.reading.views import ArtifactVersionView
from rayform_core.errors import ConflictError


@pytest.fixture
def version(rayform_home: Path) -> ArtifactVersionView:
    """A saved value."""
    Client()
    return save_artifact({"a": 1}, "value")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, which is the working directory."""
    folder = tmp_path / "home" / "work" / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "train.py").write_text("print()")
    (folder / "notes.txt").write_text("mine")
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


@pytest.mark.parametrize(
    "path",
    [
        ".",
        "..",
        "src",
        "src/..",
        "./src/.",
        "~",
        "~/work",
        "/",
        "notes.txt",
        "src/train.py",
        "empty/..",
        "../project",
    ],
)
def test_a_download_replaces_nothing_of_the_users(
    version: ArtifactVersionView, project: Path, path: str
) -> None:
    """Neither the working directory, its parents, the home folder, nor any file or folder of the user's goes."""
    before = sorted(p for p in project.parent.parent.rglob("*"))
    with pytest.raises(ConflictError):
        version.download(path, overwrite=True)
    assert sorted(p for p in project.parent.parent.rglob("*")) == before
    assert (project / "notes.txt").read_text() == "mine"


def test_an_empty_working_directory_stays(
    version: ArtifactVersionView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty folder that a process works in isn't replaced under it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConflictError):
        version.download(".", overwrite=True)
    assert Path.cwd().exists()


def test_links_are_not_followed(version: ArtifactVersionView, project: Path) -> None:
    """A link to an earlier download, to a folder, or to nothing is no download."""
    version.download("first")
    for name, target in (("a", "first"), ("b", "src"), ("c", "missing")):
        os.symlink(target, name)
        with pytest.raises(ConflictError):
            version.download(name, overwrite=True)
        assert Path(name).is_symlink()


def test_an_earlier_download_is_replaced_until_it_is_changed(
    version: ArtifactVersionView, project: Path
) -> None:
    """A folder that a download wrote is replaced, and no longer once a file was added, changed or lies beside it."""
    folder = version.download("data")
    assert version.download("data", overwrite=True) == folder
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(ConflictError, match="mine.txt"):
        version.download("data", overwrite=True)
    (folder / "mine.txt").unlink()
    saved = next(p for p in folder.iterdir() if not p.name.startswith("."))
    saved.write_text(saved.read_text() + "edited by hand")
    with pytest.raises(ConflictError, match="changed"):
        version.download("data", overwrite=True)
    assert version.download("empty", overwrite=True).is_dir()


@pytest.mark.parametrize("marker", ["", "{", "[]", "null", '{"files": 3}', '{"files": null}', "[" * 100_000])
def test_a_broken_marker_is_no_marker(version: ArtifactVersionView, project: Path, marker: str) -> None:
    """A folder whose list of files can't be read is the user's."""
    (project / "src" / ".rayform-download.json").write_text(marker)
    with pytest.raises(ConflictError):
        version.download("src", overwrite=True)
    assert (project / "src" / "train.py").exists()


def test_only_downloaded_zip_files_are_replaced(version: ArtifactVersionView, project: Path) -> None:
    """A zip file of the user's isn't replaced; one that a download wrote is."""
    with zipfile.ZipFile("mine.zip", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(ConflictError):
        version.download("mine.zip", overwrite=True)
    assert zipfile.ZipFile("mine.zip").namelist() == ["a"]
    version.download("theirs.zip")
    assert zipfile.ZipFile(version.download("theirs.zip", overwrite=True)).namelist()
