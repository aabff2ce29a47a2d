"""The artifact store's interface: one abstract class, its data types, its errors.

An artifact is a *folder* of files that a materializer wrote, plus a manifest. A commit writes the data first, then
the manifest; the catalog's row follows only after that. A folder without a manifest is garbage and is never loaded.
There is one file per implementation: `local.py`, `s3.py`, `gcs.py`. `tests/contract` runs one suite over all of them.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple
from uuid import UUID

from rayform_core.errors import ConflictError, IntegrityError, UsageError
from rayform_core.files import make_private
from rayform_runtime.artifacts.stores.keys import version_id

__all__ = [
    "LARGEST_EMBEDDED",
    "MANIFEST_NAME",
    "MANIFEST_SCHEMA",
    "MOST_EMBEDDED",
    "ArtifactMissingError",
    "ArtifactStore",
    "Commit",
    "CorruptArtifactError",
    "Manifest",
    "ObjectDownload",
    "ObjectUpload",
    "StoredFile",
    "StoredObject",
    "key_conflict",
    "version_conflict",
]

MANIFEST_NAME = "rayform-manifest.json"
MANIFEST_SCHEMA = 2
LARGEST_EMBEDDED = 4096
"""Most bytes, in all files together, of an artifact that may lie in its manifest: numbers, metrics, small tables."""
MOST_EMBEDDED = 16
"""Most files of such an artifact."""


class ArtifactMissingError(IntegrityError):
    """The catalog has the version, but its data is gone from the store."""


class CorruptArtifactError(IntegrityError):
    """Data or manifest in the store is not what was committed."""


def version_conflict(uri: str, id: UUID) -> ConflictError:
    """Build the error for a version that exists already in the store at `uri`."""
    return ConflictError(
        f"Artifact version {id} exists already in '{uri}'.",
        why="Another writer committed it first; nothing was overwritten.",
        hint="Load that version, or save under a new ID.",
    )


def key_conflict(uri: str, key: str) -> ConflictError:
    """Build the error for an object that exists already in the store at `uri` and must not be overwritten."""
    return ConflictError(
        f"'{key}' exists already in '{uri}'.",
        why="It must not be overwritten.",
        hint="Choose another key, or remove the object first.",
    )


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of an artifact: POSIX path relative to the artifact's folder, size in bytes, digest."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Describes a committed artifact.

    Args:
        id: the artifact version's UUID.
        type: import path of the value's type, `module:qualname`.
        materializer: import path of the materializer.
        digest: digest over the files' paths and digests; equal content gives an equal digest.
        size: bytes in all files together.
        files: the files, sorted by path.
        metadata: facts about the value (shape, dtype, columns, …) that can be stored as JSON.
        visualizations: relative paths of attached visualizations, by name; their files are not part of `digest`.
        schema: version of this format: 2 if files are embedded, which older readers don't understand, else 1.
        folder: folder below the artifact's URI that holds the files; empty if they lie at the URI itself. A remote
            store gives each attempt a folder of its own, so that a losing writer can't touch the winner's data.
        embedded: content of all files by path, for a small artifact that lies in its manifest alone.
        signature: proves to the machine that committed the artifact that it did; see `manifest.is_own`.
    """

    id: UUID
    type: str
    materializer: str
    digest: str
    size: int
    files: tuple[StoredFile, ...]
    metadata: dict[str, object] = field(default_factory=dict)
    visualizations: dict[str, str] = field(default_factory=dict)
    schema: int = 1
    folder: str = ""
    embedded: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    signature: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object below the store's root, as `list_objects` reports it; `modified` is seconds since 1970."""

    key: str
    size: int
    modified: float


class Commit(NamedTuple):
    """A committed artifact: its URI and its manifest."""

    uri: str
    manifest: Manifest


class ObjectUpload(NamedTuple):
    """A file of this machine, and the key to upload it to."""

    path: Path
    key: str


class ObjectDownload(NamedTuple):
    """A key, the new file of this machine to download it to, and its size in bytes."""

    key: str
    path: Path
    size: int


class ArtifactStore(abc.ABC):
    """Holds artifacts under one root URI.

    All methods block. Several threads and processes may call them at once. A remote store retries transient faults
    by itself, with backoff. Keys are relative POSIX paths; a key that tries to leave the root raises `UsageError`.
    """

    uri: str
    """Root of the store: `file:///…`, `s3://bucket/prefix`, `gs://bucket/prefix`."""
    is_local: ClassVar[bool] = False
    """Whether the store is a folder of this machine: its files are used in place and not downloaded."""

    def uri_of(self, key: str) -> str:
        """Return the URI of the object with this key."""
        return f"{self.uri}/{key}"

    def key_of(self, uri: str) -> str | None:
        """Return the key of the object at this URI, or `None` if the URI lies outside of the store."""
        root = f"{self.uri}/"
        return uri[len(root) :] if uri.startswith(root) else None

    def version_of(self, uri: str) -> UUID | None:
        """Return the artifact version whose data this store keeps at the URI, or `None` if the URI is no such place."""
        try:
            return version_id(self.uri, uri)
        except UsageError:
            return None

    def local_path(self, key: str) -> Path | None:
        """Return the path of an object on this machine, or `None` for a remote store."""
        return None

    @abc.abstractmethod
    def staging(self, id: UUID) -> AbstractContextManager[Path]:
        """Yield an empty private local folder for a materializer to write the new version's files into.

        When the context ends without a `commit`, the folder is removed.
        """

    @abc.abstractmethod
    def commit(
        self,
        id: UUID,
        staged: Path,
        *,
        type: str,
        materializer: str,
        metadata: Mapping[str, object] | None = None,
        visualizations: Mapping[str, str] | None = None,
        is_own: bool = False,
    ) -> Commit:
        """Make the staged folder durable under this ID and return its URI and manifest.

        The data comes first, the manifest last and conditionally. Nothing is ever overwritten. With `is_own`, the
        manifest is signed: this process made the value (`save_value` says so), rather than copied its files.

        Raises:
            ConflictError: another writer committed a version with this ID first.
        """

    def commit_files(
        self,
        id: UUID,
        files: Mapping[str, bytes],
        *,
        type: str,
        materializer: str,
        metadata: Mapping[str, object] | None = None,
        is_own: bool = False,
    ) -> Commit:
        """Commit files that are in memory, `{path: content}` with safe relative paths; otherwise like `commit`."""
        with self.staging(id) as folder:
            for path, data in files.items():
                make_private((folder / path).parent)
                (folder / path).write_bytes(data)
            return self.commit(
                id, folder, type=type, materializer=materializer, metadata=metadata, is_own=is_own
            )

    @abc.abstractmethod
    def read_manifest(self, uri: str) -> Manifest:
        """Return the manifest of a committed artifact.

        Raises:
            ArtifactMissingError: there is no manifest at this URI.
            CorruptArtifactError: the manifest can't be parsed, or a newer version of Rayform wrote it.
        """

    def read_files(self, uri: str, *, digest: str | None = None) -> Mapping[str, bytes] | None:
        """Return all files of a small artifact, verified, or `None` if `open_local` has to open it.

        Raises:
            ArtifactMissingError, CorruptArtifactError.
        """
        return None

    @abc.abstractmethod
    def open_local(self, uri: str, *, digest: str | None = None) -> AbstractContextManager[Path]:
        """Yield a local folder with the artifact's files, verified against the manifest, for reading only.

        A remote store downloads into a cache; the local store yields the folder itself. The folder stays while the
        context is open.

        Args:
            uri: the artifact's URI.
            digest: the digest in the catalog; a different one in the store raises.

        Raises:
            ArtifactMissingError, CorruptArtifactError.
        """

    @abc.abstractmethod
    def download(self, uri: str, target: Path) -> None:
        """Copy the artifact's files (without the manifest) into the new folder `target`."""

    @abc.abstractmethod
    def delete(self, uri: str) -> None:
        """Remove an artifact, its manifest first, so that a crash leaves garbage and never half a result.

        An artifact that doesn't exist is no error.
        """

    @abc.abstractmethod
    def exists(self, uri: str) -> bool:
        """Whether a committed artifact (one with a manifest) is at this URI."""

    @abc.abstractmethod
    def list_objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield all objects below the root whose keys begin with `prefix`, committed or not; for prune."""

    @abc.abstractmethod
    def delete_objects(self, keys: list[str]) -> None:
        """Remove single objects by key; for prune."""

    @abc.abstractmethod
    def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        """Write one small object whole (logs, bundles, wheels) and return its URI.

        Args:
            key: path below the root.
            data: its content.
            if_absent: raise `ConflictError` if the object exists already; the store itself decides.
        """

    @abc.abstractmethod
    def get_bytes(self, key: str, *, start: int = 0) -> bytes:
        """Read one object from byte `start` to its end.

        Raises:
            NotFoundError: there is no such object.
        """

    def download_objects(self, files: Sequence[ObjectDownload]) -> None:
        """Download objects by key; for data that has no manifest.

        Raises:
            NotFoundError: an object doesn't exist.
        """
        for file in files:
            file.path.write_bytes(self.get_bytes(file.key))

    def prepare_for_forks(self) -> None:  # noqa: B027 - most stores have nothing to do
        """Do once what each process forked from this one would otherwise do before its first use of the store.

        Starts no thread, leaves no connection open, and sends the store nothing. The default does nothing.
        """

    @abc.abstractmethod
    def check(self) -> None:
        """Prove that the store can be reached and written, or raise an error that says what to do."""
