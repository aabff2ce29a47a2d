"""The cache of remote artifacts keeps to its size without looking through it for every process."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from rayform_core.errors import PrerequisiteError
from rayform_runtime.artifacts.stores.cache import ArtifactCache


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))
    monkeypatch.setenv("RAYFORM_CACHE_SIZE", "1000000")


def add(name: str, size: int) -> ArtifactCache:
    """Add one entry as a process of its own would."""
    cache = ArtifactCache("s3://bucket")
    folder = cache.staging() / name
    folder.mkdir()
    (folder / "data").write_bytes(bytes(size))
    cache.add(name, folder)
    return cache


def test_of_many_processes_one_looks_through_the_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each starts with one small entry; the next look is a minute later."""
    looks: list[int] = []
    monkeypatch.setattr(ArtifactCache, "evict", lambda _, limit: looks.append(limit))
    for number in range(5):
        cache = add(str(number), 10)
    assert looks == [1_000_000]
    earlier = time.time() - 100
    os.utime(cache.root / "looked", (earlier, earlier))
    add("later", 10)
    assert looks == [1_000_000, 1_000_000]


def test_entries_used_longest_ago_go_when_it_is_full() -> None:
    """Large entries are counted at once, whoever looked before."""
    for number in range(5):
        cache = add(str(number), 300_000)
        os.utime(cache.root / "locks" / str(number), (number, number))
    add("last", 300_000)
    assert {path.name for path in (cache.root / "entries").iterdir()} <= {"3", "4", "last"}


def test_manifests_used_longest_ago_go_when_it_is_full() -> None:
    """Each counts with its bytes on the disk; one that was read lately stays."""
    cache = ArtifactCache("s3://bucket")
    for number in range(10):
        cache.keep_manifest(str(number), b"{}")
        os.utime(cache.root / "manifests" / str(number), (number, number))
    assert cache.kept_manifest("0") == b"{}"
    cache.evict(4 * 4096)
    assert {path.name for path in (cache.root / "manifests").iterdir()} == {"7", "8", "9", "0"}
    assert cache.kept_manifest("1") is None


def test_a_manifest_that_cannot_be_kept_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is a help, and leaves nothing half written."""
    cache = ArtifactCache("s3://bucket")
    cache.keep_manifest("first", b"{}")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    cache.keep_manifest("second", b"{}")
    assert [path.name for path in (cache.root / "manifests").iterdir()] == ["first"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "sparse"])
def test_what_is_no_manifest_is_none(tmp_path: Path, kind: str) -> None:
    """Whatever lies in a manifest's place holds nobody up, fills no memory, and keeps no other from going."""
    cache = ArtifactCache("s3://bucket")
    cache.keep_manifest("a", b"{}")
    place = cache.root / "manifests" / "odd"
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to("/dev/zero")
    else:
        with place.open("wb") as file:
            file.truncate(3 << 30)
    assert cache.kept_manifest("odd") is None
    cache.keep_manifest("large", b" " * (1 << 20))
    assert cache.kept_manifest("large") is None
    cache.evict(0)
    assert cache.kept_manifest("a") is None


@pytest.mark.parametrize("limit", ["0", "1000"])
def test_an_entry_larger_than_the_cache_is_read(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """It is fetched once and stays while it is read; the next one takes its place."""
    monkeypatch.setenv("RAYFORM_CACHE_SIZE", limit)
    fetched = []

    def fill(folder: Path) -> None:
        fetched.append(folder)
        assert len(fetched) < 5, "it is fetched again and again"
        (folder / "data").write_bytes(bytes(5000))

    cache = ArtifactCache("s3://bucket")
    for name in ("first", "second"):
        with cache.open(name, fill) as folder:
            assert (folder / "data").stat().st_size == 5000
    assert len(fetched) == 2
    assert [path.name for path in (cache.root / "entries").iterdir()] == ["second"]


def test_a_full_disk_is_reported() -> None:
    """Whatever the cache could not write, the error says to free some space, and no part is left."""

    def fill(folder: Path) -> None:
        (folder / "part").write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    cache = ArtifactCache("s3://bucket")
    with pytest.raises(PrerequisiteError, match="No space left"), cache.open("a", fill):
        pass
    assert not list(cache.staging().iterdir())


def test_the_stamp_of_the_last_look_is_no_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that came whole is given on a disk that has no room for one file more."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "touch", full)
    with ArtifactCache("s3://bucket").open("a", lambda folder: None) as folder:
        assert folder.is_dir()
