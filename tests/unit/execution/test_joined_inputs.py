"""How a step gets the many outputs of a mapped step."""

import threading
from contextlib import contextmanager

from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.execution.interface import StoredVersion
from rayform_runtime.execution.worker import arguments as worker


class Distant(LocalArtifactStore):
    """Returns nothing before it is asked for as many files as `meet` waits for."""

    is_local = False

    def __init__(self, folder, parties):
        self.meet = threading.Barrier(parties)
        self.asked = []
        self.opened = []
        self.folder = folder

    def read_files(self, uri, *, digest=None):
        self.asked.append((uri, digest))
        self.meet.wait(10)
        return {"value.json": b"1"} if uri.endswith("small") else None

    @contextmanager
    def open_local(self, uri, *, digest=None):
        self.opened.append((uri, digest))
        if uri.endswith("gone"):
            raise FileNotFoundError(uri)
        yield self.folder


def version(uri, materializer="m.M"):
    return StoredVersion("id", uri, f"digest of {uri}", "builtins.int", materializer)


def test_distant_outputs_are_fetched_at_once(tmp_path):
    """Outputs in a bucket are asked for together, each with its digest; one that is gone fails when it is loaded."""
    store = Distant(tmp_path, 4)
    uris = ["s3://b/1", "s3://b/2", "s3://b/gone", "s3://b/small"]
    worker._fetch_together([version(uri) for uri in uris], store)
    assert not store.meet.broken
    assert sorted(store.asked) == [(uri, f"digest of {uri}") for uri in uris]
    assert sorted(store.opened) == [
        (uri, f"digest of {uri}") for uri in uris[:3]
    ]  # a small one has come whole


def test_near_single_and_registered_outputs_are_left_to_the_load(tmp_path):
    """Files of this machine, a single output, and registered data are not fetched beforehand."""
    store = Distant(tmp_path, 1)
    local_store = Distant(tmp_path, 1)
    local_store.is_local = True
    worker._fetch_together([version("file:///a"), version("file:///b")], local_store)
    worker._fetch_together([version("s3://b/1")], store)
    worker._fetch_together([version("s3://b/1", "registered"), version("s3://b/2", "registered")], store)
    assert store.asked == local_store.asked == []
