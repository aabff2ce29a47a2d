"""Logs of finished steps on their way to a remote store."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayform_runtime.artifacts.stores.config import LocalStoreConfig
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.execution.worker.logs import LogUploads, read_log


def test_finished_log_is_copied_to_the_store(tmp_path: Path) -> None:
    """What was added is in the store once `finish` returns, under the address that was promised."""
    store = LocalArtifactStore(LocalStoreConfig(path=str(tmp_path / "store")), stack_name="s")
    log = tmp_path / "one.log"
    log.write_bytes(b"hello\n")
    uploads = LogUploads(store)
    uploads.add("run", "step", log)
    uploads.finish()
    uploads.finish()
    assert read_log(uploads.uri("run", "step"), store) == b"hello\n"


def test_log_that_cannot_be_copied_is_reported_and_not_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that fails costs the copy of the log, and says so."""

    class Failing(LocalArtifactStore):
        def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
            raise ConnectionError("no route")

    store = Failing(LocalStoreConfig(path=str(tmp_path / "store")), stack_name="s")
    log = tmp_path / "one.log"
    log.write_bytes(b"hello\n")
    uploads = LogUploads(store)
    uploads.add("run", "step", log)
    uploads.finish()
    assert "wasn't kept" in caplog.text
