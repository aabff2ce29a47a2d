"""Small artifacts of a remote store lie in their manifest, even if their files change meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.stores import remote
from rayform_runtime.artifacts.stores.interface import (
    LARGEST_EMBEDDED,
    MANIFEST_NAME,
    ObjectDownload,
    ObjectUpload,
    StoredObject,
)


class StoreInMemory(remote.RemoteArtifactStore):
    """A remote store without a network."""

    def __init__(self) -> None:
        super().__init__("s3://bucket", stack_name="test")
        self.objects: dict[str, bytes] = {}

    def _upload(self, files: Sequence[ObjectUpload]) -> None:
        self.objects.update({key: path.read_bytes() for path, key in files})

    def _download(self, files: Sequence[ObjectDownload]) -> Mapping[Path, str]:
        for key, path, _ in files:
            path.write_bytes(self._get(key, 0))
        return {}

    def _put(self, key: str, data: bytes, *, if_absent: bool) -> None:
        if if_absent and key in self.objects:
            raise ConflictError("there", why="", hint="")
        self.objects[key] = data

    def _get(self, key: str, start: int) -> bytes:
        if key not in self.objects:
            raise NotFoundError("object", key)
        return self.objects[key][start:]

    def _has(self, key: str) -> bool:
        return key in self.objects

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        for key, data in list(self.objects.items()):
            if key.startswith(prefix):
                yield StoredObject(key, len(data), 0.0)

    def _remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.objects.pop(key, None)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StoreInMemory:
    """An empty store."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))
    return StoreInMemory()


@pytest.mark.parametrize("later", [b"other", b"x" * (LARGEST_EMBEDDED + 1)], ids=["changed", "grown"])
def test_a_file_that_is_still_written_is_kept_as_it_was_read(
    store: StoreInMemory, monkeypatch: pytest.MonkeyPatch, later: bytes
) -> None:
    """Content and digest come from one read, so the committed artifact can be loaded."""
    seal = remote.seal_folder

    def seal_and_change(staged: Path) -> object:
        sealed = seal(staged)
        (staged / "log").write_bytes(later)
        return sealed

    monkeypatch.setattr(remote, "seal_folder", seal_and_change)
    version = new_id()
    with store.staging(version) as folder:
        (folder / "log").write_bytes(b"first")
        uri, manifest = store.commit(version, folder, type="t:T", materializer="m:M")
    store._cache.drop(str(version))
    with store.open_local(uri, digest=manifest.digest) as place:
        assert (place / "log").read_bytes() == later


def test_a_folder_in_the_manifests_place_is_refused(store: StoreInMemory) -> None:
    """Files that no reader could write next to the manifest are not committed."""
    version = new_id()
    with store.staging(version) as folder:
        (folder / MANIFEST_NAME).mkdir()
        (folder / MANIFEST_NAME / "a").write_bytes(b"1")
        with pytest.raises(UsageError, match="reserved"):
            store.commit(version, folder, type="t:T", materializer="m:M")
    assert not store.objects


@pytest.mark.parametrize("arrives", [True, False])
def test_an_interrupt_while_the_manifest_is_sent_leaves_its_data(
    store: StoreInMemory, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    """Whether the manifest arrived can't be known: without it the data is garbage for prune, with it the artifact."""
    put = store._put

    def put_and_interrupt(key: str, data: bytes, *, if_absent: bool) -> None:
        if arrives:
            put(key, data, if_absent=if_absent)
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_put", put_and_interrupt)
    version = new_id()
    with store.staging(version) as folder:
        (folder / "data").write_bytes(bytes(LARGEST_EMBEDDED + 1))
        with pytest.raises(KeyboardInterrupt):
            store.commit(version, folder, type="t:T", materializer="m:M")
    uri = f"{store.uri}/versions/{version}"
    assert store.exists(uri) is arrives
    assert any(key.endswith("/data") for key in store.objects)
    if arrives:
        with store.open_local(uri) as place:
            assert (place / "data").stat().st_size == LARGEST_EMBEDDED + 1
