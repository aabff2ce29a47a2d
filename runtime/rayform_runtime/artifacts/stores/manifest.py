"""The manifest as JSON: written last, read first, and never trusted until it is checked."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar
from uuid import UUID

from rayform_core.errors import UsageError
from rayform_core.machine_key import is_signed, sign
from rayform_runtime.artifacts.stores.digest import bytes_digest, tree_digest
from rayform_runtime.artifacts.stores.interface import (
    LARGEST_EMBEDDED,
    MANIFEST_NAME,
    MANIFEST_SCHEMA,
    MOST_EMBEDDED,
    CorruptArtifactError,
    Manifest,
    StoredFile,
)
from rayform_runtime.artifacts.stores.keys import is_safe_key

__all__ = [
    "LARGEST_MANIFEST",
    "decode_manifest",
    "embedded_manifest",
    "encode_manifest",
    "files_of",
    "is_embeddable",
    "is_own",
    "make_manifest",
]

LARGEST_MANIFEST = 256 << 20
"""Bytes; room for more than a million files. A larger manifest isn't ours, and we don't read it into memory."""

T = TypeVar("T")

_HEX = frozenset("0123456789abcdef")


def make_manifest(
    id: UUID,
    files: Iterable[StoredFile],
    *,
    type: str,
    materializer: str,
    metadata: Mapping[str, object] | None = None,
    visualizations: Mapping[str, str] | None = None,
    folder: str = "",
    embedded: Mapping[str, bytes] | None = None,
    is_own: bool = False,
) -> Manifest:
    """Build the manifest of an artifact from its files; see `Manifest` for the arguments.

    Raises:
        UsageError: a visualization isn't among the files.
    """
    ordered = tuple(sorted(files, key=lambda file: file.path))
    pictures = dict(visualizations or {})
    if pictures:
        missing = set(pictures.values()).difference(file.path for file in ordered)
        if missing:
            raise UsageError(
                f"Visualization '{min(missing)}' can't be stored.",
                why=f"Materializer '{materializer}' names it but didn't write it.",
                hint="Let save_visualizations write into the folder that is passed to it, and return that path.",
            )
    digest = tree_digest(ordered, without=frozenset(pictures.values()))
    return Manifest(
        id=id,
        type=type,
        materializer=materializer,
        digest=digest,
        size=sum(file.size for file in ordered),
        files=ordered,
        metadata=dict(metadata or {}),
        visualizations=pictures,
        folder=folder,
        embedded=dict(embedded or {}),
        schema=MANIFEST_SCHEMA if embedded else 1,
        signature=sign(*_signed(id, type, materializer, digest)) if is_own else "",
    )


def _signed(id: UUID, type: str, materializer: str, digest: str) -> tuple[str, ...]:
    return "artifact", str(id), type, materializer, digest


def is_own(manifest: Manifest) -> bool:
    """Whether this user committed the artifact on this machine: these files, for this type and materializer."""
    signed = _signed(manifest.id, manifest.type, manifest.materializer, manifest.digest)
    return is_signed(manifest.signature, *signed)


def embedded_manifest(
    id: UUID,
    content: Mapping[str, bytes],
    *,
    type: str,
    materializer: str,
    metadata: Mapping[str, object] | None = None,
    folder: str = "",
    is_own: bool = False,
) -> Manifest:
    """Build the manifest of an artifact that lies in its manifest; see `is_embeddable`."""
    return make_manifest(
        id,
        files_of(content),
        type=type,
        materializer=materializer,
        metadata=metadata,
        folder=folder,
        embedded=content,
        is_own=is_own,
    )


def files_of(content: Mapping[str, bytes]) -> list[StoredFile]:
    """Return the entries of a manifest for files that are in memory, `{path: content}`."""
    return [StoredFile(path, len(data), bytes_digest(data)) for path, data in content.items()]


def is_embeddable(files: Mapping[str, bytes]) -> bool:
    """Whether an artifact with these files is small enough to lie in its manifest."""
    return 0 < len(files) <= MOST_EMBEDDED and sum(map(len, files.values())) <= LARGEST_EMBEDDED


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as UTF-8 JSON.

    Raises:
        UsageError: the metadata holds a value that can't be stored.
    """
    document: dict[str, object] = {
        "schema": manifest.schema,
        "id": str(manifest.id),
        "type": manifest.type,
        "materializer": manifest.materializer,
        "digest": manifest.digest,
        "size": manifest.size,
        "files": [[file.path, file.size, file.digest] for file in manifest.files],
        "metadata": manifest.metadata,
        "visualizations": manifest.visualizations,
    }
    if manifest.signature:
        document["signature"] = manifest.signature
    if manifest.folder:
        document["folder"] = manifest.folder
    if manifest.embedded:
        document["embedded"] = {path: _as_text(data) for path, data in manifest.embedded.items()}
    try:
        return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        # Dates, sizes, NaN and the like are stored with their types, in the catalog's format.
        from rayform_runtime.catalog.metadata import encode_json

        what = f"The metadata of an artifact of type '{manifest.type}'"
        document["metadata"] = json.loads(encode_json(manifest.metadata, what) or "{}")
        return json.dumps(document, separators=(",", ":")).encode()


def decode_manifest(data: bytes, *, uri: str, id: UUID | None = None) -> Manifest:
    """Parse and check a stored manifest.

    Args:
        data: the manifest's bytes.
        uri: the artifact's URI, for errors.
        id: the version that the manifest must belong to.

    Raises:
        CorruptArtifactError: the bytes aren't a manifest, a newer version of Rayform wrote it, or it contradicts
            itself.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _corrupt(uri, f"It isn't JSON: {error}") from error
    if not isinstance(document, dict):
        raise _corrupt(uri, "It isn't a JSON object")
    schema = document.get("schema")
    if isinstance(schema, int) and schema > MANIFEST_SCHEMA:
        raise CorruptArtifactError(
            f"The manifest of '{uri}' can't be read.",
            why=f"A newer version of Rayform wrote it, in format {schema}. This version reads formats up to "
            f"{MANIFEST_SCHEMA}.",
            hint="Upgrade Rayform here: pip install --upgrade rayform.",
        )
    try:
        manifest = _parse(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        what = f"Field {error} is missing" if isinstance(error, KeyError) else str(error)
        raise _corrupt(uri, what) from error
    if id is not None and manifest.id != id:
        raise _corrupt(uri, f"It belongs to version {manifest.id}")
    return manifest


def _corrupt(uri: str, why: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"The manifest of '{uri}' is corrupt.",
        why=f"{why[:300]}.",
        hint="Another program changed the store: restore the file from a backup, or run the step again.",
    )


# -- parsing: every value is hostile until it is checked, and a check that fails raises ------------------------------


def _parse(document: dict[str, object]) -> Manifest:
    schema = _schema(document["schema"])
    files = _files(_is(document["files"], list, "files"))
    paths = {file.path for file in files}
    visualizations = _visualizations(_is(document["visualizations"], dict, "visualizations"), paths)
    manifest = Manifest(
        id=UUID(_is(document["id"], str, "id")),
        type=_is(document["type"], str, "type"),
        materializer=_is(document["materializer"], str, "materializer"),
        digest=_hex_digest(document["digest"], "digest"),
        size=_is(document["size"], int, "size"),
        files=files,
        metadata=_metadata(_is(document["metadata"], dict, "metadata")),
        visualizations=visualizations,
        folder=_folder(document.get("folder", "")),
        embedded=_embedded(_is(document["embedded"], dict, "embedded"), files)
        if "embedded" in document
        else {},
        schema=schema,
        signature=_is(document.get("signature", ""), str, "signature"),
    )
    if manifest.size != sum(file.size for file in files):
        raise ValueError("The sizes of the files don't add up to 'size'")
    if manifest.digest != tree_digest(files, without=frozenset(visualizations.values())):
        raise ValueError("The digests of the files don't give 'digest'")
    return manifest


def _is(value: object, kind: type[T], name: str) -> T:
    # Exact types: JSON has no subclasses, and True must not pass for a size.
    if type(value) is not kind:
        raise TypeError(f"Field '{name}' is {type(value).__name__}, not {kind.__name__}")
    return value


def _schema(value: object) -> int:
    if type(value) is not int or value not in (1, MANIFEST_SCHEMA):
        raise ValueError(f"Format {value!r} is unknown")
    return value


def _hex_digest(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) != 64 or not _HEX.issuperset(value):
        raise ValueError(f"Field '{name}' is not a digest")
    return value


def _path(value: object) -> str:
    if not isinstance(value, str) or not is_safe_key(value) or value.partition("/")[0] == MANIFEST_NAME:
        raise ValueError(f"{str(value)[:100]!r} is not a path inside an artifact")
    return value


def _folder(value: object) -> str:
    folder = _is(value, str, "folder")
    if folder and (not is_safe_key(folder) or "/" in folder):
        raise ValueError("Field 'folder' is not the name of a folder")
    return folder


def _files(entries: list[object]) -> tuple[StoredFile, ...]:
    files = tuple(map(_file, entries))
    paths = {file.path for file in files}
    if len(paths) != len(files):
        raise ValueError("A path stands twice in 'files'")
    if clash := paths & _folders_of(paths):
        raise ValueError(f"{min(clash)[:100]!r} is a file, and a folder of other files")
    return files


def _file(entry: object) -> StoredFile:
    if not isinstance(entry, list) or len(entry) != 3:
        raise ValueError("An entry of 'files' isn't [path, size, digest]")
    path, size, digest = entry
    if type(size) is not int or size < 0:
        raise ValueError(f"The size of {_path(path)!r} is not a number of bytes")
    return StoredFile(_path(path), size, _hex_digest(digest, "files"))


def _folders_of(paths: Iterable[str]) -> set[str]:
    pending = {path.rpartition("/")[0] for path in paths}
    folders: set[str] = set()
    while pending:
        folders |= pending
        pending = {path.rpartition("/")[0] for path in pending} - folders
    return folders


def _visualizations(stored: dict[str, str], paths: Collection[str]) -> dict[str, str]:
    for path in stored.values():
        if path not in paths:
            raise ValueError(f"Visualization {str(path)[:100]!r} isn't among the files")
    return stored


def _metadata(stored: dict[str, object]) -> dict[str, object]:
    text = json.dumps(stored)
    if '"$type"' not in text:
        return stored
    from rayform_runtime.catalog.metadata import decode_json

    restored: dict[str, object] = decode_json(text)
    return restored


def _embedded(stored: dict[str, object], files: Sequence[StoredFile]) -> dict[str, bytes]:
    if set(stored) != {file.path for file in files}:
        raise ValueError("Field 'embedded' holds other files than 'files'")
    contents: dict[str, bytes] = {}
    for file in files:
        text = stored[file.path]
        if isinstance(text, list):
            (encoded,) = text
            data = base64.b64decode(_is(encoded, str, "embedded"), validate=True)
        else:
            data = _is(text, str, "embedded").encode()
        if len(data) != file.size or bytes_digest(data) != file.digest:
            raise ValueError(f"The content of {file.path!r} isn't what was committed")
        contents[file.path] = data
    return contents


def _as_text(data: bytes) -> str | list[str]:
    """Return text as it is, so that a user who looks into the bucket can read it, and other bytes as `[base64]`."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return [base64.b64encode(data).decode()]
