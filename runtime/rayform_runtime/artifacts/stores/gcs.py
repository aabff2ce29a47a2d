"""The Google Cloud Storage store: google-cloud-storage with its own parallel transfers, retries and checksums."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from rayform_core.errors import NotFoundError
from rayform_runtime.artifacts.stores.bucket import BucketArtifactStore, is_loopback
from rayform_runtime.artifacts.stores.gcs_errors import translated
from rayform_runtime.artifacts.stores.interface import ObjectDownload, ObjectUpload, StoredObject

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

    from rayform_runtime.artifacts.stores.config import GCSStoreConfig

__all__ = ["GCSArtifactStore"]

T = TypeVar("T")

_PARALLEL = 8
_CHUNK = 32 << 20
"""Bytes; a file of more than two chunks is downloaded in ranges, several at once."""
_TIMEOUT = cast("int", (10, 120))
"""Seconds to connect, and between two bytes; the library takes such a pair too, though it declares a number."""


class GCSArtifactStore(BucketArtifactStore["Client"]):
    """Keeps artifacts in a Google Cloud Storage bucket.

    It uses the application default credentials and keeps none. It sends no credentials to an emulator on this
    machine, which `endpoint_url` or `STORAGE_EMULATOR_HOST` names.

    Args:
        config: bucket, prefix, project and endpoint.
        stack_name: the stack that the store belongs to, for errors.
    """

    def __init__(self, config: GCSStoreConfig, *, stack_name: str) -> None:
        super().__init__("gs", config.bucket, config.prefix, stack_name=stack_name)
        self.config = config

    # -- the client ---------------------------------------------------------------------------------------
    def _make_client(self) -> Client:
        from google.cloud import storage

        endpoint = self.config.endpoint_url or os.environ.get("STORAGE_EMULATOR_HOST")
        if endpoint and "://" not in endpoint:
            endpoint = f"http://{endpoint}"
        project, credentials = self.config.project, None
        if endpoint and is_loopback(endpoint):
            from google.auth.credentials import AnonymousCredentials

            project = project or "emulated"
            credentials = AnonymousCredentials()  # type: ignore[no-untyped-call] # google-auth doesn't annotate it
        with translated(self.bucket):
            return storage.Client(
                project=project,
                credentials=credentials,
                client_options={"api_endpoint": endpoint} if endpoint else None,
            )

    def _blob(self, key: str) -> Blob:
        return self._client.bucket(self.bucket).blob(self._name(key))

    def _for_each(self, function: Callable[[T], None], items: Iterable[T]) -> None:
        """Call the function with each item, several at once."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            list(pool.map(function, items))

    # -- transfers ----------------------------------------------------------------------------------------
    def _upload(self, files: Sequence[ObjectUpload]) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY

        client = self._client

        def send(file: ObjectUpload) -> None:
            with translated(self.bucket, key=file.key, writing=True):
                # No other writer uses these keys, so a retry is safe without a condition. At the end the client
                # compares its CRC32C with the server's.
                self._blob(file.key).upload_from_filename(
                    str(file.path),
                    content_type="application/octet-stream",
                    client=client,
                    retry=DEFAULT_RETRY,
                    timeout=_TIMEOUT,
                    checksum="crc32c",
                )

        self._for_each(send, files)

    def _download(self, files: Sequence[ObjectDownload]) -> Mapping[Path, str]:
        from google.cloud.storage import transfer_manager

        client = self._client

        def receive(file: ObjectDownload) -> None:
            with translated(self.bucket, key=file.key):
                # The caller checks our own digest of the whole file afterwards, so `None`: no checksum.
                self._blob(file.key).download_to_filename(
                    str(file.path),
                    client=client,
                    timeout=_TIMEOUT,
                    raw_download=True,
                    checksum=None,  # pyright: ignore[reportArgumentType]
                )

        self._for_each(receive, [file for file in files if file.size <= 2 * _CHUNK])
        for file in files:
            if file.size <= 2 * _CHUNK:
                continue
            with translated(self.bucket, key=file.key):
                transfer_manager.download_chunks_concurrently(
                    self._blob(file.key),
                    str(file.path),
                    chunk_size=_CHUNK,
                    worker_type=transfer_manager.THREAD,
                    max_workers=_PARALLEL,
                    download_kwargs={"timeout": _TIMEOUT, "raw_download": True},
                    crc32c_checksum=False,
                )
        return {}

    # -- objects ------------------------------------------------------------------------------------------
    def _write(self, key: str, data: bytes, labels: Mapping[str, str], *, if_absent: bool) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY

        blob = self._blob(key)
        blob.metadata = dict(labels)
        with translated(self.bucket, key=key, writing=True):
            blob.upload_from_string(
                data,
                content_type="application/octet-stream",
                if_generation_match=0 if if_absent else None,
                retry=DEFAULT_RETRY,
                timeout=_TIMEOUT,
                checksum="crc32c",
            )

    def _labels(self, key: str) -> Mapping[str, str]:
        with translated(self.bucket, key=key):
            blob = self._client.bucket(self.bucket).get_blob(self._name(key), timeout=_TIMEOUT)
        return {} if blob is None else blob.metadata or {}

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
        with translated(self.bucket):
            for blob in self._client.list_blobs(
                self.bucket,
                prefix=self._name(prefix),
                fields="items(name,size,updated),nextPageToken",
                timeout=_TIMEOUT,
            ):
                yield StoredObject(self._key(blob.name), int(blob.size), blob.updated.timestamp())

    def _remove(self, keys: Sequence[str]) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY

        def remove(key: str) -> None:
            try:
                with translated(self.bucket, key=key):
                    self._blob(key).delete(retry=DEFAULT_RETRY, timeout=_TIMEOUT)
            except NotFoundError as error:
                if error.kind == "bucket":
                    raise

        self._for_each(remove, keys)
