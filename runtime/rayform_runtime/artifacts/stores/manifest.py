"""The manifest as JSON: what is written last and read first, and never trusted until it is checked."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from rayform_core.errors import UsageError
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
    "make_manifest",
]

LARGEST_MANIFEST = 256 << 20
"""Bytes; room for more than a million files. A larger one isn't ours and isn't read into memory."""

_HEX = frozenset("0123456789abcdef")


def make_manifest(
    id: UUID,
    files: Iterable[StoredFile],
    *,
    type: str,
    materializer: str,
    metadata: Mapping[str, Any] | None = None,
    visualizations: Mapping[str, str] | None = None,
    folder: str = "",
    embedded: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Build the manifest of an artifact from its files.

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
                hint="Let save_visualizations write into the folder that it is given and return that path.",
            )
    return Manifest(
        id=id,
        type=type,
        materializer=materializer,
        digest=tree_digest(ordered, without=frozenset(pictures.values())),
        size=sum(file.size for file in ordered),
        files=ordered,
        metadata=dict(metadata or {}),
        visualizations=pictures,
        folder=folder,
        embedded=dict(embedded or {}),
        schema=MANIFEST_SCHEMA if embedded else 1,
    )


def embedded_manifest(
    id: UUID,
    content: Mapping[str, bytes],
    *,
    type: str,
    materializer: str,
    metadata: Mapping[str, Any] | None = None,
    folder: str = "",
) -> Manifest:
    """Build the manifest of an artifact that lies in it; see `is_embeddable`."""
    return make_manifest(
        id,
        files_of(content),
        type=type,
        materializer=materializer,
        metadata=metadata,
        folder=folder,
        embedded=content,
    )


def files_of(content: Mapping[str, bytes]) -> list[StoredFile]:
    """Return what a manifest says of files whose content is in memory, `{path: content}`."""
    return [StoredFile(path, len(data), bytes_digest(data)) for path, data in content.items()]


def is_embeddable(files: Mapping[str, bytes]) -> bool:
    """Whether an artifact of these files is small enough to lie in its manifest."""
    return 0 < len(files) <= MOST_EMBEDDED and sum(map(len, files.values())) <= LARGEST_EMBEDDED


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as UTF-8 JSON.

    Raises:
        UsageError: its metadata hold something that can't be kept.
    """
    document: dict[str, Any] = {
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
    if manifest.folder:
        document["folder"] = manifest.folder
    if manifest.embedded:
        document["embedded"] = {path: _as_text(data) for path, data in manifest.embedded.items()}
    try:
        return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        # Dates, sizes, NaN and the like are kept with their types, as the catalog keeps them.
        from rayform_runtime.catalog.metadata import encode_json

        what = f"The metadata of an artifact of type '{manifest.type}'"
        document["metadata"] = json.loads(encode_json(manifest.metadata, what) or "{}")
        return json.dumps(document, separators=(",", ":")).encode()


def decode_manifest(data: bytes, *, uri: str, id: UUID | None = None) -> Manifest:
    """Parse and check a stored manifest.

    Args:
        data: its bytes.
        uri: where it lies, for errors.
        id: the version that it must be of.

    Raises:
        CorruptArtifactError: it isn't a manifest, is from a newer version of Rayform, or contradicts itself.
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
            why=f"It was written by a newer version of Rayform (format {schema}; this one knows {MANIFEST_SCHEMA}).",
            hint="Upgrade Rayform here: pip install --upgrade rayform.",
        )
    try:
        manifest = _parse(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        what = f"Field {error} is missing" if isinstance(error, KeyError) else str(error)
        raise _corrupt(uri, what) from error
    if id is not None and manifest.id != id:
        raise _corrupt(uri, f"It is that of version {manifest.id}")
    return manifest


def _corrupt(uri: str, why: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"The manifest of '{uri}' is corrupt.",
        why=f"{why[:300]}.",
        hint="Something else changed the store: restore the file from a backup, or run the step again.",
    )


def _is(value: Any, kind: type, name: str) -> Any:
    # Exact types: JSON has no subclasses, and True must not pass for a size.
    if type(value) is not kind:
        raise TypeError(f"Field '{name}' is {type(value).__name__}, not {kind.__name__}")
    return value


def _hex_digest(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) != 64 or not _HEX.issuperset(value):
        raise ValueError(f"Field '{name}' is no digest")
    return value


def _metadata(stored: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(stored)
    if '"$type"' not in text:
        return stored
    from rayform_runtime.catalog.metadata import decode_json

    restored: dict[str, Any] = decode_json(text)
    return restored


def _as_text(data: bytes) -> str | list[str]:
    """Text stands as it is, so that a person who looks into the bucket can read it; other bytes in base64."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return [base64.b64encode(data).decode()]


def _embedded(stored: dict[str, Any], files: list[StoredFile]) -> dict[str, bytes]:
    if set(stored) != {file.path for file in files}:
        raise ValueError("Field 'embedded' holds other files than 'files'")
    found: dict[str, bytes] = {}
    for file in files:
        text = stored[file.path]
        if isinstance(text, list):
            (encoded,) = text
            data = base64.b64decode(_is(encoded, str, "embedded"), validate=True)
        else:
            data = _is(text, str, "embedded").encode()
        if len(data) != file.size or bytes_digest(data) != file.digest:
            raise ValueError(f"The content of {file.path!r} isn't what was committed")
        found[file.path] = data
    return found


def _path(value: Any) -> str:
    if not isinstance(value, str) or not is_safe_key(value) or value.partition("/")[0] == MANIFEST_NAME:
        raise ValueError(f"{str(value)[:100]!r} is no path inside an artifact")
    return value


def _folders_of(paths: Iterable[str]) -> set[str]:
    pending = {path.rpartition("/")[0] for path in paths}
    found: set[str] = set()
    while pending:
        found |= pending
        pending = {path.rpartition("/")[0] for path in pending} - found
    return found


def _parse(document: dict[str, Any]) -> Manifest:
    if type(document["schema"]) is not int or document["schema"] not in (1, MANIFEST_SCHEMA):
        raise ValueError(f"Format {document['schema']!r} is unknown")
    files: list[StoredFile] = []
    for entry in _is(document["files"], list, "files"):
        if not isinstance(entry, list) or len(entry) != 3:
            raise ValueError("An entry of 'files' isn't [path, size, digest]")
        path, size, digest = entry
        if type(size) is not int or size < 0:
            raise ValueError(f"The size of {_path(path)!r} is no number of bytes")
        files.append(StoredFile(_path(path), size, _hex_digest(digest, "files")))
    paths = {file.path for file in files}
    if len(paths) != len(files):
        raise ValueError("A path stands twice in 'files'")
    if clash := paths & _folders_of(paths):
        raise ValueError(f"{min(clash)[:100]!r} is a file, and a folder of others")
    visualizations = _is(document["visualizations"], dict, "visualizations")
    for path in visualizations.values():
        if path not in paths:
            raise ValueError(f"Visualization {str(path)[:100]!r} isn't among the files")
    folder = document.get("folder", "")
    if folder and not (isinstance(folder, str) and is_safe_key(folder) and "/" not in folder):
        raise ValueError("Field 'folder' is no name of a folder")
    manifest = Manifest(
        id=UUID(_is(document["id"], str, "id")),
        type=_is(document["type"], str, "type"),
        materializer=_is(document["materializer"], str, "materializer"),
        digest=_hex_digest(document["digest"], "digest"),
        size=_is(document["size"], int, "size"),
        files=tuple(files),
        metadata=_metadata(_is(document["metadata"], dict, "metadata")),
        visualizations=visualizations,
        folder=folder,
        embedded=_embedded(_is(document["embedded"], dict, "embedded"), files)
        if "embedded" in document
        else {},
        schema=document["schema"],
    )
    if manifest.size != sum(file.size for file in files):
        raise ValueError("The sizes of the files don't add up to 'size'")
    if manifest.digest != tree_digest(files, without=frozenset(visualizations.values())):
        raise ValueError("The digests of the files don't give 'digest'")
    return manifest
