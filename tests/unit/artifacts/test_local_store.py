"""What only a folder on this machine can suffer: kills, full and read-only disks, links."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rayform_core.errors import ConflictError, PrerequisiteError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.materializers.base import Materializer
from rayform_runtime.artifacts.materializers.json_values import JsonMaterializer
from rayform_runtime.artifacts.stores.config import LocalStoreConfig
from rayform_runtime.artifacts.stores.interface import ArtifactMissingError, CorruptArtifactError
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.artifacts.values import load_value, save_value

WRITER = """
import sys, uuid
from types import SimpleNamespace
from rayform_core.ids import new_id
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.artifacts.values import save_value
store = LocalArtifactStore(SimpleNamespace(path=sys.argv[1]), stack_name="t")
number = 0
while True:
    id = new_id()
    print("begin", id, number, flush=True)
    save_value(store, id, [number, b"x" * 100_000, "y" * 100_000])
    print("done", id, number, flush=True)
    number += 1
"""


@pytest.mark.fault
def test_a_kill_at_any_moment_leaves_nothing_half_written(tmp_path: Path) -> None:
    """What was said to be committed loads; anything else is whole or isn't there."""
    source = random.Random(5)
    for round_number in range(8):
        root = tmp_path / str(round_number)
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(source.uniform(0.0, 0.08))  # the moment of the kill is what is tried
        process.send_signal(signal.SIGKILL)
        lines = [first, *process.stdout]
        process.stdout.close()
        process.wait()
        store = LocalArtifactStore(LocalStoreConfig(path=str(root)), stack_name="t")
        parts = [line.split() for line in lines if line.endswith("\n")]
        done = {version for word, version, _ in parts if word == "done"}
        for word, version, number in parts:
            uri = f"{store.uri}/versions/{version}"
            if word == "begin" and store.exists(uri):
                assert load_value(store, uri)[0] == int(number)
            assert store.exists(uri) or version not in done
        folders = {p.name for p in (root / "versions").iterdir()} if (root / "versions").exists() else set()
        assert all((root / "versions" / name / "rayform-manifest.json").exists() for name in folders)


@pytest.mark.parametrize("name", ["fsync", "rename"])
def test_a_full_disk_is_reported_and_leaves_nothing(
    local_store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The error says to free space, and no part of the value stays."""

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    local_store.check()
    monkeypatch.setattr(os, name, full)
    with pytest.raises(PrerequisiteError, match="No space left.*Free some disk space"):
        save_value(local_store, new_id(), [1, 2])
    monkeypatch.undo()
    assert not list(local_store.list_objects())
    assert not list((local_store.root / ".staging").iterdir())


@pytest.mark.slow
def test_a_really_full_disk_is_reported(tmp_path: Path) -> None:
    """A quota of the kernel's (a limit on file size) stops a materializer half-way: clear, and nothing stays."""
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from types import SimpleNamespace\n"
        "from rayform_core.ids import new_id\n"
        "from rayform_runtime.artifacts.stores.local import LocalArtifactStore\n"
        "from rayform_runtime.artifacts.values import save_value\n"
        "store = LocalArtifactStore(SimpleNamespace(path=sys.argv[1]), stack_name='t')\n"
        "store.check()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    save_value(store, new_id(), 'x' * 5000)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error, list(store.list_objects()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "s")], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("PrerequisiteError")
    assert done.stdout.rstrip().endswith("[]")


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    """A file in the folder's place, and a path below it."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        store = LocalArtifactStore(LocalStoreConfig(path=str(path)), stack_name="mine")
        with pytest.raises(PrerequisiteError, match="stack 'mine' can't be used"):
            store.check()
        with pytest.raises(PrerequisiteError):
            save_value(store, new_id(), 1)


def test_a_relative_path_is_refused() -> None:
    """It would mean another folder in each process."""
    with pytest.raises(UsageError, match="absolute"):
        LocalArtifactStore(LocalStoreConfig(path="relative"), stack_name="t")


def test_links_in_the_store_lead_nowhere(local_store: LocalArtifactStore, tmp_path: Path) -> None:
    """A file swapped for a link isn't read, and a link to a folder isn't written through."""
    saved = save_value(local_store, new_id(), "secret" * 1000)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "value.txt").write_text("secret" * 1000)
    file = local_store.root / "versions" / str(saved.manifest.id) / "value.txt"
    file.unlink()
    file.symlink_to(outside / "value.txt")
    with pytest.raises(CorruptArtifactError, match="link"):
        load_value(local_store, saved.uri)
    (local_store.root / "logs").symlink_to(outside)
    with pytest.raises(UsageError, match="leads out"):
        local_store.put_bytes("logs/a", b"x")
    assert not (outside / "a").exists()


def test_a_file_too_many_is_reported(local_store: LocalArtifactStore) -> None:
    """A folder artifact must not grow behind our back."""
    saved = save_value(local_store, new_id(), "x" * 5000)
    (local_store.root / "versions" / str(saved.manifest.id) / "extra").write_text("x")
    with pytest.raises(CorruptArtifactError, match="extra"):
        load_value(local_store, saved.uri)


def test_the_same_commit_again_is_the_same(local_store: LocalArtifactStore) -> None:
    """A step tried again after its worker died past the commit succeeds; another value is refused."""
    version = new_id()
    first = save_value(local_store, version, {"a": 1})
    again = save_value(local_store, version, {"a": 1})
    assert again.manifest == first.manifest
    with pytest.raises(ConflictError, match="another value"):
        save_value(local_store, version, {"a": 2})
    assert load_value(local_store, first.uri) == {"a": 1}


def test_the_store_comes_back_after_its_folder_was_removed(local_store: LocalArtifactStore) -> None:
    """A process that holds the store goes on."""
    import shutil

    save_value(local_store, new_id(), 1)
    shutil.rmtree(local_store.root)
    assert load_value(local_store, save_value(local_store, new_id(), 2).uri) == 2


def test_many_files_are_stored(local_store: LocalArtifactStore, tmp_path: Path) -> None:
    """A folder of hundreds of files goes through the pool of threads."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.txt").write_text(str(number))
    loaded = load_value(local_store, save_value(local_store, new_id(), folder).uri)
    assert {p.name: p.read_text() for p in loaded.iterdir()} == {f"{n}.txt": str(n) for n in range(300)}


def test_a_small_value_is_one_file_and_verified(local_store: LocalArtifactStore) -> None:
    """A number lies in its manifest as text; a changed one, or one with another digest, isn't loaded."""
    saved = save_value(local_store, new_id(), {"answer": 42})
    folder = local_store.root / "versions" / str(saved.manifest.id)
    (file,) = folder.iterdir()
    assert '"value.json":"{\\"answer\\":42}"' in file.read_text()
    assert load_value(local_store, saved.uri, digest=saved.manifest.digest) == {"answer": 42}
    assert local_store.read_files(saved.uri) == {"value.json": b'{"answer":42}'}
    for load in (local_store.read_files, lambda uri, digest: load_value(local_store, uri, digest=digest)):
        with pytest.raises(CorruptArtifactError):
            load(saved.uri, digest="0" * 64)
    file.write_text(file.read_text().replace("42", "43"))
    with pytest.raises(CorruptArtifactError):
        local_store.read_files(saved.uri)
    with pytest.raises(CorruptArtifactError):
        load_value(local_store, saved.uri)
    with pytest.raises(ArtifactMissingError):
        local_store.read_files(f"{local_store.uri}/versions/{new_id()}")


class Shouted(JsonMaterializer):
    """Changes the files that are written, and doesn't support values without a folder."""

    def save(self, value: Any, folder: Path) -> None:
        """Write it in capitals."""
        super().save(value.upper(), folder)


def test_a_materializer_that_overrides_save_alone_is_asked(local_store: LocalArtifactStore) -> None:
    """A user's subclass of a built-in materializer writes its own files, however small they are."""
    saved = save_value(local_store, new_id(), "quiet", materializer=Shouted)
    assert load_value(local_store, saved.uri) == "QUIET"
    assert not Shouted.needs_no_folder() and JsonMaterializer.needs_no_folder()


def test_small_values_with_items_or_pictures_are_stored_in_a_folder(
    local_store: LocalArtifactStore,
) -> None:
    """An array in a list, and a picture of a number, are files as before, and come back."""
    mixed = save_value(local_store, new_id(), [1, np.arange(10_000)])
    assert load_value(local_store, mixed.uri)[1].tolist() == list(range(10_000))
    shown = save_value(local_store, new_id(), 7, visualizations={"p.html": "<b>7</b>"})
    assert load_value(local_store, shown.uri) == 7
    for saved in (mixed, shown):
        assert local_store.read_files(saved.uri) is None
        with local_store.open_local(saved.uri) as folder:
            assert (folder / "value.json").is_file()


class Written(Materializer):
    """Gives its one file the name that it was made with."""

    NAME = "value"

    def save(self, value: Any, folder: Path) -> None:
        """Never asked."""

    def load(self, folder: Path, data_type: type) -> Any:
        """Read it."""
        return (folder / self.NAME).read_bytes()

    def to_files(self, value: Any) -> dict[str, bytes]:
        """Name it."""
        return {self.NAME: value}

    def from_files(self, files: Mapping[str, bytes], data_type: type) -> Any:
        """Read it."""
        return files[self.NAME]


@pytest.mark.parametrize("size", [1, 5000])
def test_names_of_content_in_memory_are_checked(
    local_store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A nested name is kept, small or large; one that leads out, or is the manifest's, is refused before a commit."""
    monkeypatch.setattr(Written, "NAME", "deep/value")
    saved = save_value(local_store, new_id(), b"x" * size, materializer=Written)
    with local_store.open_local(saved.uri) as folder:
        assert (folder / "deep" / "value").read_bytes() == b"x" * size
    for name in ("../x", "rayform-manifest.json"):
        monkeypatch.setattr(Written, "NAME", name)
        with pytest.raises(UsageError, match="can't be stored"):
            save_value(local_store, new_id(), b"x" * size, materializer=Written)
    assert not list((local_store.root / ".staging").iterdir())


def test_a_small_value_is_read_from_a_store_that_cannot_be_written(
    local_store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look at a value's files nothing is made in the store."""
    saved = save_value(local_store, new_id(), 7)
    monkeypatch.setattr(local_store, "_make_ready", lambda: pytest.fail("it wrote into the store"))
    with local_store.open_local(saved.uri) as folder:
        assert (folder / "value.json").read_text() == "7"
    with pytest.raises(CorruptArtifactError, match="another materializer"):
        load_value(
            local_store,
            saved.uri,
            materializer="rayform_runtime.artifacts.materializers.text:StrMaterializer",
        )


def test_paths_that_exclude_each_other_are_refused(local_store: LocalArtifactStore) -> None:
    """A file that is another's folder too could never be read again; nothing of it is committed."""

    class Clashing(Written):
        save, load, from_files = Written.save, Written.load, Written.from_files

        def to_files(self, value: Any) -> dict[str, bytes]:
            """Name the same file twice, once as a folder."""
            return {"a": b"1", "a/b/c": b"2"}

    with pytest.raises(UsageError, match="a/b/c"):
        save_value(local_store, new_id(), 1, materializer=Clashing)
    assert not list(local_store.list_objects())
