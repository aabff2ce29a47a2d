"""Data that a user put into the artifact store by other means, registered as an artifact version.

It has no manifest, and Rayform never removes it. Its digest covers what the store lists about its objects (key, size,
time) but not their content, which may be terabytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_core.errors import NotFoundError, UsageError
from rayform_core.files import home, private_folder, storage_error
from rayform_runtime.artifacts.materializers.registry import REGISTERED
from rayform_runtime.artifacts.stores.interface import (
    ArtifactMissingError,
    CorruptArtifactError,
    ObjectDownload,
)
from rayform_runtime.artifacts.stores.keys import safe_key

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore, StoredObject

__all__ = ["REGISTERED", "RegisteredData", "describe_data", "fetch"]


@dataclass(frozen=True, slots=True)
class RegisteredData:
    """The data at a URI: number of files, bytes in all, and a digest over the files' names, sizes and times."""

    uri: str
    files: int
    size: int
    digest: str


def _key(store: ArtifactStore, uri: str) -> str:
    if not isinstance(uri, str):
        raise UsageError(
            f"{uri!r:.80} can't be registered.",
            hint="Pass a URI in the artifact store, or a path below the store's root.",
        )
    uri = uri.rstrip("/")
    key = store.key_of(uri)
    if key is not None:
        return key
    if "://" in uri or uri.startswith("/"):
        raise UsageError(
            f"'{uri}' lies outside of the artifact store.",
            why=f"The store is '{store.uri}'.",
            hint="Copy the data into the store first, or activate the stack whose store holds it.",
        )
    return uri


def _objects(store: ArtifactStore, key: str) -> list[StoredObject]:
    objects = [o for o in store.list_objects(key) if o.key == key or o.key.startswith(key + "/")]
    return sorted(objects, key=lambda o: o.key)


def _digest(objects: list[StoredObject], key: str) -> str:
    described = "\n".join(f"{o.key[len(key) :]}\t{o.size}\t{o.modified:.0f}" for o in objects)
    return hashlib.sha256(described.encode()).hexdigest()


def describe_data(store: ArtifactStore, uri: str) -> RegisteredData:
    """Describe the data at a URI of the store.

    Args:
        store: the store that holds the data.
        uri: a URI in the store, or a path below its root.

    Raises:
        NotFoundError: there is no data at the URI.
        UsageError: the URI lies outside of the store, or names the store's own folder of versions.
    """
    key = _key(store, uri)
    if not key or key.split("/")[0] in ("versions", ".staging"):
        raise UsageError(
            f"'{uri}' belongs to the artifact store itself.", hint="Register data in a folder of its own."
        )
    objects = _objects(store, key)
    if not objects:
        raise NotFoundError("data in the artifact store", uri, hint="Check the path below the store's root.")
    return RegisteredData(
        store.uri_of(key), len(objects), sum(o.size for o in objects), _digest(objects, key)
    )


def fetch(store: ArtifactStore, uri: str, *, digest: str | None = None) -> Path:
    """Return a path to registered data: the data itself in a local store, otherwise a copy on this machine.

    Args:
        store: the store that holds the data.
        uri: the data's URI.
        digest: the digest in the catalog; a different one now raises.

    Raises:
        ArtifactMissingError: the data is gone.
        CorruptArtifactError: the data has changed since it was registered.
    """
    key = _key(store, uri)
    objects = _objects(store, key)
    if not objects:
        raise ArtifactMissingError(
            f"The registered data '{uri}' is gone from the store.", hint="Put it back, or delete the version."
        )
    current_digest = _digest(objects, key)
    if digest is not None and current_digest != digest:
        raise CorruptArtifactError(
            f"The registered data '{uri}' has changed since it was registered.",
            hint="Register it again, which makes a new version.",
        )
    path = store.local_path(key)
    if path is not None:
        return path
    folder = home() / "cache" / "registered" / current_digest
    target = folder / Path(key).name
    if not target.exists():
        temporary = private_folder(folder / f".{os.getpid()}.{os.urandom(4).hex()}")
        try:
            _download(store, objects, key, temporary / target.name)
            if not target.exists():
                (temporary / target.name).rename(target)
        except OSError as error:
            raise storage_error(error, temporary) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _download(store: ArtifactStore, objects: list[StoredObject], key: str, target: Path) -> None:
    files = []
    for each in objects:
        below = each.key[len(key) :].lstrip("/")
        # The store's own listing names the key, but it may hold anything and must not lead out of the folder.
        path = target / safe_key(below) if below else target
        private_folder(path.parent)
        files.append(ObjectDownload(each.key, path, each.size))
    store.download_objects(files)
