"""The S3 store: boto3 with its own multipart and parallel transfers, retries and checksums."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayform_core.emulated_cloud import keys_for
from rayform_core.errors import ConflictError, NotFoundError, RemoteError
from rayform_runtime.artifacts.stores.aws_sessions import new_session
from rayform_runtime.artifacts.stores.files import write_digested
from rayform_runtime.artifacts.stores.interface import StoredObject
from rayform_runtime.artifacts.stores.remote import RemoteArtifactStore, is_loopback
from rayform_runtime.artifacts.stores.s3_errors import error_code, translated

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.config import S3StoreConfig

__all__ = ["S3ArtifactStore"]

_MB = 1 << 20
_PARALLEL = 10
# Parts small enough that a file of 100 MB uses all connections, and large enough that requests don't count for
# larger ones.
_SMALLEST_PART, _LARGEST_PART = 16 * _MB, 64 * _MB
# On loopback several connections win nothing, and emulators read a whole object for each range of it: one stream
# was 1.1 times as fast to moto and 3 times as fast from it.
_NEARBY_PART = 4096 * _MB
_WRITER = "rayform-writer"
_TRIES = 3  # of a body that arrives changed
_BODY_TRIES = 6  # of a body that breaks off
# With blocks of a quarter of it a download from moto took 1.2 times as long.
_BLOCK = _MB
_LITTLE = 64 << 10


@dataclass
class _Prepared:
    """A client that was made without connections; once it has a user, forks of that process would share them."""

    client: Any
    user: int | None = None


_prepared: dict[str, _Prepared] = {}
"""By configuration, what was made before this process was forked."""


class S3ArtifactStore(RemoteArtifactStore):
    """Keeps artifacts in an S3 bucket, or in one of a store that speaks S3.

    Credentials come from the AWS chain (environment, profile, SSO, instance role), and for the emulated cloud from
    its own file; none is kept.

    Args:
        config: bucket, prefix, region, endpoint and KMS key.
        stack_name: the stack that it belongs to, for errors.
    """

    def __init__(self, config: S3StoreConfig, *, stack_name: str) -> None:
        self.bucket = config.bucket
        self.prefix = config.prefix.strip("/")
        self.config = config
        super().__init__(f"s3://{self.bucket}/{self.prefix}".rstrip("/"), stack_name=stack_name)
        self._guard = threading.Lock()
        self._clients: dict[int, Any] = {}

    # -- the client ---------------------------------------------------------------------------------------
    @property
    def _client(self) -> Any:
        """boto3's client; one for each process, since connections don't survive a fork."""
        pid = os.getpid()
        client = self._clients.get(pid)
        if client is None:
            with self._guard:
                client = self._clients.get(pid) or self._make_client()
                self._clients[pid] = client
        return client

    def prepare_for_forks(self) -> None:
        """See `ArtifactStore.prepare_for_forks`: a client and its first request, 30 ms of processor time."""
        client = self._new_client()
        with _answered_at_once(client):
            client.put_object(Bucket=self.bucket, Key=self._key("never-sent"), Body=b"", IfNoneMatch="*")
        # One that has no credentials now isn't handed on: each process asks the chain for itself then.
        _prepared[self.config.model_dump_json()] = _Prepared(client)

    def _make_client(self) -> Any:
        prepared = _prepared.get(self.config.model_dump_json())
        if prepared is not None and prepared.user in (None, os.getpid()):
            prepared.user = os.getpid()
            return prepared.client
        return self._new_client()

    def _new_client(self) -> Any:
        from botocore.config import Config

        options: Any = {"payload_signing_enabled": False}
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
                    # Every file is checked against our own digest after a download; CRCs of its parts on top
                    # would be work done twice. Uploads carry CRC32, which the server verifies.
                    response_checksum_validation="when_required",
                    request_checksum_calculation="when_supported",
                    s3=options,
                ),
            )
        client.meta.events.register_last("before-call.s3", _dont_ask_before_little)
        return client

    @cached_property
    def _encryption(self) -> dict[str, str]:
        if self.config.kms_key_id is None:
            return {}
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.config.kms_key_id}

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _relative(self, key: str) -> str:
        return key[len(self.prefix) + 1 :] if self.prefix else key

    def _part_size(self, size: int) -> int:
        """Return how many bytes a part has where the largest file has `size`."""
        if self.config.endpoint_url and is_loopback(self.config.endpoint_url):
            return _NEARBY_PART
        wanted = -(-size // (_PARALLEL * 8 * _MB)) * 8 * _MB
        return max(_SMALLEST_PART, min(_LARGEST_PART, wanted))

    def _manager(self, part: int) -> Any:
        from s3transfer.manager import TransferConfig, TransferManager

        return TransferManager(
            self._client,
            TransferConfig(
                multipart_threshold=2 * part,
                multipart_chunksize=part,
                max_request_concurrency=_PARALLEL,
                # What waits to be written to the disk is held in memory: 16 MB at the most.
                max_io_queue_size=64,
                io_chunksize=_MB // 4,
                num_download_attempts=8,
            ),
        )

    # -- transfers ----------------------------------------------------------------------------------------
    def _upload(self, files: Sequence[tuple[Path, str]]) -> None:
        if not files:
            return
        extra = {"ChecksumAlgorithm": "CRC32", **self._encryption}
        part = self._part_size(max(path.stat().st_size for path, _ in files))
        remaining = list(files)
        # Amazon's S3 refuses a body whose checksum differs. Other servers may keep the checksum and never
        # compute it (moto does), so what they have is compared by the MD5 that they report.
        expected = None if self.config.endpoint_url is None else _Digests([path for path, _ in files], part)
        for _ in range(_TRIES):
            with self._translated(), self._manager(part) as manager:
                pending = [
                    manager.upload(str(path), self.bucket, self._key(key), extra) for path, key in remaining
                ]
                for future, (_, key) in zip(pending, remaining, strict=True):
                    with self._translated(key):
                        future.result()
            if expected is None:
                return
            remaining = self._wrong_uploads(remaining, expected.wait())
            if not remaining:
                return
        raise _changed_on_its_way(remaining[0][1], self.bucket)

    def _wrong_uploads(
        self, files: Sequence[tuple[Path, str]], expected: dict[Path, list[bytes]]
    ) -> list[tuple[Path, str]]:
        """Return those files that did not arrive as they were sent, by size and MD5."""
        from concurrent.futures import ThreadPoolExecutor

        from rayform_runtime.artifacts.stores.etags import matches_etag

        def is_right(item: tuple[Path, str]) -> bool:
            path, key = item
            with self._translated(key):
                head = self._client.head_object(Bucket=self.bucket, Key=self._key(key))
            if head["ContentLength"] != path.stat().st_size:
                return False
            if str(head.get("ServerSideEncryption", "")).startswith("aws:kms"):
                return True  # such an ETag is no MD5
            return matches_etag(expected[path], str(head["ETag"]).strip('"'))

        if len(files) == 1:
            return [] if is_right(files[0]) else list(files)
        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            return [item for item, right in zip(files, pool.map(is_right, files), strict=True) if not right]

    def _download(self, files: Sequence[tuple[str, Path, int]]) -> Mapping[Path, str]:
        part = self._part_size(max((size for _, _, size in files), default=0))
        # boto3's manager is for files of several parts. One that comes as one stream is quicker without its two
        # threads, and is hashed on its way.
        digests = self._stream([(key, path) for key, path, size in files if size < 2 * part])
        in_parts = [(key, path) for key, path, size in files if size >= 2 * part]
        if in_parts:
            with self._translated(), self._manager(part) as manager:
                pending = [
                    (key, manager.download(self.bucket, self._key(key), str(path))) for key, path in in_parts
                ]
                for key, future in pending:
                    with self._translated(key):
                        future.result()
        return digests

    def _stream(self, files: Sequence[tuple[str, Path]]) -> Mapping[Path, str]:
        from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

        given_up = threading.Event()
        if len(files) <= 1:
            return {path: self._stream_one(key, path, given_up) for key, path in files}
        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            try:
                pending = {path: pool.submit(self._stream_one, key, path, given_up) for key, path in files}
                for future in wait(pending.values(), return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                # The pool's end waits for what runs: after Ctrl-C, or where one file is gone, not for gigabytes.
                given_up.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            return {path: future.result() for path, future in pending.items()}

    def _stream_one(self, key: str, path: Path, given_up: threading.Event) -> str:
        """Download one file in one request, and return its digest; of nothing whole once it was given up."""
        attempt = 0
        while True:
            with self._translated(key):
                body = self._client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"]
            try:
                with contextlib.closing(body), self._translated(key):
                    return write_digested(
                        path, takewhile(lambda _: not given_up.is_set(), body.iter_chunks(_BLOCK))
                    )
            except RemoteError:
                # boto3 tries requests again, and leaves a body that breaks off to its caller.
                attempt += 1
                if attempt == _BODY_TRIES or given_up.wait(0.05 * 2**attempt):
                    raise

    # -- objects ------------------------------------------------------------------------------------------
    def _put(self, key: str, data: bytes, *, if_absent: bool) -> None:
        writer = os.urandom(12).hex()
        arguments: dict[str, Any] = {"Metadata": {_WRITER: writer}, **self._encryption}
        if if_absent:
            arguments["IfNoneMatch"] = "*"
        spoilt = 0
        for attempt in range(6):
            try:
                with self._translated(key):
                    answer = self._client.put_object(
                        Bucket=self.bucket, Key=self._key(key), Body=data, **arguments
                    )
                    if self._is_as_sent(data, answer):
                        return
                    self._client.delete_object(Bucket=self.bucket, Key=self._key(key))
                spoilt += 1
                if spoilt == _TRIES:
                    raise _changed_on_its_way(key, self.bucket)
            except ConflictError:
                # A retry of a write that had arrived, though its answer had not, meets itself.
                if self._writer_of(key) == writer:
                    return
                raise
            except RemoteError as error:
                # S3 answers so while another conditional write of the key is under way.
                if error_code(error.__cause__ or error) != "ConditionalRequestConflict" or attempt == 5:
                    raise
                time.sleep(0.1 * 2**attempt)

    def _is_as_sent(self, data: bytes, answer: dict[str, Any]) -> bool:
        from rayform_runtime.artifacts.stores.etags import md5_of

        if self.config.endpoint_url is None or answer.get("ServerSideEncryption", "").startswith("aws:kms"):
            return True
        etag = str(answer.get("ETag", "")).strip('"')
        return len(etag) != 32 or etag == md5_of(data)

    def _writer_of(self, key: str) -> str | None:
        try:
            with self._translated(key):
                head = self._client.head_object(Bucket=self.bucket, Key=self._key(key))
        except NotFoundError:
            return None
        found: dict[str, str] = head.get("Metadata", {})
        return found.get(_WRITER)

    def _get(self, key: str, start: int) -> bytes:
        arguments = {"Range": f"bytes={start}-"} if start else {"ChecksumMode": "ENABLED"}
        problem: RemoteError | None = None
        # boto3 retries requests, and leaves a body that breaks off to its caller.
        for attempt in range(5):
            try:
                with self._translated(key):
                    answer = self._client.get_object(Bucket=self.bucket, Key=self._key(key), **arguments)
                    data: bytes = answer["Body"].read()
                    return data
            except RemoteError as error:
                if error_code(error.__cause__ or error) in ("InvalidRange", "416"):
                    return b""
                if error_code(error.__cause__ or error):
                    raise
                problem = error
                time.sleep(0.05 * 2**attempt)
        assert problem is not None
        raise problem

    def _has(self, key: str) -> bool:
        try:
            with self._translated(key):
                self._client.head_object(Bucket=self.bucket, Key=self._key(key))
        except NotFoundError:
            return False
        return True

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        with self._translated(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._key(prefix)
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    yield StoredObject(
                        self._relative(found["Key"]), found["Size"], found["LastModified"].timestamp()
                    )

    def _remove(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), 1000):
            batch = [{"Key": self._key(key)} for key in keys[start : start + 1000]]
            with self._translated():
                answer = self._client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True}
                )
            failed = [e for e in answer.get("Errors", ()) if e.get("Code") != "NoSuchKey"]
            if failed:
                first = failed[0]
                raise RemoteError(
                    f"{len(failed)} objects of bucket '{self.bucket}' can't be removed.",
                    why=f"'{first.get('Key')}': {first.get('Code')} {first.get('Message')}.",
                    hint="The role needs s3:DeleteObject on the bucket's objects.",
                )

    def _translated(self, key: str = "") -> Any:
        return translated(self.bucket, key=key, region=self.config.region)


@contextlib.contextmanager
def _answered_at_once(client: Any) -> Iterator[None]:
    """Answer a client's requests before they are sent: they do all but leave this process."""
    from io import BytesIO

    from botocore.awsrequest import AWSResponse

    class Empty(BytesIO):
        def stream(self, **_: Any) -> Iterator[bytes]:
            yield b""

    make: Any = AWSResponse  # its stubs want headers of another library

    def answer(request: Any, **_: Any) -> Any:
        return make(request.url, 200, {}, Empty())

    client.meta.events.register("before-send.s3", answer)
    try:
        yield
    finally:
        client.meta.events.unregister("before-send.s3", answer)


def _dont_ask_before_little(params: dict[str, Any], **_: Any) -> None:
    """Send a small body at once: botocore waits for the server's `100 Continue` before any, a journey more."""
    from botocore.utils import determine_content_length

    length = determine_content_length(params.get("body"))
    if length is not None and length <= _LITTLE:
        params["headers"].pop("Expect", None)


def _changed_on_its_way(key: str, bucket: str) -> RemoteError:
    return RemoteError(
        f"'{key}' arrived in bucket '{bucket}' other than it was sent.",
        why=f"Something between here and the store changed it, {_TRIES} times. Nothing was committed.",
        hint="Look for a proxy or a failing disk on the way.",
    )


class _Digests(threading.Thread):
    """Computes MD5s of files beside their upload."""

    def __init__(self, paths: Sequence[Path], part: int) -> None:
        super().__init__(name="rayform-md5", daemon=True)
        self._paths, self._part = paths, part
        self._found: dict[Path, list[bytes]] = {}
        self._error: OSError | None = None
        self.start()

    def run(self) -> None:
        from rayform_runtime.artifacts.stores.etags import part_digests

        try:
            for path in self._paths:
                self._found[path] = part_digests(path, self._part)
        except OSError as error:
            self._error = error

    def wait(self) -> dict[Path, list[bytes]]:
        self.join()
        if self._error is not None:
            raise self._error
        return self._found
