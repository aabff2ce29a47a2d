"""The local store: one folder per artifact version, written elsewhere, synced, and renamed into place."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote
from uuid import UUID

from rayform_core.errors import NotFoundError, PrerequisiteError, UsageError
from rayform_core.files import make_private
from rayform_runtime.artifacts.stores.files import (
    check_digest,
    read_whole,
    seal_folder,
    sync_folder,
    syncing,
    verify_folder,
    walk_files,
    write_embedded,
    write_new_file,
)
from rayform_runtime.artifacts.stores.interface import (
    MANIFEST_NAME,
    ArtifactMissingError,
    ArtifactStore,
    Commit,
    CorruptArtifactError,
    Manifest,
    StoredObject,
    key_conflict,
    version_conflict,
)
from rayform_runtime.artifacts.stores.keys import VERSIONS, safe_key, version_id, version_key
from rayform_runtime.artifacts.stores.manifest import (
    LARGEST_MANIFEST,
    decode_manifest,
    embedded_manifest,
    encode_manifest,
    is_embeddable,
    make_manifest,
)

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.config import LocalStoreConfig

__all__ = ["LocalArtifactStore"]

_STAGING = ".staging"


class LocalArtifactStore(ArtifactStore):
    """Keeps artifacts in a folder of this machine that only its owner can read.

    The staging folder lies in the same file system. A commit syncs the files, writes and syncs the manifest, renames
    the folder and syncs its parent. The rename fails if the version exists, which decides between two writers.

    Args:
        config: `path`, the absolute folder.
        stack_name: the stack that the store belongs to, for errors.

    Raises:
        UsageError: the path isn't absolute.
    """

    is_local: ClassVar[bool] = True

    def __init__(self, config: LocalStoreConfig, *, stack_name: str) -> None:
        self.root = Path(config.path).expanduser()
        self.stack_name = stack_name
        if not self.root.is_absolute():
            raise UsageError(
                f"The local artifact store of stack '{stack_name}' needs an absolute path.",
                why=f"'{config.path}' is relative.",
                hint="Write the path from `/` on.",
            )
        self.uri = "file://" + _quoted(self.root.as_posix().rstrip("/"))
        self._versions = str(self.root / VERSIONS)
        self._ready = False  # whether this process has made the store's folders

    def uri_of(self, key: str) -> str:
        """See `ArtifactStore.uri_of`. A URI quotes what it can't hold as it is."""
        return f"{self.uri}/{_quoted(key)}"

    def key_of(self, uri: str) -> str | None:
        """See `ArtifactStore.key_of`. A plain path below the store's folder is understood too."""
        key = super().key_of(uri)
        if key is not None:
            return unquote(key)
        folder = self.root.as_posix().rstrip("/") + "/"
        return uri[len(folder) :] if uri.startswith(folder) else None

    def version_of(self, uri: str) -> UUID | None:
        """See `ArtifactStore.version_of`. A URI from before the store's folder was moved here counts too."""
        version = super().version_of(uri)
        former = uri.rpartition(f"/{VERSIONS}/")[0].removeprefix("file://")
        if version is None and not os.path.lexists(unquote(former)):
            with contextlib.suppress(UsageError):
                version = self._version_id(uri)
        return version

    def local_path(self, key: str) -> Path:
        """See `ArtifactStore.local_path`."""
        return self.root / key

    # -- commit -------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def staging(self, id: UUID) -> Iterator[Path]:
        """See `ArtifactStore.staging`."""
        self._make_ready()
        staged = self.root / _STAGING / f"{id}-{os.urandom(6).hex()}"
        try:
            try:
                staged.mkdir(mode=0o700)
            except FileNotFoundError:
                # Another program removed the store's folders after this process made them.
                self._ready = False
                self._make_ready()
                staged.mkdir(mode=0o700)
        except OSError as error:
            raise self._unusable(error, staged.parent) from error
        try:
            yield staged
        finally:
            # A commit has renamed the folder.
            if os.path.lexists(staged):
                import shutil

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
        """See `ArtifactStore.commit`."""
        try:
            with syncing() as durable:
                manifest = make_manifest(
                    id,
                    seal_folder(staged, durable=durable),
                    type=type,
                    materializer=materializer,
                    metadata=metadata,
                    visualizations=visualizations,
                    is_own=is_own,
                )
                write_new_file(f"{staged}/{MANIFEST_NAME}", encode_manifest(manifest), durable=durable)
        except OSError as error:
            raise self._unusable(error, staged) from error
        return Commit(self._publish(staged, id), manifest)

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
        """See `ArtifactStore.commit_files`. A small artifact lies in its manifest: one file less to sync."""
        if not is_embeddable(files):
            return super().commit_files(
                id, files, type=type, materializer=materializer, metadata=metadata, is_own=is_own
            )
        manifest = embedded_manifest(
            id, files, type=type, materializer=materializer, metadata=metadata, is_own=is_own
        )
        data = encode_manifest(manifest)
        with self.staging(id) as staged:
            try:
                write_new_file(f"{staged}/{MANIFEST_NAME}", data, sync=True)
            except OSError as error:
                raise self._unusable(error, staged) from error
            return Commit(self._publish(staged, id), manifest)

    def _publish(self, staged: Path, id: UUID) -> str:
        """Rename a staged folder, with its manifest, into place durably, and return its URI."""
        try:
            sync_folder(staged)
            # An existing target has a manifest in it, and renaming onto a folder that isn't empty fails.
            os.rename(staged, f"{self._versions}/{id}")  # noqa: PTH104 - the hot path; Path.rename builds one more Path
            sync_folder(self._versions)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                raise version_conflict(self.uri, id) from None
            raise self._unusable(error, staged) from error
        return f"{self.uri}/{version_key(id)}"

    # -- read ---------------------------------------------------------------------------------------------
    def read_manifest(self, uri: str) -> Manifest:
        """See `ArtifactStore.read_manifest`."""
        version = self._version_id(uri)
        path = f"{self._versions}/{version}/{MANIFEST_NAME}"
        try:
            data = read_whole(path)
        except (FileNotFoundError, NotADirectoryError):
            raise ArtifactMissingError(
                f"Artifact '{uri}' is gone from the store.",
                why=f"There is no manifest at '{path}'.",
                hint="Restore the folder from a backup, or run the step again.",
            ) from None
        except OSError as error:
            raise self._unusable(error, path) from error
        if len(data) > LARGEST_MANIFEST:
            raise CorruptArtifactError(
                f"The manifest of '{uri}' has {len(data):,} bytes and isn't Rayform's."
            )
        return decode_manifest(data, uri=uri, id=version)

    def read_files(self, uri: str, *, digest: str | None = None) -> Mapping[str, bytes] | None:
        """See `ArtifactStore.read_files`."""
        manifest = self.read_manifest(uri)
        check_digest(uri, manifest, digest)
        return manifest.embedded or None

    @contextlib.contextmanager
    def open_local(self, uri: str, *, digest: str | None = None) -> Iterator[Path]:
        """See `ArtifactStore.open_local`. Yields the committed folder itself: copy files before you change them.

        Files that lie in the manifest are written into a temporary folder while the context is open.
        """
        manifest = self.read_manifest(uri)
        check_digest(uri, manifest, digest)
        if manifest.embedded:
            import tempfile  # not in the store, which may be full or belong to another user

            with tempfile.TemporaryDirectory(prefix="rayform-") as written:
                write_embedded(Path(written), manifest)
                yield Path(written)
            return
        folder = self.root / VERSIONS / str(manifest.id)
        try:
            verify_folder(uri, folder, manifest)
        except OSError as error:
            raise self._unusable(error, folder) from error
        yield folder

    def download(self, uri: str, target: Path) -> None:
        """See `ArtifactStore.download`."""
        from rayform_runtime.artifacts.stores.copying import copy_artifact

        with self.open_local(uri) as folder:
            copy_artifact(folder, target, self.read_manifest(uri))

    def exists(self, uri: str) -> bool:
        """See `ArtifactStore.exists`."""
        return (self.root / VERSIONS / str(self._version_id(uri)) / MANIFEST_NAME).is_file()

    # -- remove -------------------------------------------------------------------------------------------
    def delete(self, uri: str) -> None:
        """See `ArtifactStore.delete`."""
        import shutil

        folder = self.root / VERSIONS / str(self._version_id(uri))
        try:
            if not os.path.lexists(folder):
                return
            (folder / MANIFEST_NAME).unlink(missing_ok=True)
            sync_folder(folder)
            shutil.rmtree(folder)
            sync_folder(folder.parent)
        except FileNotFoundError:
            return  # another process removed it at the same time
        except OSError as error:
            raise self._unusable(error, folder) from error

    def list_objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `ArtifactStore.list_objects`."""
        start = prefix.rpartition("/")[0]
        base = self.root / safe_key(start) if start else self.root
        if not base.is_dir():
            return
        lead = f"{start}/" if start else ""
        for relative, entry in walk_files(base):
            key = lead + relative
            if key.startswith(prefix):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # committed or removed meanwhile
                yield StoredObject(key, status.st_size, status.st_mtime)

    def delete_objects(self, keys: list[str]) -> None:
        """See `ArtifactStore.delete_objects`. Removes folders that become empty too."""
        for key in keys:
            path = self._path(key)
            try:
                path.unlink(missing_ok=True)
                for parent in path.parents:
                    if parent.parent == self.root or parent == self.root:
                        break
                    parent.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
                    raise self._unusable(error, path) from error

    # -- small objects ------------------------------------------------------------------------------------
    def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        """See `ArtifactStore.put_bytes`."""
        path = self._path(key)
        self._make_ready()
        temporary = self.root / _STAGING / f"put-{os.urandom(8).hex()}"
        try:
            make_private(path.parent)
            try:
                with syncing() as durable:
                    write_new_file(temporary, data, durable=durable)
                if if_absent:
                    path.hardlink_to(temporary)  # unlike a rename, this fails if the name exists
                else:
                    temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(path.parent)
        except FileExistsError:
            raise key_conflict(self.uri, key) from None
        except OSError as error:
            raise self._unusable(error, path) from error
        return self.uri_of(key)

    def get_bytes(self, key: str, *, start: int = 0) -> bytes:
        """See `ArtifactStore.get_bytes`."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFoundError(
                "object", key, why=f"The store '{self.uri}' has no object with this key."
            ) from None
        except OSError as error:
            raise self._unusable(error, path) from error

    def check(self) -> None:
        """See `ArtifactStore.check`."""
        self._ready = False
        self._make_ready()
        probe = self.root / _STAGING / f"check-{os.urandom(8).hex()}"
        try:
            with syncing() as durable:
                write_new_file(probe, b"ok", durable=durable)
            probe.unlink()
        except OSError as error:
            raise self._unusable(error, probe.parent) from error

    # -- helpers ------------------------------------------------------------------------------------------
    def _make_ready(self) -> None:
        if self._ready:
            return
        try:
            make_private(self.root)
            for name in (VERSIONS, _STAGING):
                (self.root / name).mkdir(mode=0o700, exist_ok=True)
            sync_folder(self.root)
        except OSError as error:
            raise self._unusable(error, self.root) from error
        self._ready = True

    def _version_id(self, uri: str) -> UUID:
        """Return the version that a URI names, even if the URI is from before the store's folder was moved here."""
        try:
            return version_id(self.uri, uri)
        except UsageError:
            former_root = uri.rpartition(f"/{VERSIONS}/")[0]
            if not former_root.startswith("file://"):
                raise
            version = version_id(former_root, uri)
            if not (self.root / VERSIONS / str(version) / MANIFEST_NAME).is_file():
                raise
            return version

    def _path(self, key: str) -> Path:
        path = self.root / safe_key(key)
        # A link inside the store must not lead out of it.
        if not path.parent.resolve().is_relative_to(self.root.resolve()):
            raise UsageError(f"'{key}' leads out of the store '{self.uri}' through a link.")
        return path

    def _unusable(self, error: OSError, path: Path | str) -> PrerequisiteError:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return PrerequisiteError(
            f"The artifact store of stack '{self.stack_name}' can't be used at '{error.filename or path}'.",
            why=f"{os.strerror(error.errno) if error.errno else error}. Nothing was committed or lost.",
            hint="Free some disk space. `rayform artifact prune` shows artifacts that nothing needs."
            if is_full
            else f"Make sure that your user may read and write '{self.root}'.",
        )


def _quoted(path: str) -> str:
    if path.isascii() and path.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum():
        return path
    from urllib.parse import quote

    return quote(path)
