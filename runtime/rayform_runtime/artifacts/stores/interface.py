"""The artifact store's interface: one abstract class, its data types, its errors.

An artifact is a *folder* of files that a materializer wrote, plus a manifest. Commit order: the data first,
then the manifest, and only then (elsewhere) the catalog row. A folder without a manifest is garbage and is
never loaded. One file per implementation: `local.py`, `s3.py`, `gcs.py`; `tests/contract` runs one suite over
all of them.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from rayform_core.errors import IntegrityError

__all__ = [
    "LARGEST_EMBEDDED",
    "MANIFEST_NAME",
    "MANIFEST_SCHEMA",
    "MOST_EMBEDDED",
    "ArtifactMissingError",
    "ArtifactStore",
    "CorruptArtifactError",
    "Manifest",
    "StoredFile",
    "StoredObject",
]

MANIFEST_NAME = "rayform-manifest.json"
MANIFEST_SCHEMA = 2
LARGEST_EMBEDDED = 4096
"""Bytes in all files of an artifact that a store may keep in its manifest: numbers, metrics, small tables."""
MOST_EMBEDDED = 16
"""Files of such an artifact."""


class ArtifactMissingError(IntegrityError):
    """The catalog knows the version, but its data is gone from the store."""


class CorruptArtifactError(IntegrityError):
    """Data or manifest in the store is not what was committed."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of an artifact: path relative to the artifact's folder (POSIX), size in bytes, digest."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was committed.

    Args:
        id: the artifact version's UUID.
        type: import path of the value's type, `module:qualname`.
        materializer: import path of the materializer.
        digest: digest over the files' paths and digests; equal content gives an equal digest.
        size: bytes in all files together.
        files: the files, sorted by path.
        metadata: what the materializer knows of the value (shape, dtype, columns, …), JSON.
        visualizations: relative paths of attached visualizations, by name; their files are not part of `digest`.
        schema: version of this format: 2 where files are embedded, which older readers don't know, else 1.
        folder: folder below the artifact's URI that holds the files, where a store writes each attempt into
            one of its own so that a losing writer can't touch the winner's data; empty for the URI itself.
        embedded: content of all files by path, where a store keeps a small artifact in its manifest alone.
    """

    id: UUID
    type: str
    materializer: str
    digest: str
    size: int
    files: tuple[StoredFile, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    visualizations: dict[str, str] = field(default_factory=dict)
    schema: int = 1
    folder: str = ""
    embedded: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object below the store's root, as `list_objects` reports it; `modified` is seconds since 1970."""

    key: str
    size: int
    modified: float


class ArtifactStore(abc.ABC):
    """Holds artifacts under one root URI.

    All methods block, may be called from several threads and processes at once, and retry transient faults
    of a remote store by themselves with backoff. Keys are relative POSIX paths; one that tries to leave the
    root raises `UsageError`.
    """

    uri: str
    """Root of the store: `file:///…`, `s3://bucket/prefix`, `gs://bucket/prefix`."""

    @abc.abstractmethod
    def staging(self, id: UUID) -> AbstractContextManager[Path]:
        """Give an empty private local folder for a materializer to write the new version's files into.

        What is left in it when the context ends without a `commit` is removed.
        """

    @abc.abstractmethod
    def commit(
        self,
        id: UUID,
        staged: Path,
        *,
        type: str,
        materializer: str,
        metadata: dict[str, Any] | None = None,
        visualizations: dict[str, str] | None = None,
    ) -> tuple[str, Manifest]:
        """Make the staged folder durable under this ID and return its URI and manifest.

        Data first, the manifest last and conditionally: of two writers with one ID, one wins and the other
        gets `ConflictError`. Never overwrites.
        """

    def commit_files(
        self,
        id: UUID,
        files: Mapping[str, bytes],
        *,
        type: str,
        materializer: str,
        metadata: dict[str, Any] | None = None,
    ) -> tuple[str, Manifest]:
        """Commit content that is in memory, `{path: content}` with safe relative paths; otherwise as `commit`."""
        with self.staging(id) as folder:
            for path, data in files.items():
                (folder / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                (folder / path).write_bytes(data)
            return self.commit(id, folder, type=type, materializer=materializer, metadata=metadata)

    @abc.abstractmethod
    def read_manifest(self, uri: str) -> Manifest:
        """Return the manifest of a committed artifact.

        Raises:
            ArtifactMissingError: there is none at this URI.
            CorruptArtifactError: it can't be parsed, or is from a newer version.
        """

    def read_files(self, uri: str, *, digest: str | None = None) -> Mapping[str, bytes] | None:
        """Return all files of a small artifact, verified, or `None` where `open_local` is the way to them.

        Raises:
            ArtifactMissingError, CorruptArtifactError.
        """
        return None

    @abc.abstractmethod
    def open_local(self, uri: str, *, digest: str | None = None) -> AbstractContextManager[Path]:
        """Give a local folder with the artifact's files, verified against the manifest, for reading only.

        A remote store downloads into a cache; the local store gives the folder itself. While the context is
        open the folder stays.

        Args:
            uri: the artifact's URI.
            digest: what the catalog says the digest is; a difference raises.

        Raises:
            ArtifactMissingError, CorruptArtifactError.
        """

    @abc.abstractmethod
    def download(self, uri: str, target: Path) -> None:
        """Copy the artifact's files (without the manifest) into the new folder `target`."""

    @abc.abstractmethod
    def delete(self, uri: str) -> None:
        """Remove an artifact, its manifest first, so that a crash leaves garbage and never half a result.

        Removing what isn't there is no error.
        """

    @abc.abstractmethod
    def exists(self, uri: str) -> bool:
        """Whether a committed artifact (one with a manifest) is at this URI."""

    @abc.abstractmethod
    def list_objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """Walk all objects below the root, committed or not; what prune looks through."""

    @abc.abstractmethod
    def delete_objects(self, keys: list[str]) -> None:
        """Remove single objects by key; what prune uses for leftovers."""

    @abc.abstractmethod
    def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        """Write one small object whole (logs, bundles, wheels) and return its URI.

        Args:
            key: path below the root.
            data: its content.
            if_absent: raise `ConflictError` where it is there already, decided by the store itself.
        """

    @abc.abstractmethod
    def get_bytes(self, key: str, *, start: int = 0) -> bytes:
        """Read one object from byte `start` to its end.

        Raises:
            NotFoundError: there is none.
        """

    def prepare_for_forks(self) -> None:  # noqa: B027 - most stores have nothing to do
        """Do now what each process that will fork from this one would do before its first use of this store.

        Starts no thread, leaves no connection open, and asks the store nothing. By default there is nothing to do.
        """

    @abc.abstractmethod
    def check(self) -> None:
        """Prove that the store can be reached and written, or raise an error that says what to do."""
