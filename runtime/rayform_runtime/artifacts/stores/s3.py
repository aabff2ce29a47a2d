"""The S3 store: boto3 with its own multipart and parallel transfers, retries and checksums."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from rayform_core.emulated_cloud import keys_for
from rayform_core.errors import NotFoundError, RemoteError
from rayform_runtime.artifacts.stores.aws_sessions import new_session
from rayform_runtime.artifacts.stores.background import Background
from rayform_runtime.artifacts.stores.bucket import BucketArtifactStore, is_loopback
from rayform_runtime.artifacts.stores.bucket_errors import changed_in_transit
from rayform_runtime.artifacts.stores.files import write_digested
from rayform_runtime.artifacts.stores.interface import ObjectDownload, ObjectUpload, StoredObject
from rayform_runtime.artifacts.stores.s3_errors import error_code, translated

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from botocore.config import _S3Dict
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import PutObjectOutputTypeDef, PutObjectRequestTypeDef
    from s3transfer.manager import TransferManager

    from rayform_runtime.artifacts.stores.config import S3StoreConfig

__all__ = ["S3ArtifactStore"]

_MB = 1 << 20
_PARALLEL = 10
# Parts are small enough that a file of 100 MB uses all connections, and large enough that the number of requests
# doesn't matter for larger files.
_SMALLEST_PART, _LARGEST_PART = 16 * _MB, 64 * _MB
# On loopback several connections gain nothing, and emulators read a whole object for each range of it: one stream
# was 1.1 times as fast to moto and 3 times as fast from it.
_NEARBY_PART = 4096 * _MB
_TRIES = 3
"""Tries to send a body that arrives changed."""
_BODY_TRIES = 6
"""Tries to receive a body that breaks off."""
_BLOCK = _MB
"""Bytes read at once. With a quarter of it a download from moto took 1.2 times as long."""
_LITTLE = 64 << 10


@dataclass
class _Prepared:
    """A client without connections, made before this process was forked.

    `user` is the ID of the process that uses it. That process's own forks must not: they would share its connections.
    """

    client: S3Client
    user: int | None = None


class _Call(TypedDict):
    """What we use of botocore's description of a request."""

    body: object
    headers: dict[str, str]


_prepared: dict[str, _Prepared] = {}
"""Prepared clients by configuration."""


class S3ArtifactStore(BucketArtifactStore["S3Client"]):
    """Keeps artifacts in a bucket of Amazon S3, or of another store with S3's API.

    Credentials come from the AWS chain (environment, profile, SSO, instance role), and for the emulated cloud from
    its own file. The store keeps none.

    Args:
        config: bucket, prefix, region, endpoint and KMS key.
        stack_name: the stack that the store belongs to, for errors.
    """

    def __init__(self, config: S3StoreConfig, *, stack_name: str) -> None:
        super().__init__("s3", config.bucket, config.prefix, stack_name=stack_name)
        self.config = config

    # -- the client ---------------------------------------------------------------------------------------
    def prepare_for_forks(self) -> None:
        """See `ArtifactStore.prepare_for_forks`: a client and its first request, 30 ms of processor time."""
        client = self._new_client()
        with _answered_at_once(client):
            client.put_object(Bucket=self.bucket, Key=self._name("never-sent"), Body=b"", IfNoneMatch="*")
        # Without credentials the lines above raise, and each process asks the AWS chain for itself.
        _prepared[self.config.model_dump_json()] = _Prepared(client)

    def _make_client(self) -> S3Client:
        prepared = _prepared.get(self.config.model_dump_json())
        if prepared is not None and prepared.user in (None, os.getpid()):
            prepared.user = os.getpid()
            return prepared.client
        return self._new_client()

    def _new_client(self) -> S3Client:
        from botocore.config import Config

        options: _S3Dict = {"payload_signing_enabled": False}
        if self.config.endpoint_url:
            options["addressing_style"] = "path"
        with translated(self.bucket, region=self.config.region):
            client = new_session().client(
                "s3",
                region_name=self.config.region or (None if not self.config.endpoint_url else "us-east-1"),
                endpoint_url=self.config.endpoint_url,
                **keys_for(self.config.endpoint_url),
                config=Config(
                    retries={"mode": "standard", "total_max_attempts": 8},
                    connect_timeout=10,
                    read_timeout=60,
                    max_pool_connections=_PARALLEL * 3,
                    tcp_keepalive=True,
                    # We check every downloaded file against our own digest; checking CRCs of its parts too
                    # would be double work. Uploads carry CRC32, which the server verifies.
                    response_checksum_validation="when_required",
                    request_checksum_calculation="when_supported",
                    s3=options,
                ),
            )
        client.meta.events.register_last("before-call.s3", _send_small_bodies_at_once)
        return client

    def _part_size(self, size: int) -> int:
        """Return the size of a part, in bytes, for files of at most `size` bytes."""
        if self.config.endpoint_url and is_loopback(self.config.endpoint_url):
            return _NEARBY_PART
        even_share = -(-size // (_PARALLEL * 8 * _MB)) * 8 * _MB
        return max(_SMALLEST_PART, min(_LARGEST_PART, even_share))

    def _manager(self, part: int) -> TransferManager:
        from s3transfer.manager import TransferConfig, TransferManager

        return TransferManager(
            self._client,
            TransferConfig(
                multipart_threshold=2 * part,
                multipart_chunksize=part,
                max_request_concurrency=_PARALLEL,
                # Blocks that wait for the disk take at most 16 MB of memory.
                max_io_queue_size=64,
                io_chunksize=_MB // 4,
                num_download_attempts=8,
            ),
        )

    # -- transfers ----------------------------------------------------------------------------------------
    def _upload(self, files: Sequence[ObjectUpload]) -> None:
        if not files:
            return
        extra = {"ChecksumAlgorithm": "CRC32"}
        if self.config.kms_key_id is not None:
            extra |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.config.kms_key_id}
        part = self._part_size(max(file.path.stat().st_size for file in files))
        # Amazon's S3 refuses a body whose checksum differs. Other servers may keep the checksum and never
        # compute it (moto does), so we compare the MD5 that they report with the file's.
        expected = None if self.config.endpoint_url is None else _md5s_in_background(files, part)
        remaining = list(files)
        for _ in range(_TRIES):
            with self._translated(), self._manager(part) as manager:
                pending = [
                    manager.upload(str(file.path), self.bucket, self._name(file.key), extra)
                    for file in remaining
                ]
                for future, file in zip(pending, remaining, strict=True):
                    with self._translated(file.key):
                        future.result()
            if expected is None:
                return
            remaining = self._wrong_uploads(remaining, expected.result())
            if not remaining:
                return
        raise _changed_in_transit(self.bucket, remaining[0].key)

    def _wrong_uploads(
        self, files: Sequence[ObjectUpload], expected: Mapping[Path, list[bytes]]
    ) -> list[ObjectUpload]:
        """Return the files that did not arrive as they were sent, by size and MD5."""
        from concurrent.futures import ThreadPoolExecutor

        from rayform_runtime.artifacts.stores.etags import matches_etag

        def is_right(file: ObjectUpload) -> bool:
            with self._translated(file.key):
                head = self._client.head_object(Bucket=self.bucket, Key=self._name(file.key))
            if head["ContentLength"] != file.path.stat().st_size:
                return False
            if str(head.get("ServerSideEncryption", "")).startswith("aws:kms"):
                return True  # then the ETag is no MD5
            return matches_etag(expected[file.path], str(head["ETag"]).strip('"'))

        if len(files) == 1:
            return [] if is_right(files[0]) else list(files)
        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            return [file for file, right in zip(files, pool.map(is_right, files), strict=True) if not right]

    def _download(self, files: Sequence[ObjectDownload]) -> Mapping[Path, str]:
        part = self._part_size(max((file.size for file in files), default=0))
        # boto3's manager is for files of several parts. A file of one part is faster as one stream, without the
        # manager's two threads, and we hash it as it arrives.
        digests = self._stream([file for file in files if file.size < 2 * part])
        in_parts = [file for file in files if file.size >= 2 * part]
        if in_parts:
            with self._translated(), self._manager(part) as manager:
                pending = [
                    manager.download(self.bucket, self._name(file.key), str(file.path)) for file in in_parts
                ]
                for future, file in zip(pending, in_parts, strict=True):
                    with self._translated(file.key):
                        future.result()
        return digests

    def _stream(self, files: Sequence[ObjectDownload]) -> Mapping[Path, str]:
        from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

        cancelled = threading.Event()
        if len(files) <= 1:
            return {file.path: self._stream_one(file, cancelled) for file in files}
        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            try:
                pending = {file.path: pool.submit(self._stream_one, file, cancelled) for file in files}
                for future in wait(pending.values(), return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                # The pool waits for its threads at the end. After Ctrl-C, or if one file is gone, gigabytes of
                # others must not hold it up.
                cancelled.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            return {path: future.result() for path, future in pending.items()}

    def _stream_one(self, file: ObjectDownload, cancelled: threading.Event) -> str:
        """Download one file in one request and return its digest; meaningless if the download was cancelled."""
        attempt = 0
        while True:
            with self._translated(file.key):
                body = self._client.get_object(Bucket=self.bucket, Key=self._name(file.key))["Body"]
            try:
                with contextlib.closing(body), self._translated(file.key):
                    return write_digested(
                        file.path, takewhile(lambda _: not cancelled.is_set(), body.iter_chunks(_BLOCK))
                    )
            except RemoteError:
                # boto3 repeats requests, but leaves a body that breaks off to its caller.
                attempt += 1
                if attempt == _BODY_TRIES or cancelled.wait(0.05 * 2**attempt):
                    raise

    # -- objects ------------------------------------------------------------------------------------------
    def _write(self, key: str, data: bytes, labels: Mapping[str, str], *, if_absent: bool) -> None:
        request: PutObjectRequestTypeDef = {
            "Bucket": self.bucket,
            "Key": self._name(key),
            "Body": data,
            "Metadata": labels,
        }
        if self.config.kms_key_id is not None:
            request["ServerSideEncryption"] = "aws:kms"
            request["SSEKMSKeyId"] = self.config.kms_key_id
        if if_absent:
            request["IfNoneMatch"] = "*"
        changed = 0
        for attempt in range(6):
            try:
                with self._translated(key):
                    if self._is_as_sent(data, self._client.put_object(**request)):
                        return
                    self._client.delete_object(Bucket=self.bucket, Key=self._name(key))
                changed += 1
                if changed == _TRIES:
                    raise _changed_in_transit(self.bucket, key)
            except RemoteError as error:
                # This is S3's answer while another conditional write of the key is in progress.
                if error_code(error.__cause__ or error) != "ConditionalRequestConflict" or attempt == 5:
                    raise
                time.sleep(0.1 * 2**attempt)

    def _is_as_sent(self, data: bytes, answer: PutObjectOutputTypeDef) -> bool:
        from rayform_runtime.artifacts.stores.etags import md5_of

        if self.config.endpoint_url is None or answer.get("ServerSideEncryption", "").startswith("aws:kms"):
            return True
        etag = answer.get("ETag", "").strip('"')
        return len(etag) != 32 or etag == md5_of(data)

    def _labels(self, key: str) -> Mapping[str, str]:
        try:
            with self._translated(key):
                return self._client.head_object(Bucket=self.bucket, Key=self._name(key)).get("Metadata", {})
        except NotFoundError:
            return {}

    def _get(self, key: str, start: int) -> bytes:
        problem: RemoteError | None = None
        # boto3 repeats requests, but leaves a body that breaks off to its caller.
        for attempt in range(5):
            try:
                with self._translated(key):
                    answer = (
                        self._client.get_object(
                            Bucket=self.bucket, Key=self._name(key), Range=f"bytes={start}-"
                        )
                        if start
                        else self._client.get_object(
                            Bucket=self.bucket, Key=self._name(key), ChecksumMode="ENABLED"
                        )
                    )
                    return answer["Body"].read()
            except RemoteError as error:
                code = error_code(error.__cause__ or error)
                if code in ("InvalidRange", "416"):
                    return b""
                if code:
                    raise
                problem = error
                time.sleep(0.05 * 2**attempt)
        assert problem is not None
        raise problem

    def _has(self, key: str) -> bool:
        try:
            with self._translated(key):
                self._client.head_object(Bucket=self.bucket, Key=self._name(key))
        except NotFoundError:
            return False
        return True

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        with self._translated(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._name(prefix)
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    # S3 sends these three for each object, though its description doesn't promise it.
                    name, size, modified = item["Key"], item["Size"], item["LastModified"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
                    yield StoredObject(self._key(name), size, modified.timestamp())

    def _remove(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), 1000):
            with self._translated():
                answer = self._client.delete_objects(
                    Bucket=self.bucket,
                    Delete={
                        "Objects": [{"Key": self._name(key)} for key in keys[start : start + 1000]],
                        "Quiet": True,
                    },
                )
            failures = [e for e in answer.get("Errors", ()) if e.get("Code") != "NoSuchKey"]
            if failures:
                first = failures[0]
                raise RemoteError(
                    f"{len(failures)} objects of bucket '{self.bucket}' can't be removed.",
                    why=f"'{first.get('Key')}': {first.get('Code')} {first.get('Message')}.",
                    hint="The role needs s3:DeleteObject on the bucket's objects.",
                )

    def _translated(self, key: str = "") -> AbstractContextManager[None]:
        return translated(self.bucket, key=key, region=self.config.region)


@contextlib.contextmanager
def _answered_at_once(client: S3Client) -> Iterator[None]:
    """Answer the client's requests before they are sent: they do everything but leave this process."""
    from io import BytesIO

    from botocore.awsrequest import AWSResponse

    class Empty(BytesIO):
        def stream(self, **_: object) -> Iterator[bytes]:
            yield b""

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        # The stubs ask for another library's headers.
        return AWSResponse(request.url, 200, {}, Empty())  # type: ignore[arg-type]

    # The stubs say that a handler returns nothing; an answer from this one stops the request.
    client.meta.events.register("before-send.s3", answer)  # type: ignore[arg-type]
    try:
        yield
    finally:
        client.meta.events.unregister("before-send.s3", answer)  # type: ignore[arg-type]


def _send_small_bodies_at_once(params: _Call, **_: object) -> None:
    """Don't wait for the server's `100 Continue` before a small body, as botocore does: it costs a round trip."""
    from botocore.utils import determine_content_length

    length = determine_content_length(params.get("body"))
    if length is not None and length <= _LITTLE:
        params["headers"].pop("Expect", None)


def _changed_in_transit(bucket: str, key: str) -> RemoteError:
    return changed_in_transit(
        bucket, key, why=f"What arrived differed from what was sent, {_TRIES} times. Nothing was committed."
    )


def _md5s_in_background(files: Sequence[ObjectUpload], part: int) -> Background[dict[Path, list[bytes]]]:
    """Compute the MD5s of files while they are uploaded."""
    from rayform_runtime.artifacts.stores.etags import part_digests

    return Background("rayform-md5", lambda: {file.path: part_digests(file.path, part) for file in files})
