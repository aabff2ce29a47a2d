"""Values in a store: what a worker, `save_artifact` and `load_artifact` all go through."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from rayform_core.errors import ConflictError, RayformError
from rayform_runtime.artifacts.import_paths import TypeGoneError, import_path, resolve
from rayform_runtime.artifacts.materializers.base import Materializer
from rayform_runtime.artifacts.materializers.registry import materializer_for, resolve_materializer
from rayform_runtime.artifacts.stores.files import refuse_unsafe_names
from rayform_runtime.artifacts.stores.manifest import is_embeddable

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore, Manifest
    from rayform_runtime.catalog.entities import Visualization

__all__ = ["SavedValue", "check_type", "load_value", "save_value"]

_PICTURES = "visualizations"
_LARGEST_EXTRACTED = 20_000  # characters of one value
# The disk's own troubles; any other OSError is the materializer's.
_DISK = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS))
REGISTERED = "registered"
"""In place of a materializer: data that a person put into the store by other means; see `registered_data`."""


class SavedValue(NamedTuple):
    """What `save_value` did.

    Args:
        uri: where the artifact lies.
        manifest: what was committed (type, materializer, digest, size, metadata).
        artifact_type: what the value is to people, an `ArtifactType`'s value.
        visualizations: pictures of it, stored with it.
        summary: one short line.
    """

    uri: str
    manifest: Manifest
    artifact_type: str
    visualizations: tuple[Visualization, ...]
    summary: str


def check_type(annotation: Any, *, step: str | None = None, output: str | None = None) -> None:
    """Refuse an annotation whose values no materializer takes; see `type_checks.check_type`."""
    from rayform_runtime.artifacts import type_checks

    type_checks.check_type(annotation, step=step, output=output)


def save_value(
    store: ArtifactStore,
    id: UUID,
    value: Any,
    *,
    declared_type: Any = None,
    materializer: type[Materializer] | str | None = None,
    metadata: dict[str, Any] | None = None,
    visualizations: dict[str, str | bytes] | None = None,
    step: str | None = None,
    output: str | None = None,
) -> SavedValue:
    """Save a value under an artifact version's ID and commit it.

    Committing the same content under the same ID again is the same commit: a step that is tried again after its
    worker died between commit and answer succeeds.

    Args:
        store: where to.
        id: of the new version.
        value: what to save.
        declared_type: the annotated type; its materializer is taken where the value's own type has none.
        materializer: a materializer, or its import path; looked up by the value's type unless told.
        metadata: what the person says of the value, JSON; wins over what the materializer extracts.
        visualizations: pictures that the person attaches, `{file name: content}`; the suffix tells the kind.
        step, output: whose value it is, for errors.

    Raises:
        UnsupportedTypeError: no materializer takes the value.
        ConflictError: another value is committed under this ID.
    """
    chosen = _choose(value, declared_type, materializer, step, output)
    worker = chosen()
    kind = type(value)
    pictures: dict[str, tuple[str, str]] = {}
    try:
        files = worker.to_files(value) if chosen.needs_no_folder() else None
        if files is not None:
            refuse_unsafe_names(files)
        if files is not None and not visualizations and is_embeddable(files) and not _draws(worker):
            known = {**_extract(worker, value), **(metadata or {})}
            try:
                uri, manifest = store.commit_files(
                    id, files, type=import_path(kind), materializer=import_path(chosen), metadata=known
                )
            except ConflictError:
                uri, manifest = _committed_before(store, id, files)
        else:
            with store.staging(id) as folder:
                _save(worker, value, files, folder, store)
                known = {**_extract(worker, value), **(metadata or {})}
                pictures = _save_pictures(worker, value, folder, visualizations or {})
                try:
                    uri, manifest = store.commit(
                        id,
                        folder,
                        type=import_path(kind),
                        materializer=import_path(chosen),
                        metadata=known,
                        visualizations={name: path for name, (path, _) in pictures.items()},
                    )
                except ConflictError:
                    uri, manifest = _committed_before(store, id, folder)
    except Exception as error:
        if output is not None and not isinstance(error, RayformError):
            error.add_note(f"While saving output '{output}'" + (f" of step '{step}'." if step else "."))
        raise
    shown: tuple[Visualization, ...] = ()
    if pictures:
        from rayform_runtime.catalog.entities import Visualization

        shown = tuple(Visualization(name, kind, path) for name, (path, kind) in pictures.items())
    return SavedValue(uri, manifest, str(worker.ASSOCIATED_ARTIFACT_TYPE), shown, _summarise(worker, value))


def load_value(
    store: ArtifactStore,
    uri: str,
    *,
    digest: str | None = None,
    type: str | None = None,
    materializer: str | None = None,
    as_type: Any = None,
) -> Any:
    """Load a value, its digest checked.

    What the caller may change in the value never changes what is stored.

    Args:
        store: where it lies.
        uri: the artifact's URI.
        digest, type, materializer: what the catalog says; the manifest's where they are `None`.
        as_type: load it as this type instead of the one that it was saved with.

    Raises:
        ArtifactMissingError: its data is gone.
        CorruptArtifactError: its data isn't what was committed.
        TypeGoneError: its type or materializer can't be imported here.
        TypeChangedError: its type has changed so that the stored value doesn't fit.
    """
    if materializer == REGISTERED:
        from rayform_runtime.artifacts.registered_data import fetch

        return fetch(store, uri, digest=digest)
    chosen = None if materializer is None else resolve_materializer(materializer)
    if chosen is not None and chosen.needs_no_folder():
        files = store.read_files(uri, digest=digest)
        if files is not None:
            return chosen().from_files(files, _type_to_load(store, uri, type, as_type))
    with store.open_local(uri, digest=digest) as folder:
        kind = _type_to_load(store, uri, type, as_type)
        if chosen is None:
            chosen = resolve_materializer(store.read_manifest(uri).materializer)
        return chosen().load(folder, kind)


_TYPE = type


def _type_to_load(store: ArtifactStore, uri: str, saved: str | None, as_type: Any) -> Any:
    if isinstance(as_type, _TYPE):
        return as_type
    try:
        return resolve(saved or store.read_manifest(uri).type)
    except TypeGoneError as error:
        error.add_note(f"While loading artifact '{uri}'.")
        raise


def _choose(
    value: Any,
    declared_type: Any,
    materializer: type[Materializer] | str | None,
    step: str | None,
    output: str | None,
) -> type[Materializer]:
    if isinstance(materializer, str):
        return resolve_materializer(materializer)
    if materializer is not None:
        return materializer
    from rayform_runtime.artifacts.materializers.registry import UnsupportedTypeError, find

    try:
        return materializer_for(type(value), step=step, output=output)
    except UnsupportedTypeError:
        # A stand-in for the declared type, such as a lazily loaded proxy.
        if _is_instance(value, declared_type):
            found = find(declared_type)
            if found is not None:
                return found
        raise


def _is_instance(value: Any, declared_type: Any) -> bool:
    try:
        return isinstance(declared_type, type) and isinstance(value, declared_type)
    except TypeError:
        return False  # `Any`, and protocols that can't be asked for at run time, are classes too


def _warn(worker: Materializer, method: str, error: Exception) -> None:
    import logging

    logging.getLogger("rayform.artifacts").warning(
        "%s.%s failed: %s: %s", type(worker).__name__, method, type(error).__name__, error
    )


def _save(
    worker: Materializer, value: Any, files: dict[str, bytes] | None, folder: Path, store: ArtifactStore
) -> None:
    try:
        if files is None:
            worker.save(value, folder)
        for path, data in (files or {}).items():
            (folder / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    except OSError as error:
        if error.errno in _DISK:
            from rayform_core.files import storage_error

            raise storage_error(error, store.uri) from error
        raise


def _draws(worker: Materializer) -> bool:
    return type(worker).save_visualizations is not Materializer.save_visualizations


def _extract(worker: Materializer, value: Any) -> dict[str, Any]:
    try:
        found = worker.extract_metadata(value)
        # The catalog refuses larger ones, and what nobody asked for must not fail a step.
        large = [name for name, item in found.items() if len(repr(item)) > _LARGEST_EXTRACTED]
        return {name: item for name, item in found.items() if name not in large} if large else found
    except Exception as error:  # noqa: BLE001 - a person's code; the value matters more than what is said of it
        _warn(worker, "extract_metadata", error)
        return {}


def _summarise(worker: Materializer, value: Any) -> str:
    try:
        return worker.summary(value)
    except Exception as error:  # noqa: BLE001 - likewise
        _warn(worker, "summary", error)
        return type(value).__name__


def _save_pictures(
    worker: Materializer, value: Any, folder: Path, attached: dict[str, str | bytes]
) -> dict[str, tuple[str, str]]:
    """Return `{name: (path in the artifact, kind)}`."""
    pictures: dict[str, tuple[str, str]] = {}
    overridden = _draws(worker)
    if not attached and not overridden:
        return pictures
    from rayform_runtime.artifacts.visualizations import attach, collect

    place = folder / _PICTURES
    place.mkdir(mode=0o700)
    if overridden:
        try:
            written = worker.save_visualizations(value, place)
        except Exception as error:  # noqa: BLE001 - a person's code; the value matters more than its picture
            _warn(worker, "save_visualizations", error)
            written = {}
        pictures.update(collect(place, written))
    pictures.update(attach(place, attached))
    if not pictures:
        # Nothing else may lie there: what isn't a picture would count as the value.
        import shutil

        shutil.rmtree(place)
    return pictures


def _committed_before(
    store: ArtifactStore, id: UUID, written: Path | Mapping[str, bytes]
) -> tuple[str, Manifest]:
    from rayform_runtime.artifacts.stores.files import seal_folder
    from rayform_runtime.artifacts.stores.interface import MANIFEST_NAME, StoredFile
    from rayform_runtime.artifacts.stores.keys import version_key
    from rayform_runtime.artifacts.stores.manifest import files_of, make_manifest

    uri = f"{store.uri}/{version_key(id)}"
    there = store.read_manifest(uri)
    if isinstance(written, Path):
        (written / MANIFEST_NAME).unlink(missing_ok=True)
        files: Sequence[StoredFile] = seal_folder(written)
    else:
        files = files_of(written)
    ours = make_manifest(
        id,
        files,
        type=there.type,
        materializer=there.materializer,
        visualizations=there.visualizations,
    )
    if ours.digest != there.digest:
        raise ConflictError(
            f"Artifact version {id} exists already in '{store.uri}', with another value.",
            why="Another writer committed it first; nothing was overwritten.",
            hint="Save under a new ID.",
        )
    return uri, there
