"""What every artifact store holds to; run once for each implementation (see `conftest.py`)."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.stores.interface import (
    LARGEST_EMBEDDED,
    MANIFEST_NAME,
    ArtifactMissingError,
    ArtifactStore,
    CorruptArtifactError,
    Manifest,
)


def commit(
    store: ArtifactStore, files: dict[str, bytes], id: uuid.UUID | None = None, **more: Any
) -> tuple[str, Manifest]:
    version = id or new_id()
    with store.staging(version) as folder:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return store.commit(version, folder, type="builtins:dict", materializer="m:M", **more)


def read(store: ArtifactStore, uri: str, digest: str | None = None) -> dict[str, bytes]:
    with store.open_local(uri, digest=digest) as folder:
        found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    found.pop(MANIFEST_NAME, None)
    return found


def keys_of(store: ArtifactStore, uri: str) -> dict[str, str]:
    """Keys of an artifact's objects by their last name."""
    prefix = uri.removeprefix(store.uri + "/")
    return {o.key.rpartition("/")[2]: o.key for o in store.list_objects(prefix)}


def test_what_is_committed_comes_back(store: ArtifactStore) -> None:
    """Files, sizes, metadata and manifest are the same after a commit, nested, empty and with odd names."""
    files = {"a.txt": b"hello", "deep/er/b.bin": bytes(range(256)) * 99, "empty": b"", "sp ace+%?#é.x": b"1"}
    uri, manifest = commit(store, files, metadata={"rows": 3, "nested": {"a": [1.5, None]}})
    assert uri == f"{store.uri}/versions/{manifest.id}"
    assert read(store, uri, manifest.digest) == files
    assert store.read_manifest(uri) == manifest
    assert manifest.size == sum(map(len, files.values()))
    assert [f.path for f in manifest.files] == sorted(files)
    assert manifest.metadata == {"rows": 3, "nested": {"a": [1.5, None]}}
    assert store.exists(uri)


@pytest.mark.parametrize("size", [3, LARGEST_EMBEDDED + 1], ids=["small", "large"])
def test_content_in_memory_is_committed_like_files(store: ArtifactStore, size: int) -> None:
    """Content that never was a file has the digest of such files, is read both ways, and is committed once."""
    files = {"value.json": b"x" * size, "a.bin": b"\xff"}
    version = new_id()
    uri, manifest = store.commit_files(
        version, files, type="builtins:int", materializer="m:M", metadata={"n": 1}
    )
    assert store.read_manifest(uri) == manifest
    assert manifest.digest == commit(store, files)[1].digest
    assert (manifest.size, manifest.metadata) == (size + 1, {"n": 1})
    assert store.read_files(uri, digest=manifest.digest) == (files if size == 3 else None)
    assert read(store, uri, manifest.digest) == files
    with pytest.raises(CorruptArtifactError):
        _ = store.read_files(uri, digest="0" * 64) or read(store, uri, "0" * 64)
    with pytest.raises(ConflictError):
        store.commit_files(version, {"other": b""}, type="builtins:int", materializer="m:M")
    assert read(store, uri) == files


def test_equal_content_has_an_equal_digest(store: ArtifactStore) -> None:
    """The digest is of names and content alone, and not of pictures."""
    one = commit(store, {"a": b"1", "b": b"2"}, metadata={"x": 1})[1]
    two = commit(store, {"b": b"2", "a": b"1"})[1]
    three = commit(
        store,
        {"a": b"1", "b": b"2", "visualizations/p.html": b"3"},
        visualizations={"p.html": "visualizations/p.html"},
    )[1]
    other = commit(store, {"a": b"2", "b": b"1"})[1]
    assert one.digest == two.digest == three.digest != other.digest


def test_an_artifact_without_files_is_one(store: ArtifactStore) -> None:
    """A materializer may have nothing to write."""
    uri, manifest = commit(store, {})
    assert manifest.size == 0
    assert read(store, uri) == {}


def test_a_second_commit_of_an_id_is_refused(store: ArtifactStore) -> None:
    """Nothing is ever overwritten, and the loser leaves nothing behind."""
    uri, manifest = commit(store, {"a": b"first"})
    before = sorted(o.key for o in store.list_objects())
    with pytest.raises(ConflictError, match="exists already"):
        commit(store, {"a": b"second", "b": b"more"}, id=manifest.id)
    assert read(store, uri, manifest.digest) == {"a": b"first"}
    assert sorted(o.key for o in store.list_objects()) == before


def test_of_many_writers_one_wins(store: ArtifactStore) -> None:
    """Eight writers of one ID: one commits, seven get an error, and the store has the winner's files."""
    version, barrier = new_id(), threading.Barrier(8)
    results: list[Any] = []

    def write(number: int) -> None:
        with store.staging(version) as folder:
            (folder / "who").write_bytes(str(number).encode() * 1000)
            (folder / f"only-{number}").write_bytes(b"x")
            barrier.wait()
            try:
                results.append(store.commit(version, folder, type="t:T", materializer="m:M"))
            except ConflictError as error:
                results.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [r for r in results if not isinstance(r, Exception)]
    assert len(won) == 1
    assert len(results) == 8
    uri, manifest = won[0]
    number = next(f.path for f in manifest.files if f.path.startswith("only-"))[5:]
    assert read(store, uri, manifest.digest) == {"who": number.encode() * 1000, f"only-{number}": b"x"}


def test_staging_without_a_commit_leaves_nothing(store: ArtifactStore) -> None:
    """A materializer that fails half-way leaves no trace."""
    version = new_id()
    with pytest.raises(RuntimeError), store.staging(version) as folder:
        (folder / "half").write_bytes(b"x")
        raise RuntimeError
    assert not folder.exists()
    assert not store.exists(f"{store.uri}/versions/{version}")
    assert not list(store.list_objects())


def test_staging_is_private(store: ArtifactStore) -> None:
    """No other user of the machine can read files that are being written, or that were written."""
    with store.staging(new_id()) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    uri, _ = commit(store, {"d/a": b"1"})
    with store.open_local(uri) as folder:
        modes = {p.stat().st_mode & 0o777 for p in folder.rglob("*") if p.is_file()}
        folders = {p.stat().st_mode & 0o777 for p in [folder, *folder.rglob("*")] if p.is_dir()}
    assert modes == {0o600}
    assert folders == {0o700}


def test_links_are_not_stored(store: ArtifactStore, tmp_path: Path) -> None:
    """A link could lead out of the artifact."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    version = new_id()
    with store.staging(version) as folder:
        (folder / "link").symlink_to(secret)
        with pytest.raises(UsageError, match="link"):
            store.commit(version, folder, type="t:T", materializer="m:M")
    assert not store.exists(f"{store.uri}/versions/{version}")


def test_a_missing_artifact_is_reported(store: ArtifactStore) -> None:
    """Reading a missing artifact says what to do."""
    uri = f"{store.uri}/versions/{new_id()}"
    assert not store.exists(uri)
    for act in (lambda: store.read_manifest(uri), lambda: read(store, uri)):
        with pytest.raises(ArtifactMissingError, match="run the step"):
            act()


def test_data_that_another_program_removed_is_reported(store: ArtifactStore) -> None:
    """A manifest whose file is gone is an error that names the file."""
    uri, _ = commit(store, {"a": b"1" * 5000, "b": b"2"})
    store.delete_objects([keys_of(store, uri)["b"]])
    with pytest.raises(ArtifactMissingError, match="'b'"):
        read(store, uri)


@pytest.mark.parametrize(
    "data", [b"X" * 5000, b"short", b"", b"x" * 5001], ids=["changed", "cut", "empty", "longer"]
)
def test_changed_data_is_reported(store: ArtifactStore, data: bytes) -> None:
    """A changed, truncated or longer file is never loaded."""
    uri, _ = commit(store, {"a": b"x" * 5000})
    store.put_bytes(keys_of(store, uri)["a"], data)
    with pytest.raises(CorruptArtifactError, match="'a'"):
        read(store, uri)


@pytest.mark.parametrize(
    "data",
    [b"", b"not json", b"[]", b"{}", b'{"schema": 1}', b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "text", "list", "no fields", "few fields", "binary", "deep"],
)
def test_a_corrupt_manifest_is_reported(store: ArtifactStore, data: bytes) -> None:
    """Whatever lies in the manifest's place, the error says that it is corrupt."""
    uri, _ = commit(store, {"a": b"1"})
    store.put_bytes(keys_of(store, uri)[MANIFEST_NAME], data)
    with pytest.raises(CorruptArtifactError, match="corrupt"):
        read(store, uri)


def test_a_manifest_from_a_newer_version_is_reported(store: ArtifactStore) -> None:
    """The error says to upgrade."""
    uri, _ = commit(store, {"a": b"1"})
    store.put_bytes(keys_of(store, uri)[MANIFEST_NAME], b'{"schema": 99}')
    with pytest.raises(CorruptArtifactError, match=r"newer version.*Upgrade"):
        read(store, uri)


def test_the_catalogs_digest_counts(store: ArtifactStore) -> None:
    """An artifact swapped for another consistent one is noticed."""
    uri, _ = commit(store, {"a": b"1"})
    with pytest.raises(CorruptArtifactError, match="catalog"):
        read(store, uri, "0" * 64)


def test_delete_removes_all_and_again(store: ArtifactStore) -> None:
    """After a delete nothing is left of the artifact; deleting again is no error; others stay."""
    uri, _ = commit(store, {"a": b"1", "d/b": b"2"})
    kept, manifest = commit(store, {"a": b"1"})
    assert read(store, uri)
    store.delete(uri)
    store.delete(uri)
    assert not store.exists(uri)
    assert not list(store.list_objects(uri.removeprefix(store.uri + "/")))
    with pytest.raises(ArtifactMissingError):
        read(store, uri)
    assert read(store, kept, manifest.digest) == {"a": b"1"}


def test_download_copies_the_files(store: ArtifactStore, tmp_path: Path) -> None:
    """The files come without the manifest, into a new folder alone."""
    uri, _ = commit(store, {"a": b"1", "d/b": b"2"})
    store.download(uri, tmp_path / "new")
    assert {
        p.relative_to(tmp_path / "new").as_posix() for p in (tmp_path / "new").rglob("*") if p.is_file()
    } == {"a", "d/b"}
    with pytest.raises(ConflictError, match="exists already"):
        store.download(uri, tmp_path / "new")


def test_a_key_and_its_uri_lead_to_each_other(store: ArtifactStore) -> None:
    """A space in a key survives; a URI outside of the store has no key, and only a local object has a path."""
    uri = store.put_bytes("raw/a b.csv", b"1,2")
    assert uri == store.uri_of("raw/a b.csv")
    assert store.key_of(uri) == "raw/a b.csv"
    assert store.key_of("s3://elsewhere/raw") is None
    path = store.local_path("raw/a b.csv")
    assert (path is not None) == store.is_local
    assert path is None or path.read_bytes() == b"1,2"


def test_small_objects(store: ArtifactStore) -> None:
    """Written whole, read from an offset, overwritten, listed by prefix, removed."""
    assert store.put_bytes("logs/run/a.log", b"hello") == f"{store.uri}/logs/run/a.log"
    store.put_bytes("logs/run/a.log", b"hello world")
    store.put_bytes("logs/other/b.log", b"x")
    assert store.get_bytes("logs/run/a.log") == b"hello world"
    assert store.get_bytes("logs/run/a.log", start=6) == b"world"
    assert store.get_bytes("logs/run/a.log", start=11) == b""
    assert store.get_bytes("logs/run/a.log", start=99) == b""
    assert [(o.key, o.size) for o in store.list_objects("logs/run/")] == [("logs/run/a.log", 11)]
    assert {o.key for o in store.list_objects("logs/")} == {"logs/run/a.log", "logs/other/b.log"}
    assert next(store.list_objects("logs/run/")).modified > 1_600_000_000
    store.delete_objects(["logs/run/a.log", "logs/never"])
    assert {o.key for o in store.list_objects()} == {"logs/other/b.log"}
    with pytest.raises(NotFoundError, match="logs/run"):
        store.get_bytes("logs/run/a.log")


def test_if_absent_is_decided_by_the_store(store: ArtifactStore) -> None:
    """Of many writers of one key one wins."""
    won: list[int] = []
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        try:
            store.put_bytes("lock", str(number).encode(), if_absent=True)
        except ConflictError:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get_bytes("lock") == str(won[0]).encode()


@pytest.mark.parametrize(
    "key", ["../x", "/etc/passwd", "a/../../b", "", "a//b", "a/./b", "a\\b", "a\nb", "x" * 2000, "a/"]
)
def test_keys_that_leave_the_store_are_refused(store: ArtifactStore, key: str) -> None:
    """No key reaches outside the root, or means another key elsewhere."""
    for act in (
        lambda: store.put_bytes(key, b""),
        lambda: store.get_bytes(key),
        lambda: store.delete_objects([key]),
    ):
        with pytest.raises(UsageError, match="not a valid key"):
            act()


@pytest.mark.parametrize(
    "tail", ["/versions/../../x", "/versions/x", "", "/logs/a", "/versions/{0}/../{0}", "-other/versions/{0}"]
)
def test_uris_of_other_places_are_refused(store: ArtifactStore, tail: str) -> None:
    """A URI names a version of this store or is an error."""
    uri = store.uri + tail.format(new_id())
    for act in (store.read_manifest, store.exists, store.delete, lambda u: read(store, u)):
        with pytest.raises(UsageError, match="not an artifact of the store"):
            act(uri)


def test_a_listing_of_many_objects_is_whole(store: ArtifactStore) -> None:
    """Pages of a listing are joined, and many keys are removed at once."""
    from concurrent.futures import ThreadPoolExecutor

    # S3's pages hold 1,000; the GCS emulator has no pages, and takes minutes for as many objects.
    names = [f"many/{n:04}" for n in range(60 if store.uri.startswith("gs:") else 1105)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put_bytes(key, b"1"), names))
    assert sorted(o.key for o in store.list_objects("many/")) == names
    store.delete_objects(names)
    assert not list(store.list_objects())


def test_check_proves_that_the_store_works(store: ArtifactStore) -> None:
    """A working store passes and is left as it was."""
    store.check()
    assert not list(store.list_objects())


def test_typed_metadata_comes_back(store: ArtifactStore) -> None:
    """Dates, infinity and sets keep their types."""
    metadata = {"at": dt.datetime(2026, 1, 2), "most": float("inf"), "seen": {1, 2}, "plain": [1, "a"]}
    uri, manifest = commit(store, {"a": b"1"}, metadata=metadata)
    assert manifest.metadata == metadata
    assert store.read_manifest(uri).metadata == metadata


def test_metadata_that_cannot_be_kept_is_refused(store: ArtifactStore) -> None:
    """Nothing is committed with it."""
    version = new_id()
    for wrong in (object(), [object()], lambda: 1):
        with pytest.raises(UsageError, match="can't be kept"):
            commit(store, {"a": b"1"}, id=version, metadata={"x": wrong})
    assert not store.exists(f"{store.uri}/versions/{version}")


def test_a_large_artifact_comes_back(store: ArtifactStore) -> None:
    """A file of several parts, among small ones, is right to the last byte."""
    import random

    large = random.Random(7).randbytes(21 << 20)
    files = {"large.bin": large, **{f"small/{n}": str(n).encode() for n in range(40)}}
    uri, manifest = commit(store, files)
    assert read(store, uri, manifest.digest) == files
