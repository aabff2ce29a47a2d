"""What all remote stores share: where objects lie, the order of a commit, verified downloads, a cache.

Below the root, the manifest of version V is `versions/V/rayform-manifest.json` and its files are in
`versions/V/<attempt>/…`. Each writer has an attempt of its own, so the writer that loses the race for the manifest
has touched none of the winner's files. An artifact of a few kilobytes lies in its manifest, which takes one request
instead of three.
"""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

from rayform_core.errors import ConflictError, NotFoundError, PrerequisiteError, RayformError
from rayform_core.files import make_private, storage_error
from rayform_runtime.artifacts.stores.background import Background
from rayform_runtime.artifacts.stores.cache import ArtifactCache
from rayform_runtime.artifacts.stores.copying import copy_artifact
from rayform_runtime.artifacts.stores.files import (
    StagedFile,
    check_digest,
    list_staged,
    read_whole,
    seal_folder,
    verify_file,
    verify_folder,
    write_embedded,
)
from rayform_runtime.artifacts.stores.interface import (
    LARGEST_EMBEDDED,
    MANIFEST_NAME,
    MOST_EMBEDDED,
    ArtifactMissingError,
    ArtifactStore,
    Commit,
    CorruptArtifactError,
    Manifest,
    ObjectDownload,
    ObjectUpload,
    StoredFile,
    StoredObject,
    key_conflict,
    version_conflict,
)
from rayform_runtime.artifacts.stores.keys import VERSIONS, safe_key, version_id, version_key
from rayform_runtime.artifacts.stores.manifest import (
    decode_manifest,
    embedded_manifest,
    encode_manifest,
    files_of,
    is_embeddable,
    make_manifest,
)

__all__ = ["RemoteArtifactStore"]

_TRIES = 3
"""Tries to download a file that arrives damaged."""


class RemoteArtifactStore(ArtifactStore):
    """A store that is reached over a network; a subclass moves the bytes.

    Args:
        uri: the root, as in `s3://bucket/prefix`.
        stack_name: the stack that the store belongs to, for errors.
    """

    def __init__(self, uri: str, *, stack_name: str) -> None:
        self.uri = uri
        self.stack_name = stack_name
        self._cache = ArtifactCache(uri)
        # Manifests by version ID that `read_files` has fetched, until `open_local` downloads their files.
        self._fetched_manifests: dict[str, bytes] = {}

    # -- what a subclass does; keys are relative to the root ----------------------------------------------
    @abc.abstractmethod
    def _upload(self, files: Sequence[ObjectUpload]) -> None:
        """Upload files, verified."""

    @abc.abstractmethod
    def _download(self, files: Sequence[ObjectDownload]) -> Mapping[Path, str]:
        """Download objects into new files.

        Returns:
            the digests of the files that were hashed as they arrived; the caller hashes the others.

        Raises:
            NotFoundError: an object is gone; names its key.
        """

    @abc.abstractmethod
    def _put(self, key: str, data: bytes, *, if_absent: bool) -> None:
        """Write one small object.

        Raises:
            ConflictError: the object exists, and `if_absent` is set.
        """

    @abc.abstractmethod
    def _get(self, key: str, start: int) -> bytes:
        """Read one object from byte `start` to its end.

        Raises:
            NotFoundError: there is no such object.
        """

    @abc.abstractmethod
    def _has(self, key: str) -> bool:
        """Whether an object exists."""

    @abc.abstractmethod
    def _list(self, prefix: str) -> Iterator[StoredObject]:
        """List objects whose keys begin with `prefix`, in pages."""

    @abc.abstractmethod
    def _remove(self, keys: Sequence[str]) -> None:
        """Remove objects; a key without an object is no error."""

    # -- commit -------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def staging(self, id: UUID) -> Iterator[Path]:
        """See `ArtifactStore.staging`. The folder lies next to the cache, so that a commit can move it there."""
        staged = self._cache.staging() / f"{id}-{os.urandom(6).hex()}"
        try:
            staged.mkdir(mode=0o700)
        except OSError as error:
            raise storage_error(error, staged) from error
        try:
            yield staged
        finally:
            if staged.exists():
                shutil.rmtree(staged, ignore_errors=True)

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
        """See `ArtifactStore.commit`. Files are hashed while they are uploaded."""
        base, attempt = version_key(id), _new_attempt()
        manifest_of = partial(
            make_manifest,
            id,
            type=type,
            materializer=materializer,
            metadata=metadata,
            visualizations=visualizations,
            folder=attempt,
            is_own=is_own,
        )
        files = list_staged(staged)
        if _is_small(files):
            # Content and digest come from one read: they must match even if the file is still being written.
            content = {file.path: read_whole(staged / file.path) for file in seal_folder(staged)}
            manifest = manifest_of(files_of(content), embedded=content)
            data = encode_manifest(manifest)
            self._put_manifest(id, data)
        else:
            # Fail before uploading if the manifest can't be encoded.
            encode_manifest(
                Manifest(id, type, materializer, "", 0, (), dict(metadata or {}), dict(visualizations or {}))
            )
            uploads = [ObjectUpload(Path(file.path), f"{base}/{attempt}/{file.name}") for file in files]
            try:
                manifest = manifest_of(self._upload_and_seal(staged, uploads))
                data = encode_manifest(manifest)
            except BaseException:
                _discard(self, uploads)
                raise
            try:
                self._put_manifest(id, data)
            except ConflictError:
                _discard(self, uploads)
                raise
            # After any other error the manifest may exist, for instance after Ctrl-C or a lost network.
        with contextlib.suppress(OSError, RayformError):  # the commit is done, and the cache only saves time
            (staged / MANIFEST_NAME).write_bytes(data)
            (staged / MANIFEST_NAME).chmod(0o600)
            self._cache.add(str(id), staged)
        return Commit(self.uri_of(base), manifest)

    def _upload_and_seal(self, staged: Path, uploads: Sequence[ObjectUpload]) -> tuple[StoredFile, ...]:
        sealing = Background("rayform-digest", lambda: seal_folder(staged))
        try:
            self._upload(uploads)
        finally:
            sealing.join()
        return sealing.result()

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
        """See `ArtifactStore.commit_files`. A small artifact is sent from memory, in its manifest."""
        if not is_embeddable(files):
            return super().commit_files(
                id, files, type=type, materializer=materializer, metadata=metadata, is_own=is_own
            )
        folder = _new_attempt()  # stays empty; by its name prune tells the winner from lost attempts
        manifest = embedded_manifest(
            id, files, type=type, materializer=materializer, metadata=metadata, folder=folder, is_own=is_own
        )
        data = encode_manifest(manifest)
        self._put_manifest(id, data)
        self._cache.keep_manifest(str(id), data)
        return Commit(self.uri_of(version_key(id)), manifest)

    def _put_manifest(self, id: UUID, data: bytes) -> None:
        try:
            self._put(f"{version_key(id)}/{MANIFEST_NAME}", data, if_absent=True)
        except ConflictError:
            raise version_conflict(self.uri, id) from None

    # -- read ---------------------------------------------------------------------------------------------
    def read_manifest(self, uri: str) -> Manifest:
        """See `ArtifactStore.read_manifest`."""
        return decode_manifest(self._manifest_bytes(uri), uri=uri, id=version_id(self.uri, uri))

    def _manifest_bytes(self, uri: str) -> bytes:
        key = f"{version_key(version_id(self.uri, uri))}/{MANIFEST_NAME}"
        try:
            return self._get(key, 0)
        except NotFoundError:
            raise ArtifactMissingError(
                f"Artifact '{uri}' is gone from the store.",
                why=f"There is no object '{key}' below '{self.uri}'.",
                hint="Restore it from the bucket's versions or a backup, or run the step again.",
            ) from None

    def read_files(self, uri: str, *, digest: str | None = None) -> Mapping[str, bytes] | None:
        """See `ArtifactStore.read_files`. Asks the store unless the artifact is in this machine's cache."""
        id = version_id(self.uri, uri)  # noqa: A001 - the field's word
        name = str(id)
        if digest is not None:
            kept = self._cache.kept_manifest(name)
            if kept is not None:
                try:
                    manifest = decode_manifest(kept, uri=uri, id=id)
                    check_digest(uri, manifest, digest)
                except CorruptArtifactError:
                    self._cache.drop_manifest(name)  # it changed on this machine's disk, so ask the store
                else:
                    if manifest.embedded:
                        return manifest.embedded
            elif self._cache.has(name):
                return None
        data = self._manifest_bytes(uri)
        manifest = decode_manifest(data, uri=uri, id=id)
        check_digest(uri, manifest, digest)
        if not manifest.embedded:
            self._fetched_manifests[name] = data
            return None
        self._cache.keep_manifest(name, data)
        return manifest.embedded

    @contextlib.contextmanager
    def open_local(self, uri: str, *, digest: str | None = None) -> Iterator[Path]:
        """See `ArtifactStore.open_local`.

        Without `digest` the store is asked for the manifest each time. With it, an artifact in the cache that has
        this digest is opened without asking.
        """
        name = str(version_id(self.uri, uri))
        if digest is None:
            digest = self.read_manifest(uri).digest
        fetched: list[Manifest] = []
        for attempt in (1, 2):
            with self._cache.open(name, lambda folder: fetched.append(self._fetch(uri, folder))) as folder:
                problem = None
                try:
                    manifest = decode_manifest(
                        read_whole(folder / MANIFEST_NAME), uri=uri, id=version_id(self.uri, uri)
                    )
                    check_digest(uri, manifest, digest)
                    self._fetched_manifests.pop(name, None)  # unused if another process filled the cache
                    if manifest not in fetched:  # `_fetch` has verified it already
                        verify_folder(uri, folder, manifest)
                except (CorruptArtifactError, ArtifactMissingError, OSError) as error:
                    problem = error
                if problem is None:
                    yield folder
                    return
            # The copy in the cache was damaged, so fetch the artifact once more.
            self._cache.drop(name)
            if attempt == 2:
                raise problem if isinstance(problem, RayformError) else storage_error(problem, folder)

    def _fetch(self, uri: str, folder: Path) -> Manifest:
        """Download an artifact into an empty folder and verify it."""
        data = self._fetched_manifests.pop(str(version_id(self.uri, uri)), None) or self._manifest_bytes(uri)
        manifest = decode_manifest(data, uri=uri, id=version_id(self.uri, uri))
        if manifest.embedded:
            write_embedded(folder, manifest)
        elif manifest.files:
            self._download_files(uri, folder, manifest)
        for path in folder.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        (folder / MANIFEST_NAME).write_bytes(data)
        (folder / MANIFEST_NAME).chmod(0o600)
        return manifest

    def _download_files(self, uri: str, folder: Path, manifest: Manifest) -> None:
        """Download the files of an artifact and verify them.

        A file that was damaged on its way is downloaded again; a file that is wrong in the store stays wrong.
        """
        base = f"{version_key(manifest.id)}/{manifest.folder}".rstrip("/")
        pending: Sequence[StoredFile] = manifest.files
        for _ in range(_TRIES):
            for file in pending:
                make_private((folder / file.path).parent)
                (folder / file.path).unlink(missing_ok=True)
            try:
                digests = self._download(
                    [ObjectDownload(f"{base}/{f.path}", folder / f.path, f.size) for f in pending]
                )
            except NotFoundError as error:
                raise ArtifactMissingError(
                    f"File '{error.name.removeprefix(base + '/')}' of artifact '{uri}' is gone.",
                    why="Another program removed it from the store.",
                    hint="Restore it from the bucket's versions or a backup, or run the step again.",
                ) from None
            except OSError as error:
                raise storage_error(error, folder) from error
            pending = [
                f
                for f in pending
                if digests.get(folder / f.path) != f.digest and not _is_right(uri, folder, f)
            ]
            if not pending:
                return
        verify_folder(uri, folder, manifest)

    def download(self, uri: str, target: Path) -> None:
        """See `ArtifactStore.download`."""
        with self.open_local(uri) as folder:
            copy_artifact(folder, target, decode_manifest(read_whole(folder / MANIFEST_NAME), uri=uri))

    def exists(self, uri: str) -> bool:
        """See `ArtifactStore.exists`."""
        return self._has(f"{version_key(version_id(self.uri, uri))}/{MANIFEST_NAME}")

    # -- remove -------------------------------------------------------------------------------------------
    def delete(self, uri: str) -> None:
        """See `ArtifactStore.delete`."""
        id = version_id(self.uri, uri)  # noqa: A001 - the field's word
        base = f"{VERSIONS}/{id}/"
        self._remove([base + MANIFEST_NAME])
        self._remove([item.key for item in self._list(base)])
        self._cache.drop(str(id))
        self._cache.drop_manifest(str(id))

    def list_objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `ArtifactStore.list_objects`."""
        if prefix:
            safe_key(prefix.rstrip("/"))
        yield from self._list(prefix)

    def delete_objects(self, keys: list[str]) -> None:
        """See `ArtifactStore.delete_objects`."""
        self._remove([safe_key(key) for key in keys])

    # -- small objects ------------------------------------------------------------------------------------
    def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        """See `ArtifactStore.put_bytes`."""
        try:
            self._put(safe_key(key), data, if_absent=if_absent)
        except ConflictError:
            raise key_conflict(self.uri, key) from None
        return self.uri_of(key)

    def get_bytes(self, key: str, *, start: int = 0) -> bytes:
        """See `ArtifactStore.get_bytes`."""
        return self._get(safe_key(key), start)

    def download_objects(self, files: Sequence[ObjectDownload]) -> None:
        """See `ArtifactStore.download_objects`. Downloads several at once."""
        for file in files:
            safe_key(file.key)
        self._download(files)

    def check(self) -> None:
        """See `ArtifactStore.check`. Also proves that of two writers of one key only one wins."""
        key = f".check/{os.urandom(8).hex()}"
        self._put(key, b"ok", if_absent=True)
        try:
            try:
                self._put(key, b"again", if_absent=True)
            except ConflictError:
                return
            raise PrerequisiteError(
                f"The artifact store '{self.uri}' of stack '{self.stack_name}' can't be used.",
                why="It doesn't support conditional writes, so two writers could both commit one version.",
                hint="Use a store that supports them: Amazon S3, Google Cloud Storage, MinIO, or Ceph 19 and newer.",
            )
        finally:
            self._remove([key])


def _discard(store: RemoteArtifactStore, uploads: Sequence[ObjectUpload]) -> None:
    """Remove what an attempt has uploaded; prune finds what can't be removed here."""
    with contextlib.suppress(RayformError):
        store._remove([upload.key for upload in uploads])


def _new_attempt() -> str:
    return f"data-{os.urandom(6).hex()}"


def _is_small(files: Sequence[StagedFile]) -> bool:
    if not 0 < len(files) <= MOST_EMBEDDED:
        return False
    return sum(Path(file.path).lstat().st_size for file in files) <= LARGEST_EMBEDDED


def _is_right(uri: str, folder: Path, file: StoredFile) -> bool:
    try:
        verify_file(uri, folder, file)
    except (CorruptArtifactError, ArtifactMissingError):
        return False
    return True
