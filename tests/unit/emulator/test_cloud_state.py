"""What an emulated cloud keeps on disk."""

from __future__ import annotations

import pytest

from rayform_core.errors import IntegrityError, PrerequisiteError
from rayform_localstack.state import CloudState


def test_no_file_is_no_cloud(tmp_path, monkeypatch):
    """Where nothing was saved there is no cloud."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))
    assert CloudState.load() is None


def test_home_that_is_a_file(tmp_path, monkeypatch):
    """A RAYFORM_HOME that can't hold the state is an error with a next step, not a traceback."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "file"))
    with pytest.raises(PrerequisiteError, match="can't be used"):
        CloudState.load()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"processes": {"api": []}}'])
def test_broken_file(tmp_path, monkeypatch, text):
    """A file that isn't ours is an error that says how to go on."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))
    (tmp_path / "localstack").mkdir()
    (tmp_path / "localstack" / "cloud.json").write_text(text)
    with pytest.raises(IntegrityError, match="can't be read"):
        CloudState.load()
