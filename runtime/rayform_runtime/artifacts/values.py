"""Saves values in a store and loads them again, for workers, `save_artifact` and `load_artifact`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast
from uuid import UUID

from rayform_core.errors import ConflictError, IntegrityError, RayformError, UsageError
from rayform_core.files import disk_error, make_private, storage_error
from rayform_runtime.artifacts.import_paths import TypeGoneError, import_path, types_replaced
from rayform_runtime.artifacts.materializers.base import Materializer, prove_saved
from rayform_runtime.artifacts.materializers.registry import (
    REGISTERED,
    UnsupportedTypeError,
    check_loadable,
    find,
    is_rayforms,
    materializer_for,
    resolve_materializer,
    resolve_stored_materializer,
    resolve_stored_type,
)
from rayform_runtime.artifacts.stores.files import refuse_unsafe_names
from rayform_runtime.artifacts.stores.interface import CorruptArtifactError
from rayform_runtime.artifacts.stores.manifest import is_embeddable
from rayform_runtime.artifacts.trust import trust

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore, Commit, Manifest
    from rayform_runtime.artifacts.visualizations import Picture
    from rayform_runtime.catalog.entities import Visualization

__all__ = [
    "REGISTERED",
    "SavedValue",
    "StagedValue",
    "commit_staged",
    "load_value",
    "save_value",
    "stage_value",
]

_LARGEST_EXTRACTED = 20_000
"""Characters; larger facts about a value are not kept."""


class SavedValue(NamedTuple):
    """Describes a value that `save_value` has stored.

    Args:
        uri: the artifact's URI.
        manifest: the committed manifest (type, materializer, digest, size, metadata).
        artifact_type: the kind of value that users see, a value of `ArtifactType`.
        visualizations: pictures of the value that are stored with it.
        summary: one short line about the value.
    """

    uri: str
    manifest: Manifest
    artifact_type: str
    visualizations: tuple[Visualization, ...]
    summary: str


def save_value(
    store: ArtifactStore,
    id: UUID,
    value: object,
    *,
    declared_type: Callable[[], object] | None = None,
    materializer: type[Materializer] | str | None = None,
    metadata: Mapping[str, object] | None = None,
    visualizations: Mapping[str, str | bytes] | None = None,
    keeps_facts: bool = True,
    keeps_pictures: bool = True,
    step: str | None = None,
    output: str | None = None,
) -> SavedValue:
    """Save a value under an artifact version's ID and commit it.

    Saving the same content under the same ID again succeeds and changes nothing. So a step can be retried whose
    worker died after the commit and before it answered.

    Args:
        store: the store to save in.
        id: the new version's ID.
        value: the value to save.
        declared_type: returns the annotated type; its materializer is used if the value's own type has none.
        materializer: a materializer, or its import path; by default, the one for the value's type.
        metadata: the user's facts about the value, as JSON; they win over those that the materializer extracts.
        visualizations: pictures that the user attaches, `{file name: content}`; the suffix gives the kind.
        keeps_facts, keeps_pictures: whether what the materializer extracts and draws is kept.
        step, output: the step and output that the value belongs to, for errors.

    Raises:
        UnsupportedTypeError: no materializer takes the value.
        NotProvedError: what was written would not give the value back; nothing is stored.
        ConflictError: another value is committed under this ID.
    """
    chosen = _choose(value, declared_type, materializer, step, output)
    worker = chosen()
    kind = type(value)
    check_loadable(kind, chosen)
    pictures: dict[str, Picture] = {}
    try:
        files = worker.to_files(value) if chosen.needs_no_folder() else None
        if files is not None:
            refuse_unsafe_names(files)
        if (
            files is not None
            and not visualizations
            and is_embeddable(files)
            and not (keeps_pictures and _draws(worker))
        ):
            with trust(lambda: True):  # what the proof loads is what was just written
                worker.prove_files(value, files)
            facts = {**(_extract(worker, value) if keeps_facts else {}), **(metadata or {})}
            try:
                commit = store.commit_files(
                    id,
                    files,
                    type=import_path(kind),
                    materializer=import_path(chosen),
                    metadata=facts,
                    is_own=True,
                )
            except ConflictError:
                commit = _earlier_commit(store, id, files)
        else:
            with store.staging(id) as folder:
                _save(worker, value, files, folder, store.uri)
                facts = {**(_extract(worker, value) if keeps_facts else {}), **(metadata or {})}
                pictures = _save_pictures(
                    worker if keeps_pictures else None, value, folder, visualizations or {}
                )
                try:
                    commit = store.commit(
                        id,
                        folder,
                        type=import_path(kind),
                        materializer=import_path(chosen),
                        metadata=facts,
                        visualizations={name: picture.path for name, picture in pictures.items()},
                        is_own=True,
                    )
                except ConflictError:
                    commit = _earlier_commit(store, id, folder)
    except Exception as error:
        if output is not None and not isinstance(error, RayformError):
            error.add_note(f"While saving output '{output}'" + (f" of step '{step}'." if step else "."))
        raise
    shown: tuple[Visualization, ...] = ()
    if pictures:
        from rayform_runtime.catalog.entities import Visualization

        digests = {file.path: file.digest for file in commit.manifest.files}
        shown = tuple(
            Visualization(name, picture.kind, picture.path, digests.get(picture.path, ""))
            for name, picture in pictures.items()
        )
    return SavedValue(
        commit.uri, commit.manifest, str(worker.ASSOCIATED_ARTIFACT_TYPE), shown, _summarise(worker, value)
    )


class StagedValue(NamedTuple):
    """A value whose files lie in a folder of this machine, to be committed later.

    Args:
        id: the version's ID, made of the value's content: the same content has the same ID.
        folder: where the files are.
        type: the value's type, as `module:name`.
        materializer: what wrote the files, as `module:name`.
        digest: digest of the files.
        size: bytes of the files.
        artifact_type: the kind of value that users see.
        metadata: facts that the materializer knows.
    """

    id: UUID
    folder: Path
    type: str
    materializer: str
    digest: str
    size: int
    artifact_type: str
    metadata: dict[str, object]


def stage_value(
    value: object, folder: Path, *, materializer: type[Materializer] | None = None
) -> StagedValue:
    """Write a value's files into an empty folder, so that later changes of the value don't count.

    Args:
        value: the value.
        folder: where to write.
        materializer: writes the files; by default the one for the value's type.

    Raises:
        UnsupportedTypeError: no materializer takes the value.
    """
    import hashlib

    from rayform_runtime.artifacts.stores.files import seal_folder
    from rayform_runtime.artifacts.stores.manifest import make_manifest

    chosen = _choose(value, None, materializer, None, None)
    check_loadable(type(value), chosen)
    worker = chosen()
    files = worker.to_files(value) if chosen.needs_no_folder() else None
    if files is not None:
        refuse_unsafe_names(files)
    _save(worker, value, files, folder, str(folder))
    paths = import_path(type(value)), import_path(chosen)
    manifest = make_manifest(UUID(int=0), seal_folder(folder), type=paths[0], materializer=paths[1])
    content = "\n".join((*paths, manifest.digest)).encode()
    return StagedValue(
        UUID(bytes=hashlib.blake2b(content, digest_size=16).digest(), version=5),
        folder,
        *paths,
        manifest.digest,
        manifest.size,
        str(worker.ASSOCIATED_ARTIFACT_TYPE),
        _extract(worker, value),
    )


def commit_staged(store: ArtifactStore, staged: StagedValue) -> str:
    """Commit a staged value, if the store doesn't have it; return its URI.

    Raises:
        RayformError: the store can't be written.
    """
    import shutil

    from rayform_runtime.artifacts.stores.keys import version_key

    uri = store.uri_of(version_key(staged.id))
    if not store.exists(uri):
        with store.staging(staged.id) as target:
            shutil.copytree(staged.folder, target, dirs_exist_ok=True)
            try:
                store.commit(
                    staged.id,
                    target,
                    type=staged.type,
                    materializer=staged.materializer,
                    metadata=staged.metadata,
                    is_own=True,
                )
            except ConflictError:
                pass  # another run committed the same content at the same time
    return uri


def load_value(
    store: ArtifactStore,
    uri: str,
    *,
    digest: str | None = None,
    type: str | None = None,
    materializer: str | None = None,
    as_type: type | Mapping[str, type] | None = None,
    trusted: bool = False,
) -> object:
    """Load a value and check its digest.

    The caller may change the value; that never changes the stored one.

    Args:
        store: the store that holds the value.
        uri: the artifact's URI.
        digest, type, materializer: what the catalog has; by default, what the manifest has.
        as_type: load the value as this type instead of the type that it was saved with; or types by the import paths
            of those that they replace, wherever in the value these are.
        trusted: whether the value may run code, as a pickle does. By default only values may that this machine made;
            see `trust`.

    Raises:
        UntrustedError: the value isn't trusted, and would run code or import modules that aren't the project's.
        ArtifactMissingError: the data is gone.
        CorruptArtifactError: the data isn't what was committed.
        TypeGoneError: the value's type or materializer can't be imported here.
        TypeChangedError: the value's type has changed so that the stored value doesn't fit.
    """
    if materializer == REGISTERED:
        from rayform_runtime.artifacts.registered_data import fetch

        return fetch(store, uri, digest=digest)
    if as_type is not None:
        saved = type or store.read_manifest(uri).type
        with types_replaced(as_type if isinstance(as_type, Mapping) else {saved: as_type}):
            return load_value(
                store, uri, digest=digest, type=saved, materializer=materializer, trusted=trusted
            )
    with trust(lambda: trusted or _is_own(store, uri, digest, type, materializer)):
        chosen = None if materializer is None else resolve_stored_materializer(materializer)
        if chosen is not None and chosen.needs_no_folder():
            files = store.read_files(uri, digest=digest)
            if files is not None:
                worker = chosen()
                return _load_as(worker, partial(worker.from_files, files), store, uri, type)
        with store.open_local(uri, digest=digest) as folder:
            if chosen is None:
                chosen = resolve_stored_materializer(store.read_manifest(uri).materializer)
            worker = chosen()
            return _load_as(worker, partial(worker.load, folder), store, uri, type)


def _is_own(
    store: ArtifactStore, uri: str, digest: str | None, type: str | None, materializer: str | None
) -> bool:
    """Whether this machine committed the value, with this type and by this materializer."""
    from rayform_runtime.artifacts.stores.manifest import is_own

    manifest = store.read_manifest(uri)
    return (
        is_own(manifest)
        and digest in (None, manifest.digest)
        and type in (None, manifest.type)
        and materializer in (None, manifest.materializer)
    )


def _load_as(
    worker: Materializer, load: Callable[[type], object], store: ArtifactStore, uri: str, saved: str | None
) -> object:
    try:
        # It was a class when it was saved. If it no longer is, the materializer decides what that means.
        path = saved or store.read_manifest(uri).type
        kind = cast("type", resolve_stored_type(path, worker.__class__))
    except (TypeGoneError, UsageError) as error:
        if not worker.NEEDS_DATA_TYPE:
            with contextlib.suppress(IntegrityError):
                return load(object)
        error.add_note(f"While loading artifact '{uri}'.")
        raise
    try:
        return load(kind)
    except (RayformError, ImportError):
        raise
    except Exception as error:
        if not is_rayforms(worker.__class__):
            raise  # the user's code
        raise CorruptArtifactError(
            f"The artifact '{uri}' can't be loaded.",
            why=f"{worker.__class__.__name__} can't read its files: {_one_line(error)}",
            hint="Restore it from a backup, load it with the versions of the packages that saved it, or run the step "
            "again.",
        ) from error


def _one_line(error: Exception) -> str:
    return f"{error.__class__.__name__}: {' '.join(str(error).split())[:300]}"


def _choose(
    value: object,
    declared_type: Callable[[], object] | None,
    materializer: type[Materializer] | str | None,
    step: str | None,
    output: str | None,
) -> type[Materializer]:
    if isinstance(materializer, str):
        return resolve_materializer(materializer)
    if materializer is not None:
        return materializer
    try:
        return materializer_for(type(value), step=step, output=output)
    except UnsupportedTypeError:
        # The value may stand in for the declared type, like a lazily loaded proxy.
        kind = declared_type() if declared_type is not None else None
        if isinstance(kind, type) and _is_instance(value, kind):
            chosen = find(kind)
            if chosen is not None:
                return chosen
        raise


def _is_instance(value: object, kind: type) -> bool:
    try:
        return isinstance(value, kind)
    except TypeError:
        return False  # some classes refuse the question: `typing.Any`, most protocols


def _warn(worker: Materializer, method: str, error: Exception) -> None:
    import logging

    logging.getLogger("rayform.artifacts").warning(
        "%s.%s failed: %s: %s", type(worker).__name__, method, type(error).__name__, error
    )


def _save(
    worker: Materializer, value: object, files: dict[str, bytes] | None, folder: Path, place: str
) -> None:
    try:
        with trust(lambda: True):  # what the proof loads is what was just written
            if files is None:
                worker.save(value, folder)
                prove_saved(worker, value, folder)
            else:
                worker.prove_files(value, files)
        for path, data in (files or {}).items():
            make_private((folder / path).parent)
            (folder / path).write_bytes(data)
    except Exception as error:
        if isinstance(error, RayformError) or (cause := disk_error(error, folder)) is None:
            raise
        raise storage_error(cause, place) from error


def _draws(worker: Materializer) -> bool:
    return type(worker).save_visualizations is not Materializer.save_visualizations


def _extract(worker: Materializer, value: object) -> dict[str, object]:
    try:
        facts = worker.extract_metadata(value)
        # The catalog refuses large facts, and a fact that nobody asked for must not fail a step.
        return {name: fact for name, fact in facts.items() if len(repr(fact)) <= _LARGEST_EXTRACTED}
    except Exception as error:  # noqa: BLE001 - the user's code; the value matters more than facts about it
        _warn(worker, "extract_metadata", error)
        return {}


def _summarise(worker: Materializer, value: object) -> str:
    try:
        return worker.summary(value)
    except Exception as error:  # noqa: BLE001 - likewise
        _warn(worker, "summary", error)
        return type(value).__name__


def _save_pictures(
    worker: Materializer | None, value: object, folder: Path, attached: Mapping[str, str | bytes]
) -> dict[str, Picture]:
    """Save what the materializer, if there is one, draws and what the user attaches; return the pictures by name."""
    pictures: dict[str, Picture] = {}
    draws = worker is not None and _draws(worker)
    if not attached and not draws:
        return pictures
    from rayform_runtime.artifacts.visualizations import FOLDER, attach, collect

    place = folder / FOLDER
    place.mkdir(mode=0o700)
    if draws and worker is not None:
        try:
            kinds = worker.save_visualizations(value, place)
        except Exception as error:  # noqa: BLE001 - the user's code; the value matters more than its picture
            _warn(worker, "save_visualizations", error)
            kinds = {}
        pictures.update(collect(place, kinds))
    pictures.update(attach(place, attached))
    if not pictures:
        # A file in there that isn't a picture would count as part of the value.
        import shutil

        shutil.rmtree(place)
    return pictures


def _earlier_commit(store: ArtifactStore, id: UUID, written: Path | Mapping[str, bytes]) -> Commit:
    """Return the commit that exists under this ID, if it has the same content as what was written.

    Raises:
        ConflictError: it has another content.
    """
    from rayform_runtime.artifacts.stores.files import seal_folder
    from rayform_runtime.artifacts.stores.interface import MANIFEST_NAME, Commit, StoredFile
    from rayform_runtime.artifacts.stores.keys import version_key
    from rayform_runtime.artifacts.stores.manifest import files_of, make_manifest

    uri = store.uri_of(version_key(id))
    earlier = store.read_manifest(uri)
    if isinstance(written, Path):
        (written / MANIFEST_NAME).unlink(missing_ok=True)
        files: Sequence[StoredFile] = seal_folder(written)
    else:
        files = files_of(written)
    ours = make_manifest(
        id,
        files,
        type=earlier.type,
        materializer=earlier.materializer,
        visualizations=earlier.visualizations,
    )
    if ours.digest != earlier.digest:
        raise ConflictError(
            f"Artifact version {id} exists already in '{store.uri}', with another value.",
            why="Another writer committed it first; nothing was overwritten.",
            hint="Save under a new ID.",
        )
    return Commit(uri, earlier)
