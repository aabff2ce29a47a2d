"""Artifacts from a person's own code: save and load values, register data that is there, say more about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform.running_step import running_model_version, running_step
from rayform_core.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from rayform.reading.views import ArtifactVersionView
    from rayform_runtime.catalog.entities import ArtifactVersion, ModelStage
    from rayform_runtime.spec import ArtifactType

__all__ = [
    "load_artifact",
    "log_metadata",
    "register_artifact",
    "save_artifact",
]


def save_artifact(
    data: Any,
    name: str,
    *,
    version: str | int | None = None,
    artifact_type: ArtifactType | str | None = None,
    tags: Sequence[str] | None = None,
    user_metadata: Mapping[str, Any] | None = None,
    materializer: type[Any] | str | None = None,
    visualizations: Mapping[str, str | bytes] | None = None,
) -> ArtifactVersionView:
    """Save a value as a new version of an artifact, from inside or outside a step.

    In a step whose run works on a model, the version is linked to that.

    Args:
        data: the value; a materializer must take its type.
        name: the artifact.
        version: a version name of your own; the next number unless told.
        artifact_type: what it is to people; the materializer says unless told.
        tags: tags of the version.
        user_metadata: metadata of the version.
        materializer: class that saves and loads it; looked up by type unless told.
        visualizations: pictures of it, content by file name; the suffix says the kind (`.html`, `.png`, `.jpg`,
            `.csv`, `.md`, `.json`).

    Returns:
        The version.

    Raises:
        ConflictError: the version exists already. Its data is not touched.
        UsageError: no materializer takes the type, or the metadata isn't of types that are kept.

    Example:
        >>> save_artifact({"accuracy": 0.97}, "report", tags=["nightly"])  # doctest: +SKIP
    """
    from rayform.reading.client import Client
    from rayform_core.ids import new_id
    from rayform_runtime.artifacts.values import save_value
    from rayform_runtime.catalog.entities import NewArtifactVersion
    from rayform_runtime.catalog.metadata import encode

    _check(name, tags)
    metadata = dict(user_metadata or {})
    encode(metadata)  # refuses what can't be kept, before anything is written
    client = Client()
    if version is not None:
        _refuse_existing(client.catalog, name, str(version))
    version_id = new_id()
    saved = save_value(
        client.artifact_store,
        version_id,
        data,
        materializer=materializer,
        visualizations=dict(visualizations or {}),
    )
    record = NewArtifactVersion(
        id=version_id,
        artifact_name=name,
        uri=saved.uri,
        type=saved.manifest.type,
        materializer=saved.manifest.materializer,
        digest=saved.manifest.digest,
        size=saved.manifest.size,
        artifact_type=_type_name(artifact_type) or saved.artifact_type,
        version=None if version is None else str(version),
        tags=list(tags or ()),
        metadata={**saved.manifest.metadata, **metadata},
        visualizations=saved.visualizations,
    )
    try:
        made = client.catalog.create_artifact_version(record, model_version_id=running_model_version())
    except BaseException:
        # Without its row the data is garbage; prune would find it, but it is ours to clean up.
        client.artifact_store.delete(saved.uri)
        raise
    return _view(made, client)


def load_artifact(name_or_id: str | UUID, version: str | int | None = None) -> Any:
    """Load a value.

    Args:
        name_or_id: an artifact's name, or a version's UUID or a unique prefix of it.
        version: with a name, its version; the latest unless told.

    Raises:
        NotFoundError: there is none; names its neighbours.
        IntegrityError: its data is gone, or isn't what was committed.

    Example:
        >>> load_artifact("report", 3)  # doctest: +SKIP
    """
    from rayform.reading.client import Client

    return Client().get_artifact_version(name_or_id, version).load()


def register_artifact(
    folder_or_file_uri: str,
    name: str,
    *,
    version: str | int | None = None,
    artifact_type: ArtifactType | str | None = None,
    tags: Sequence[str] | None = None,
    artifact_metadata: Mapping[str, Any] | None = None,
) -> ArtifactVersionView:
    """Make a version of data that already lies in the active stack's artifact store.

    The data stays where it is and is never removed by Rayform. Loading the version gives a `Path` to it, or to a
    local copy of it.

    Args:
        folder_or_file_uri: its URI, or its path below the store's root.
        name: the artifact.
        version: a version name of your own; the next number unless told.
        artifact_type: what it is to people; `data` unless told.
        tags: tags of the version.
        artifact_metadata: metadata of the version.

    Raises:
        NotFoundError: nothing lies there.
        UsageError: it lies outside of the store.
        ConflictError: the version exists already.

    Example:
        >>> register_artifact("s3://bucket/artifacts/raw/2026", "raw")  # doctest: +SKIP
    """
    from rayform.reading.client import Client
    from rayform_core.ids import new_id
    from rayform_runtime.artifacts.registered_data import MATERIALIZER, describe_data
    from rayform_runtime.catalog.entities import NewArtifactVersion

    _check(name, tags)
    client = Client()
    data = describe_data(client.artifact_store, folder_or_file_uri)
    record = NewArtifactVersion(
        id=new_id(),
        artifact_name=name,
        uri=data.uri,
        type="pathlib:PosixPath",
        materializer=MATERIALIZER,
        digest=data.digest,
        size=data.size,
        artifact_type=_type_name(artifact_type) or "data",
        version=None if version is None else str(version),
        tags=list(tags or ()),
        metadata={"files": data.files, **dict(artifact_metadata or {})},
        external=True,
    )
    made = client.catalog.create_artifact_version(record, model_version_id=running_model_version())
    return _view(made, client)


def log_metadata(
    metadata: Mapping[str, Any],
    *,
    step_id: str | UUID | None = None,
    step_name: str | None = None,
    run_id_name_or_prefix: str | UUID | None = None,
    artifact_version_id: str | UUID | None = None,
    artifact_name: str | None = None,
    artifact_version: str | int | None = None,
    model_version_id: str | UUID | None = None,
    model_name: str | None = None,
    model_version: str | int | ModelStage | None = None,
    infer_artifact: bool = False,
    infer_model: bool = False,
) -> None:
    """Add metadata to a step, run, artifact version or model version; what it has already stays.

    Inside a step, without any further argument, it goes to the step run.

    Args:
        metadata: numbers, strings, bools, lists, dicts, datetimes, URIs, sizes, by name.
        step_id: to this step run.
        step_name, run_id_name_or_prefix: to this step of this run.
        run_id_name_or_prefix: alone, to this run.
        artifact_version_id: to this artifact version.
        artifact_name, artifact_version: to this version of this artifact, the latest unless told.
        infer_artifact: inside a step, to its output called `artifact_name` (its only one unless told).
        model_version_id: to this model version.
        model_name, model_version: to this version (or stage) of this model; without a version to the model.
        infer_model: inside a step, to the model version that it works on.

    Raises:
        UsageError: the arguments don't name one thing, or a value is of a type that isn't kept.
        NotFoundError: there is no such thing.

    Example:
        >>> log_metadata({"accuracy": 0.97}, model_name="digits", model_version="production")  # doctest: +SKIP
    """
    from rayform_runtime.catalog.metadata import encode

    if not isinstance(metadata, Mapping):
        raise UsageError(f"Metadata is a dict, and {type(metadata).__name__} is none.")
    encode(metadata)
    subjects = [
        name
        for name, named in (
            (
                "an artifact version",
                artifact_version_id or artifact_name or artifact_version or infer_artifact,
            ),
            ("a model", model_version_id or model_name or model_version or infer_model),
            ("a step or run", step_id or step_name or run_id_name_or_prefix),
        )
        if named
    ]
    if len(subjects) > 1:
        raise UsageError(
            f"log_metadata can't tell where to log: the arguments name {' and '.join(subjects)}.",
            hint="Call it once for each.",
        )
    step = running_step()
    if infer_artifact:
        _in_a_step(step, "infer_artifact").add_output_metadata(metadata, output_name=artifact_name)
    elif infer_model:
        _in_a_step(step, "infer_model").add_model_metadata(metadata)
    elif not subjects:
        if step is None:
            raise UsageError(
                "log_metadata is called outside of a step and doesn't say what the metadata belongs to.",
                hint="Name it, for instance with artifact_name=…, model_name=… or run_id_name_or_prefix=….",
            )
        step.add_step_metadata(metadata)
    else:
        from rayform.reading.client import Client

        subject, subject_id = _subject(
            Client(),
            step_id=step_id,
            step_name=step_name,
            run=run_id_name_or_prefix,
            artifact_version_id=artifact_version_id,
            artifact_name=artifact_name,
            artifact_version=artifact_version,
            model_version_id=model_version_id,
            model_name=model_name,
            model_version=model_version,
        )
        Client().log_to(subject, subject_id, metadata)


def _in_a_step(step: Any | None, argument: str) -> Any:
    if step is None:
        raise UsageError(
            f"log_metadata({argument}=True) works only inside a running step.",
            hint="Outside, name the artifact or model version.",
        )
    return step


def _subject(client: Any, **named: Any) -> tuple[str, UUID]:
    from rayform.reading.listing import as_uuid

    if named["step_id"]:
        return "step_run", as_uuid(named["step_id"], "step run")
    if named["step_name"]:
        if not named["run"]:
            raise UsageError("log_metadata(step_name=…) needs run_id_name_or_prefix=… too.")
        return "step_run", client.get_pipeline_run(named["run"]).steps[named["step_name"]].id
    if named["run"]:
        return "run", client.get_pipeline_run(named["run"]).id
    if named["model_version_id"]:
        return "model_version", as_uuid(named["model_version_id"], "model version")
    if named["model_name"]:
        if named["model_version"] is None:
            return "model", client.get_model(named["model_name"]).id
        return "model_version", client.get_model_version(named["model_name"], named["model_version"]).id
    if named["artifact_version_id"]:
        return "artifact_version", client.get_artifact_version(named["artifact_version_id"]).id
    if named["artifact_name"]:
        found = client.get_artifact_version(named["artifact_name"], named["artifact_version"])
        return "artifact_version", found.id
    raise UsageError("log_metadata got a version without the name of its artifact or model.")


def _check(name: str, tags: Sequence[str] | None) -> None:
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"An artifact needs a name, and {name!r} is none.")
    if isinstance(tags, str):
        raise UsageError(f"The tags of artifact '{name}' are one string.", hint=f"Write tags=['{tags}'].")


def _refuse_existing(catalog: Any, name: str, version: str) -> None:
    """Refuse a version that exists before its data is written; the catalog decides for good afterwards."""
    from rayform_core.errors import ConflictError

    try:
        catalog.get_artifact_version(name, version)
    except NotFoundError:
        return
    raise ConflictError(
        f"Artifact '{name}' has a version '{version}' already.",
        hint="Leave `version` out for the next number, or take another name.",
    )


def _type_name(artifact_type: ArtifactType | str | None) -> str | None:
    if artifact_type is None:
        return None
    from rayform_runtime.spec import ArtifactType

    try:
        return ArtifactType(str(getattr(artifact_type, "value", artifact_type))).value
    except ValueError:
        raise NotFoundError(
            "artifact type", str(artifact_type), known=[t.value for t in ArtifactType]
        ) from None


def _view(record: ArtifactVersion, client: Any) -> ArtifactVersionView:
    from rayform.reading.views import ArtifactVersionView

    return ArtifactVersionView(record, client)
