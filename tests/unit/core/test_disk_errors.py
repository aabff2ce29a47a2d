"""A full disk is named as such, in whatever words a library reports it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rayform_core.files import disk_error


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    if subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True
    ).returncode:
        pytest.skip("this container can't mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _numpy(path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    numpy.save(path / "a.npy", numpy.zeros(10**6))


def _torch(path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.zeros(10**6), path / "a.pt")


def _pyarrow(path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [os.urandom(1_000_000)]}), path / "a.parquet")


def _python(path: Path) -> None:
    (path / "a").write_bytes(b"x" * 10**6)


@pytest.mark.parametrize("write", [_numpy, _torch, _pyarrow, _python])
def test_a_full_disk_is_recognized(full: Path, write: Callable[[Path], None]) -> None:
    """Each library's own error on a disk that is full leads to the system's error for it."""
    with pytest.raises(Exception) as raised:
        write(full)
    cause = disk_error(raised.value, full)
    assert cause is not None
    assert cause.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError("1000000 requested and 25584 written"), errno.ENOSPC),
        (OSError(errno.EROFS, "x"), errno.EROFS),
        (RuntimeError("write failed: No space left on device"), errno.ENOSPC),
        (OSError(errno.ENOENT, "No such file"), None),
        (ValueError("1 requested and 0 written"), None),
        (OSError("not a file"), None),
    ],
)
def test_other_errors_are_left_alone(tmp_path: Path, error: Exception, code: int | None) -> None:
    """An error with another cause is none of the disk, as long as the disk has room."""
    cause = disk_error(error, tmp_path)
    assert (cause.errno if cause else None) == code
