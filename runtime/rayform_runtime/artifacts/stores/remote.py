"""What stores in a cloud have in common: where objects lie, the order of a commit, verified downloads, a cache.

Below the root, version V is `versions/V/rayform-manifest.json` and its files are in `versions/V/<attempt>/…`. Each
writer has an attempt of its own, so that the one that loses the race for the manifest has touched nothing of the
winner's. An artifact of a few kilobytes lies in its manifest: one request where there were three.
"""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from rayform_core.errors import ConflictError, NotFoundError, RayformError
from rayform_core.files import storage_error
from rayform_runtime.artifacts.stores.cache import ArtifactCache
from rayform_runtime.artifacts.stores.copying import copy_artifact
from rayform_runtime.artifacts.stores.files import (
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
    CorruptArtifactError,
    Manifest,
    StoredFile,
    StoredObject,
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

__all__ = ["RemoteArtifactStore", "is_loopback"]


def is_loopback(endpoint: str) -> bool:
    """Whether a URL's host is this machine, as an emulator's is."""
    from urllib.parse import urlsplit

    host = urlsplit(endpoint).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


class RemoteArtifactStore(ArtifactStore):
    """A store whose objects are reached over a network; a subclass moves the bytes.

    Args:
        uri: the root, as in `s3://bucket/prefix`.
        stack_name: the stack that it belongs to, for errors.
    """

    def __init__(self, uri: str, *, stack_name: str) -> None:
        self.uri = uri
        self.stack_name = stack_name
        self._cache = ArtifactCache(uri)
        self._asked: dict[str, bytes] = {}  # manifests whose files are about to be downloaded

    # -- what a subclass does; keys are relative to the root ----------------------------------------------
    @abc.abstractmethod
    def _upload(self, files: Sequence[tuple[Path, str]]) -> None:
        """Upload files to keys, verified."""

    @abc.abstractmethod
    def _download(self, files: Sequence[tuple[str, Path, int]]) -> Mapping[Path, str]:
        """Download keys of known sizes into new files; `NotFoundError` names a key that is gone.

        Returns:
            the digests of those files that were hashed while they came; the others are read again for it.
        """

    @abc.abstractmethod
    def _put(self, key: str, data: bytes, *, if_absent: bool) -> None:
        """Write one small object; `ConflictError` where it exists and mustn't."""

    @abc.abstractmethod
    def _get(self, key: str, start: int) -> bytes:
        """Read one object from a byte on; `NotFoundError` where there is none."""

    @abc.abstractmethod
    def _has(self, key: str) -> bool:
        """Whether there is an object."""

    @abc.abstractmethod
    def _list(self, prefix: str) -> Iterator[StoredObject]:
        """List objects whose keys begin with `prefix`, in pages."""

    @abc.abstractmethod
    def _remove(self, keys: Sequence[str]) -> None:
        """Remove objects; those that aren't there are no error."""

    # -- commit -------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def staging(self, id: UUID) -> Iterator[Path]:
        """See `ArtifactStore.staging`. The folder lies beside the cache, so that a commit can move it there."""
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
        metadata: dict[str, Any] | None = None,
        visualizations: dict[str, str] | None = None,
    ) -> tuple[str, Manifest]:
        """See `ArtifactStore.commit`. Files are hashed while they travel."""
        attempt = _new_attempt()
        base = version_key(id)
        items, _ = list_staged(staged)

        def manifest_of(files: Sequence[StoredFile], embedded: Mapping[str, bytes]) -> Manifest:
            return make_manifest(
                id,
                files,
                type=type,
                materializer=materializer,
                metadata=metadata,
                visualizations=visualizations,
                folder=attempt,
                embedded=embedded,
            )

        keys: list[str] = []
        is_garbage = True
        try:
            if _is_small(items):
                content = {file.path: read_whole(staged / file.path) for file in seal_folder(staged)}
                # Of one reading: a file that something still writes would differ from its digest for good.
                manifest = manifest_of(files_of(content), content)
            else:
                # Nothing is sent whose manifest could not be written in the end.
                encode_manifest(
                    Manifest(id, type, materializer, "", 0, (), metadata or {}, visualizations or {})
                )
                sealing = _Sealing(staged)
                sealing.start()
                keys += [f"{base}/{attempt}/{relative}" for relative, _ in items]
                try:
                    self._upload([(Path(path), key) for (_, path), key in zip(items, keys, strict=True)])
                finally:
                    sealing.join()
                manifest = manifest_of(sealing.files(), {})
            data = encode_manifest(manifest)
            # From here on the manifest may be there, whatever is heard of it: after Ctrl-C or a lost network too.
            is_garbage = False
            try:
                self._put_manifest(id, data)
            except ConflictError:
                is_garbage = True
                raise
        except BaseException:
            # Where it can't be removed either, prune finds it.
            if keys and is_garbage:
                with contextlib.suppress(RayformError):
                    self._remove(keys)
            raise
        with contextlib.suppress(OSError, RayformError):  # the cache is a help, and the commit is done
            (staged / MANIFEST_NAME).write_bytes(data)
            (staged / MANIFEST_NAME).chmod(0o600)
            self._cache.add(str(id), staged)
        return f"{self.uri}/{base}", manifest

    def commit_files(
        self,
        id: UUID,
        files: Mapping[str, bytes],
        *,
        type: str,
        materializer: str,
        metadata: dict[str, Any] | None = None,
    ) -> tuple[str, Manifest]:
        """See `ArtifactStore.commit_files`. What is small is sent from memory, in its manifest."""
        if not is_embeddable(files):
            return super().commit_files(id, files, type=type, materializer=materializer, metadata=metadata)
        folder = _new_attempt()  # that stays empty: prune tells lost attempts by it
        manifest = embedded_manifest(
            id, files, type=type, materializer=materializer, metadata=metadata, folder=folder
        )
        data = encode_manifest(manifest)
        self._put_manifest(id, data)
        self._cache.keep_manifest(str(id), data)
        return f"{self.uri}/{version_key(id)}", manifest

    def _put_manifest(self, id: UUID, data: bytes) -> None:
        try:
            self._put(f"{version_key(id)}/{MANIFEST_NAME}", data, if_absent=True)
        except ConflictError:
            raise ConflictError(
                f"Artifact version {id} exists already in '{self.uri}'.",
                why="Another writer committed it first; nothing was overwritten.",
                hint="Load that one, or save under a new ID.",
            ) from None

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
                hint="Restore it from the bucket's versions or a backup, or run the step that made it again.",
            ) from None

    def read_files(self, uri: str, *, digest: str | None = None) -> Mapping[str, bytes] | None:
        """See `ArtifactStore.read_files`. Of an artifact that isn't in this machine's cache it asks the store."""
        id = version_id(self.uri, uri)  # noqa: A001 - the field's word
        name = str(id)
        if digest is not None:
            kept = self._cache.kept_manifest(name)
            if kept is not None:
                try:
                    manifest = decode_manifest(kept, uri=uri, id=id)
                    check_digest(uri, manifest, digest)
                except CorruptArtifactError:
                    self._cache.drop_manifest(name)  # a disk may fail or be written to; the store is asked
                else:
                    if manifest.embedded:
                        return manifest.embedded
            elif self._cache.has(name):
                return None
        data = self._manifest_bytes(uri)
        manifest = decode_manifest(data, uri=uri, id=id)
        check_digest(uri, manifest, digest)
        if not manifest.embedded:
            self._asked[name] = data
            return None
        self._cache.keep_manifest(name, data)
        return manifest.embedded

    @contextlib.contextmanager
    def open_local(self, uri: str, *, digest: str | None = None) -> Iterator[Path]:
        """See `ArtifactStore.open_local`.

        Without `digest` the store is asked for the manifest each time; with it, an artifact in the cache that
        has this digest is given without asking.
        """
        name = str(version_id(self.uri, uri))
        wanted = digest
        if wanted is None:
            wanted = self.read_manifest(uri).digest
        fetched: list[Manifest] = []
        for attempt in (1, 2):
            with self._cache.open(name, lambda folder: fetched.append(self._fetch(uri, folder))) as folder:
                problem = None
                try:
                    manifest = decode_manifest(
                        read_whole(folder / MANIFEST_NAME), uri=uri, id=version_id(self.uri, uri)
                    )
                    check_digest(uri, manifest, wanted)
                    self._asked.pop(name, None)  # where the cache had it after all
                    if manifest not in fetched:  # what was fetched just now is verified already
                        verify_folder(uri, folder, manifest)
                except (CorruptArtifactError, ArtifactMissingError, OSError) as error:
                    problem = error
                if problem is None:
                    yield folder
                    return
            # The cache is on a disk that may fail or be written to: what it holds is fetched once more.
            self._cache.drop(name)
            if attempt == 2:
                raise problem if isinstance(problem, RayformError) else storage_error(problem, folder)

    def _fetch(self, uri: str, folder: Path) -> Manifest:
        """Download an artifact into an empty folder and verify it."""
        data = self._asked.pop(str(version_id(self.uri, uri)), None) or self._manifest_bytes(uri)
        manifest = decode_manifest(data, uri=uri, id=version_id(self.uri, uri))
        base = f"{version_key(manifest.id)}/{manifest.folder}".rstrip("/")
        if manifest.embedded:
            write_embedded(folder, manifest)
        wanted = [] if manifest.embedded else list(manifest.files)
        # A body that was spoilt on its way is fetched again; one that is wrong in the store stays wrong.
        for attempt in (1, 2, 3) if wanted else ():
            for file in wanted:
                (folder / file.path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                (folder / file.path).unlink(missing_ok=True)
            try:
                digests = self._download(
                    [(f"{base}/{file.path}", folder / file.path, file.size) for file in wanted]
                )
            except NotFoundError as error:
                raise ArtifactMissingError(
                    f"File '{error.name.removeprefix(base + '/')}' of artifact '{uri}' is gone.",
                    why="It was removed from the store behind Rayform's back.",
                    hint="Restore it from the bucket's versions or a backup, or run the step that made it again.",
                ) from None
            except OSError as error:
                raise storage_error(error, folder) from error
            wanted = [
                file
                for file in wanted
                if digests.get(folder / file.path) != file.digest and not _is_right(uri, folder, file)
            ]
            if not wanted:
                break
            if attempt == 3:
                verify_folder(uri, folder, manifest)
        for path in folder.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        (folder / MANIFEST_NAME).write_bytes(data)
        (folder / MANIFEST_NAME).chmod(0o600)
        return manifest

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
        self._remove([found.key for found in self._list(base)])
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
            raise ConflictError(
                f"'{key}' exists already in '{self.uri}'.",
                why="It was to be written only where it is absent.",
                hint="Choose another key, or remove it first.",
            ) from None
        return f"{self.uri}/{key}"

    def get_bytes(self, key: str, *, start: int = 0) -> bytes:
        """See `ArtifactStore.get_bytes`."""
        return self._get(safe_key(key), start)

    def download_objects(self, files: Sequence[tuple[str, Path, int]]) -> None:
        """Download objects by key, new file and size, several at once; for data that has no manifest.

        Raises:
            NotFoundError: one is gone.
        """
        self._download([(safe_key(key), path, size) for key, path, size in files])

    def check(self) -> None:
        """See `ArtifactStore.check`. Also proves that two writers of one key can't both win."""
        key = f".check/{os.urandom(8).hex()}"
        self._put(key, b"ok", if_absent=True)
        try:
            try:
                self._put(key, b"again", if_absent=True)
            except ConflictError:
                return
            from rayform_core.errors import PrerequisiteError

            raise PrerequisiteError(
                f"The artifact store '{self.uri}' of stack '{self.stack_name}' can't be used.",
                why="It doesn't know conditional writes: two writers could both commit one version.",
                hint="Use a store that does: Amazon S3, Google Cloud Storage, MinIO, Ceph from version 19 on.",
            )
        finally:
            self._remove([key])


class _Sealing(threading.Thread):
    """Hashes staged files beside their upload."""

    def __init__(self, staged: Path) -> None:
        super().__init__(name="rayform-digest", daemon=True)
        self._staged = staged
        self._files: tuple[StoredFile, ...] = ()
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._files = seal_folder(self._staged)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._error = error

    def files(self) -> tuple[StoredFile, ...]:
        if self._error is not None:
            raise self._error
        return self._files


def _new_attempt() -> str:
    return f"data-{os.urandom(6).hex()}"


def _is_small(items: Sequence[tuple[str, str]]) -> bool:
    if not 0 < len(items) <= MOST_EMBEDDED:
        return False
    return sum(Path(path).lstat().st_size for _, path in items) <= LARGEST_EMBEDDED


def _is_right(uri: str, folder: Path, file: StoredFile) -> bool:
    try:
        verify_file(uri, folder, file)
    except (CorruptArtifactError, ArtifactMissingError):
        return False
    return True
