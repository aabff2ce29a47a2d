"""The Google Cloud Storage store: google-cloud-storage with its own parallel transfers, retries and checksums."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayform_core.errors import ConflictError, NotFoundError
from rayform_runtime.artifacts.stores.gcs_errors import translated
from rayform_runtime.artifacts.stores.interface import StoredObject
from rayform_runtime.artifacts.stores.remote import RemoteArtifactStore, is_loopback

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.config import GCSStoreConfig

__all__ = ["GCSArtifactStore"]

_MB = 1 << 20
_PARALLEL = 8
# Larger files are downloaded in ranges, several at once.
_CHUNK = 32 * _MB
_WRITER = "rayform-writer"
_TIMEOUT = (10, 120)  # seconds to connect, and between two bytes


class GCSArtifactStore(RemoteArtifactStore):
    """Keeps artifacts in a Google Cloud Storage bucket.

    Credentials are the application default ones; none is kept. Only an emulator on this machine, given by
    `endpoint_url` or `STORAGE_EMULATOR_HOST`, is spoken to without any.

    Args:
        config: bucket, prefix, project and endpoint.
        stack_name: the stack that it belongs to, for errors.
    """

    def __init__(self, config: GCSStoreConfig, *, stack_name: str) -> None:
        self.bucket = config.bucket
        self.prefix = config.prefix.strip("/")
        self.config = config
        super().__init__(f"gs://{self.bucket}/{self.prefix}".rstrip("/"), stack_name=stack_name)
        self._guard = threading.Lock()
        self._clients: dict[int, Any] = {}

    # -- the client ---------------------------------------------------------------------------------------
    @property
    def _client(self) -> Any:
        """The client; one for each process, since connections don't survive a fork."""
        pid = os.getpid()
        client = self._clients.get(pid)
        if client is None:
            with self._guard:
                client = self._clients.get(pid) or self._make_client()
                self._clients[pid] = client
        return client

    def _make_client(self) -> Any:
        from google.cloud import storage

        endpoint = self.config.endpoint_url or os.environ.get("STORAGE_EMULATOR_HOST")
        if endpoint and "://" not in endpoint:
            endpoint = f"http://{endpoint}"
        arguments: dict[str, Any] = {"project": self.config.project}
        if endpoint:
            arguments["client_options"] = {"api_endpoint": endpoint}
            if is_loopback(endpoint):
                from google.auth import credentials

                nobody: Any = credentials.AnonymousCredentials  # not typed
                arguments["credentials"] = nobody()
                arguments["project"] = self.config.project or "emulated"
        with translated(self.bucket):
            return storage.Client(**arguments)

    def _blob(self, key: str) -> Any:
        return self._client.bucket(self.bucket).blob(f"{self.prefix}/{key}" if self.prefix else key)

    def _relative(self, key: str) -> str:
        return key[len(self.prefix) + 1 :] if self.prefix else key

    # -- transfers ----------------------------------------------------------------------------------------
    def _upload(self, files: Sequence[tuple[Path, str]]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from google.cloud.storage.retry import DEFAULT_RETRY

        client = self._client

        def send(item: tuple[Path, str]) -> None:
            path, key = item
            with translated(self.bucket, key=key, writing=True):
                # The keys are this writer's own, so that trying again is safe without a condition. The client
                # compares its CRC32C with the server's once all is there.
                self._blob(key).upload_from_filename(
                    str(path),
                    content_type="application/octet-stream",
                    client=client,
                    retry=DEFAULT_RETRY,
                    timeout=_TIMEOUT,
                    checksum="crc32c",
                )

        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            list(pool.map(send, files))

    def _download(self, files: Sequence[tuple[str, Path, int]]) -> Mapping[Path, str]:
        from concurrent.futures import ThreadPoolExecutor

        from google.cloud.storage import transfer_manager

        client = self._client

        def receive(item: tuple[str, Path, int]) -> None:
            key, path, _ = item
            with translated(self.bucket, key=key):
                # Our own digest is checked over the whole file afterwards.
                self._blob(key).download_to_filename(
                    str(path), client=client, timeout=_TIMEOUT, raw_download=True, checksum=None
                )

        large = [item for item in files if item[2] > 2 * _CHUNK]
        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            list(pool.map(receive, [item for item in files if item[2] <= 2 * _CHUNK]))
        for key, path, _ in large:
            with translated(self.bucket, key=key):
                transfer_manager.download_chunks_concurrently(
                    self._blob(key),
                    str(path),
                    chunk_size=_CHUNK,
                    worker_type=transfer_manager.THREAD,
                    max_workers=_PARALLEL,
                    download_kwargs={"timeout": _TIMEOUT, "raw_download": True},
                    crc32c_checksum=False,
                )
        return {}

    # -- objects ------------------------------------------------------------------------------------------
    def _put(self, key: str, data: bytes, *, if_absent: bool) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY

        writer = os.urandom(12).hex()
        blob = self._blob(key)
        blob.metadata = {_WRITER: writer}
        try:
            with translated(self.bucket, key=key, writing=True):
                blob.upload_from_string(
                    data,
                    content_type="application/octet-stream",
                    if_generation_match=0 if if_absent else None,
                    retry=DEFAULT_RETRY,
                    timeout=_TIMEOUT,
                    checksum="crc32c",
                )
        except ConflictError:
            # A retry of a write that had arrived, though its answer had not, meets itself.
            with translated(self.bucket, key=key):
                there = self._client.bucket(self.bucket).get_blob(blob.name, timeout=_TIMEOUT)
            if there is None or (there.metadata or {}).get(_WRITER) != writer:
                raise

    def _get(self, key: str, start: int) -> bytes:
        from google.api_core import exceptions as api

        with translated(self.bucket, key=key):
            try:
                data: bytes = self._blob(key).download_as_bytes(
                    start=start or None, timeout=_TIMEOUT, raw_download=True
                )
            except api.RequestRangeNotSatisfiable:
                return b""
        return data

    def _has(self, key: str) -> bool:
        with translated(self.bucket, key=key):
            return bool(self._blob(key).exists(timeout=_TIMEOUT))

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        full = f"{self.prefix}/{prefix}" if self.prefix else prefix
        with translated(self.bucket):
            for blob in self._client.list_blobs(
                self.bucket, prefix=full, fields="items(name,size,updated),nextPageToken", timeout=_TIMEOUT
            ):
                yield StoredObject(self._relative(blob.name), int(blob.size), blob.updated.timestamp())

    def _remove(self, keys: Sequence[str]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from google.cloud.storage.retry import DEFAULT_RETRY

        def remove(key: str) -> None:
            try:
                with translated(self.bucket, key=key):
                    self._blob(key).delete(retry=DEFAULT_RETRY, timeout=_TIMEOUT)
            except NotFoundError as error:
                if error.kind == "bucket":
                    raise

        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            list(pool.map(remove, keys))
