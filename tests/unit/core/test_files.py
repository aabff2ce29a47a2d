"""Files of ours: private, whole or absent, locked between processes."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rayform_core.errors import ConflictError, PrerequisiteError
from rayform_core.files import file_lock, home, private_folder, write_atomically


def test_home_is_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RAYFORM_HOME moves everything of ours."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "h"))
    assert home() == tmp_path / "h"
    monkeypatch.delenv("RAYFORM_HOME")
    assert home() == Path.home() / ".rayform"


def test_written_files_and_folders_are_private(tmp_path: Path) -> None:
    """Files are 0600 and the folders made for them 0700."""
    target = tmp_path / "a" / "b.json"
    write_atomically(target, {"x": 1})
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o700
    assert target.read_text() == '{\n  "x": 1\n}\n'


def test_a_full_disk_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails changes nothing, leaves no temporary file, and says what to do."""
    target = tmp_path / "f"
    write_atomically(target, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PrerequisiteError, match="No space left.*Free some disk space"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_folder_that_is_a_file_is_an_error_of_the_tree(tmp_path: Path) -> None:
    """A path that can't be a folder raises an error that names it."""
    (tmp_path / "f").write_text("")
    with pytest.raises(PrerequisiteError, match="f/sub"):
        private_folder(tmp_path / "f" / "sub")


HOLDER = """
import sys
from pathlib import Path
from rayform_core.files import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_names_its_holder_and_is_freed_when_the_holder_is_killed(tmp_path: Path) -> None:
    """A second process is refused with the holder's process ID, and gets the lock once that is dead."""
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin and holder.stdout
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ConflictError, match=rf"Process {holder.pid} holds the lock"),
            file_lock(path, timeout=0, what="The stack"),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with file_lock(path, timeout=5):
            assert path.read_text() == str(os.getpid())
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
