"""The cache of remote artifacts keeps to its size without looking through it for every process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rayform_runtime.artifacts.cache import ArtifactCache


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
