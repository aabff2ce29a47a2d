"""Data that a person put into the artifact store by other means, registered as an artifact version.

It has no manifest and is never removed by us. Its digest covers what the store says of its objects (key, size,
time), not their content: it may be terabytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rayform_core.errors import NotFoundError, UsageError
from rayform_core.files import home, private_folder, storage_error
from rayform_runtime.artifacts.stores.interface import ArtifactMissingError, CorruptArtifactError
from rayform_runtime.artifacts.stores.keys import safe_key
from rayform_runtime.artifacts.stores.remote import RemoteArtifactStore
from rayform_runtime.artifacts.values import REGISTERED

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore, StoredObject

__all__ = ["MATERIALIZER", "RegisteredData", "describe_data", "fetch"]

MATERIALIZER = REGISTERED


@dataclass(frozen=True, slots=True)
class RegisteredData:
    """What lies at a URI: how many files, how many bytes, and a digest over their names, sizes and times."""

    uri: str
    files: int
    size: int
    digest: str


def _key(store: ArtifactStore, uri: str) -> str:
    if not isinstance(uri, str):
        raise UsageError(f"Data lie at a path below the store's root or at a URI, and {uri!r:.80} is none.")
    root = store.uri.rstrip("/")
    given = uri.rstrip("/")
    if given.startswith(root + "/"):
        return unquote(given[len(root) + 1 :]) if root.startswith("file:") else given[len(root) + 1 :]
    plain_root = unquote(root.removeprefix("file://")) if root.startswith("file:") else root
    if given.startswith(plain_root + "/"):
        return given[len(plain_root) + 1 :]
    if "://" in given or given.startswith("/"):
        raise UsageError(
            f"'{uri}' lies outside of the artifact store.",
            why=f"The store is '{root}'.",
            hint="Copy the data into the store first, or activate the stack whose store holds it.",
        )
    return given


def _objects(store: ArtifactStore, key: str) -> list[StoredObject]:
    found = [o for o in store.list_objects(key) if o.key == key or o.key.startswith(key + "/")]
    return sorted(found, key=lambda o: o.key)


def _digest(objects: list[StoredObject], key: str) -> str:
    described = "\n".join(f"{o.key[len(key) :]}\t{o.size}\t{o.modified:.0f}" for o in objects)
    return hashlib.sha256(described.encode()).hexdigest()


def describe_data(store: ArtifactStore, uri: str) -> RegisteredData:
    """Say what lies at a URI of the store.

    Raises:
        NotFoundError: nothing does.
        UsageError: it is outside of the store, or is the store's own folder of versions.
    """
    key = _key(store, uri)
    if not key or key.split("/")[0] in ("versions", ".staging"):
        raise UsageError(
            f"'{uri}' belongs to the artifact store itself.", hint="Register data in a folder of its own."
        )
    objects = _objects(store, key)
    if not objects:
        raise NotFoundError("data in the artifact store", uri, hint="Check the path below the store's root.")
    from urllib.parse import quote

    root = store.uri.rstrip("/")
    shown = quote(key) if root.startswith("file:") else key
    return RegisteredData(
        f"{root}/{shown}", len(objects), sum(o.size for o in objects), _digest(objects, key)
    )


def fetch(store: ArtifactStore, uri: str, *, digest: str | None = None) -> Path:
    """Return a path to registered data: the data itself in a local store, else a copy of it on this machine.

    Raises:
        ArtifactMissingError: it is gone.
        CorruptArtifactError: it was changed since it was registered.
    """
    key = _key(store, uri)
    objects = _objects(store, key)
    if not objects:
        raise ArtifactMissingError(
            f"The registered data '{uri}' is gone from the store.", hint="Put it back, or delete the version."
        )
    now = _digest(objects, key)
    if digest is not None and now != digest:
        raise CorruptArtifactError(
            f"The registered data '{uri}' was changed since it was registered.",
            hint="Register it again: that makes a new version.",
        )
    if store.uri.startswith("file://"):
        return Path(unquote(store.uri.removeprefix("file://"))) / key
    folder = home() / "cache" / "registered" / now
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
        # The store's own listing names it, but a key may hold anything: it must not lead out of the folder.
        path = target / safe_key(below) if below else target
        private_folder(path.parent)
        files.append((each.key, path, each.size))
    if isinstance(store, RemoteArtifactStore):
        store.download_objects(files)
        return
    for object_key, path, _ in files:
        path.write_bytes(store.get_bytes(object_key))
