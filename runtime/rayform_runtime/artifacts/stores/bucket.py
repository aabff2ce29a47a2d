"""What the stores of all clouds share: a bucket, a prefix in it, one client per process, safe retries of a write."""

from __future__ import annotations

import abc
import os
import threading
from collections.abc import Mapping
from typing import Generic, TypeVar

from rayform_core.errors import ConflictError
from rayform_runtime.artifacts.stores.remote import RemoteArtifactStore

__all__ = ["BucketArtifactStore", "is_loopback"]

ClientT = TypeVar("ClientT")

_WRITER = "rayform-writer"


def is_loopback(endpoint: str) -> bool:
    """Whether a URL's host is this machine, as an emulator's is."""
    from urllib.parse import urlsplit

    host = urlsplit(endpoint).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


class BucketArtifactStore(RemoteArtifactStore, Generic[ClientT]):
    """A store in a bucket; a subclass makes the cloud's client and moves bytes with it.

    Args:
        scheme: the cloud's scheme in URIs, as in `s3`.
        bucket: name of the bucket.
        prefix: key prefix below which the store keeps everything; may be empty.
        stack_name: the stack that the store belongs to, for errors.
    """

    def __init__(self, scheme: str, bucket: str, prefix: str, *, stack_name: str) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        super().__init__(f"{scheme}://{bucket}/{self.prefix}".rstrip("/"), stack_name=stack_name)
        self._making_client = threading.Lock()
        self._clients: dict[int, ClientT] = {}  # by process ID

    # -- what a subclass does; keys are relative to the root ----------------------------------------------
    @abc.abstractmethod
    def _make_client(self) -> ClientT:
        """Make the cloud's client."""

    @abc.abstractmethod
    def _write(self, key: str, data: bytes, labels: Mapping[str, str], *, if_absent: bool) -> None:
        """Write one small object with these labels in its metadata.

        Raises:
            ConflictError: the object exists, and `if_absent` is set.
        """

    @abc.abstractmethod
    def _labels(self, key: str) -> Mapping[str, str]:
        """Return the labels of an object; none for an object that doesn't exist."""

    # -- what all buckets share ---------------------------------------------------------------------------
    @property
    def _client(self) -> ClientT:
        """The cloud's client; one per process, since connections don't survive a fork."""
        pid = os.getpid()
        client = self._clients.get(pid)
        if client is None:
            with self._making_client:
                client = self._clients.get(pid) or self._make_client()
                self._clients[pid] = client
        return client

    def _name(self, key: str) -> str:
        """Return the name of an object in the bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def _key(self, name: str) -> str:
        """Return the key of an object by its name in the bucket."""
        return name[len(self.prefix) + 1 :] if self.prefix else name

    def _put(self, key: str, data: bytes, *, if_absent: bool) -> None:
        writer = os.urandom(12).hex()
        try:
            self._write(key, data, {_WRITER: writer}, if_absent=if_absent)
        except ConflictError:
            # The client tries again after a lost answer, and then meets the object that its first try wrote.
            if self._labels(key).get(_WRITER) != writer:
                raise
