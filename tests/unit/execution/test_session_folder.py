"""The folder of a Ray on this machine."""

import os
from pathlib import Path

import pytest

from rayform_runtime.execution.on_ray.session_folder import SessionFolder


@pytest.fixture(autouse=True)
def base(monkeypatch, tmp_path_factory):
    """A short folder for the folders, which Ray's own variable names."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def test_what_looks_like_a_left_folder_is_only_removed_if_it_is_one(base, tmp_path):
    """Links, files and folders that a process holds stay; a folder whose process is gone is removed."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "owner.lock").write_text("")
    (base / "rayform-ray-link").symlink_to(victim)
    (base / "rayform-ray-file").write_text("")
    locked_by_link = base / "rayform-ray-inside"
    locked_by_link.mkdir()
    (locked_by_link / "owner.lock").symlink_to(victim / "owner.lock")
    (base / "rayform-ray-new").mkdir()
    left = SessionFolder()
    left.close(keep=True)
    assert left.path.exists()
    held = SessionFolder()
    assert not left.path.exists()
    assert (victim / "owner.lock").exists()
    assert locked_by_link.exists()
    assert (base / "rayform-ray-new").exists()
    another = SessionFolder()
    assert held.path.exists()
    assert held.path.stat().st_mode & 0o777 == 0o700
    for folder in (another, held):
        folder.close()
    assert not held.path.exists()
    held.close()


def test_an_old_folder_without_a_lock_is_removed(base):
    """A process that was killed before it took its lock leaves nothing for ever."""
    old = base / "rayform-ray-old"
    old.mkdir()
    os.utime(old, (1, 1))
    SessionFolder().close()
    assert not old.exists()


def test_a_base_that_is_too_long_for_sockets_is_not_used(monkeypatch):
    """Paths of sockets have 107 characters at most, so a long RAY_TMPDIR is passed over."""
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 60)
    folder = SessionFolder()
    assert folder.path.parent == Path("/tmp")
    folder.close()
