"""Artifacts in user code: save and load values, register data that already exists, add metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform.authoring.options.tags import tag_names
from rayform.running_step import running_model_version, running_step, saved_in_step
from rayform_core.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from rayform.authoring.options.tags import Tag
    from rayform.reading.client import Client
    from rayform.reading.views import ArtifactVersionView
    from rayform_runtime.artifacts.materializers.base import Materializer
    from rayform_runtime.catalog.entities import ArtifactVersion, ModelStage
    from rayform_runtime.catalog.interface import Catalog
    from rayform_runtime.context import StepContext
    from rayform_runtime.spec import ArtifactType

__all__ = [
    "bulk_log_metadata",
    "load_artifact",
    "log_metadata",
    "register_artifact",
    "save_artifact",
]


def save_artifact(
    data: object,
    name: str,
    *,
    version: str | int | None = None,
    artifact_type: ArtifactType | str | None = None,
    tags: Sequence[str | Tag] | None = None,
    user_metadata: Mapping[str, object] | None = None,
    materializer: type[Materializer] | str | None = None,
    visualizations: Mapping[str, str | bytes] | None = None,
) -> ArtifactVersionView:
    """Save a value as a new version of an artifact, inside or outside a step.

    Inside a step, the version is one of the step's outputs, under the artifact's name. If the step's run works on a
    model, it is linked to the model.

    Args:
        data: the value; a materializer must handle its type.
        name: name of the artifact.
        version: name of the version; by default the next number.
        artifact_type: kind of artifact, such as `"model"`; by default the materializer's.
        tags: tags of the version; none by default.
        user_metadata: metadata of the version; none by default.
        materializer: class that saves and loads the value, or its import path; by default looked up by type.
        visualizations: content by file name; the suffix names the kind (`.html`, `.png`, `.jpg`, `.csv`, `.md`,
            `.json`). None by default.

    Returns:
        the version.

    Raises:
        ConflictError: the version exists already. Its data is not touched.
        UsageError: no materializer handles the type, or the metadata holds a type that can't be stored.

    Example:
        >>> save_artifact({"accuracy": 0.97}, "report", tags=["nightly"])  # doctest: +SKIP
    """
    from rayform.reading.client import Client
    from rayform_core.ids import new_id
    from rayform_runtime.artifacts.values import save_value
    from rayform_runtime.catalog.entities import NewArtifactVersion
    from rayform_runtime.catalog.metadata import encode

    _refuse_invalid(name, tags)
    metadata = dict(user_metadata or {})
    encode(metadata)  # raises before anything is written if a value can't be stored
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
        tags=tag_names(tags or ()),
        metadata={**saved.manifest.metadata, **metadata},
        visualizations=saved.visualizations,
        output_name=name,
    )
    try:
        created = client.catalog.create_artifact_version(
            record, model_version_id=running_model_version(), saved_in=saved_in_step()
        )
    except BaseException:
        # Without its row, the data is garbage. Delete it now; otherwise `prune` would find it later.
        client.artifact_store.delete(saved.uri)
        raise
    return _view(created, client)


def load_artifact(
    name_or_id: str | UUID,
    version: str | int | None = None,
    *,
    as_type: type | Mapping[str, type] | None = None,
    trust_pickle: bool = False,
) -> Any:
    """Load the value of an artifact version.

    Args:
        name_or_id: an artifact's name, or a version's UUID or a unique prefix of it.
        version: the version of the artifact with this name; by default the latest.
        as_type: the type to make of it; see `ArtifactVersionView.load`.
        trust_pickle: whether it may run code; see `ArtifactVersionView.load`.

    Returns:
        the value.

    Raises:
        NotFoundError: there is no such version; names the nearest ones.
        IntegrityError: the data is gone, or differs from what was saved.

    Example:
        >>> load_artifact("report", 3)  # doctest: +SKIP
    """
    from rayform.reading.client import Client

    return Client().get_artifact_version(name_or_id, version).load(as_type=as_type, trust_pickle=trust_pickle)


def register_artifact(
    folder_or_file_uri: str,
    name: str,
    *,
    version: str | int | None = None,
    artifact_type: ArtifactType | str | None = None,
    tags: Sequence[str | Tag] | None = None,
    artifact_metadata: Mapping[str, object] | None = None,
) -> ArtifactVersionView:
    """Make an artifact version of data that is already in the active stack's artifact store.

    The data stays where it is, and Rayform never removes it. Loading the version returns a `Path` to the data, or to
    a local copy of it.

    Args:
        folder_or_file_uri: URI of the data, or its path below the store's root.
        name: name of the artifact.
        version: name of the version; by default the next number.
        artifact_type: kind of artifact, such as `"model"`; `"data"` by default.
        tags: tags of the version; none by default.
        artifact_metadata: metadata of the version; none by default.

    Returns:
        the version.

    Raises:
        NotFoundError: there is no data at this place.
        UsageError: the place is outside of the store.
        ConflictError: the version exists already.

    Example:
        >>> register_artifact("s3://bucket/artifacts/raw/2026", "raw")  # doctest: +SKIP
    """
    from rayform.reading.client import Client
    from rayform_core.ids import new_id
    from rayform_runtime.artifacts.registered_data import REGISTERED, describe_data
    from rayform_runtime.catalog.entities import NewArtifactVersion

    _refuse_invalid(name, tags)
    client = Client()
    data = describe_data(client.artifact_store, folder_or_file_uri)
    record = NewArtifactVersion(
        id=new_id(),
        artifact_name=name,
        uri=data.uri,
        type="pathlib:PosixPath",
        materializer=REGISTERED,
        digest=data.digest,
        size=data.size,
        artifact_type=_type_name(artifact_type) or "data",
        version=None if version is None else str(version),
        tags=tag_names(tags or ()),
        metadata={"files": data.files, **dict(artifact_metadata or {})},
        external=True,
        output_name=name,
    )
    created = client.catalog.create_artifact_version(
        record, model_version_id=running_model_version(), saved_in=saved_in_step()
    )
    return _view(created, client)


def log_metadata(
    metadata: Mapping[str, object],
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
    """Add metadata to a step run, run, artifact version, model or model version.

    Metadata of other names stays. Inside a step, with no other argument, the metadata goes to the step run. The other
    arguments name the thing that it goes to; none is set by default.

    Args:
        metadata: numbers, strings, bools, lists, dicts, datetimes, URIs, sizes, by name.
        step_id: this step run.
        step_name: this step of the run that `run_id_name_or_prefix` names.
        run_id_name_or_prefix: without `step_name`, this run.
        artifact_version_id: this artifact version.
        artifact_name, artifact_version: this version of this artifact; by default the latest.
        infer_artifact: inside a step, its output called `artifact_name`; by default its only output.
        model_version_id: this model version.
        model_name, model_version: this version (or stage) of this model; without a version, the model itself.
        infer_model: inside a step, the model version that it works on.

    Raises:
        UsageError: the arguments name nothing or several things, or a value has a type that can't be stored.
        NotFoundError: the named thing doesn't exist.

    Example:
        >>> log_metadata({"accuracy": 0.97}, model_name="digits", model_version="production")  # doctest: +SKIP
    """
    from rayform_runtime.catalog.metadata import encode

    if not isinstance(metadata, Mapping):
        raise UsageError(
            f"log_metadata got metadata of type {type(metadata).__name__}.",
            hint="Give a dict: names and values.",
        )
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
            f"The arguments of log_metadata name {' and '.join(subjects)}.",
            why="One call adds metadata to one thing.",
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
                "log_metadata is called outside of a step and names nothing that the metadata belongs to.",
                hint="Name it, for instance with artifact_name=…, model_name=… or run_id_name_or_prefix=….",
            )
        step.add_step_metadata(metadata)
    else:
        from rayform.reading.client import Client

        client = Client()
        subject, subject_id = _subject(
            client,
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
        client.log_to(subject, subject_id, metadata)


def bulk_log_metadata(
    metadata: Mapping[str, object],
    *,
    pipeline_runs: Sequence[object] = (),
    step_runs: Sequence[object] = (),
    artifact_versions: Sequence[object] = (),
    model_versions: Sequence[object] = (),
    infer_models: bool = False,
    infer_artifacts: bool = False,
) -> None:
    """Add the same metadata to several things.

    Args:
        metadata: values by name; see `log_metadata`.
        pipeline_runs, step_runs, artifact_versions, model_versions: the things: their IDs, what `Client` returns, or
            mappings with the key `id` (or `name` and `version`).
        infer_models: inside a step, also the model version that it works on.
        infer_artifacts: inside a step, also all its outputs.

    Raises:
        UsageError: nothing is named.
        NotFoundError: one of the things doesn't exist.

    Example:
        >>> bulk_log_metadata({"reviewed": True}, artifact_versions=[a, b])  # doctest: +SKIP
    """
    calls: list[dict[str, Any]] = [
        *({"run_id_name_or_prefix": _key_of(run)[0]} for run in pipeline_runs),
        *({"step_id": _key_of(step)[0]} for step in step_runs),
    ]
    for artifact in artifact_versions:
        key, version = _key_of(artifact)
        calls.append(
            {"artifact_name": key, "artifact_version": version} if version else {"artifact_version_id": key}
        )
    for model in model_versions:
        key, version = _key_of(model)
        calls.append({"model_name": key, "model_version": version} if version else {"model_version_id": key})
    if infer_models:
        calls.append({"infer_model": True})
    if infer_artifacts:
        names = _in_a_step(running_step(), "infer_artifacts").output_names
        calls += [{"infer_artifact": True, "artifact_name": name} for name in names]
    if not calls:
        raise UsageError("bulk_log_metadata names nothing.", hint="Add for instance artifact_versions=[…].")
    for arguments in calls:
        log_metadata(metadata, **arguments)


def _key_of(thing: object) -> tuple[str, str | None]:
    """Return an ID, or a name and a version."""

    def of(name: str) -> object:
        return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)

    if isinstance(thing, str | UUID):
        return str(thing), None
    if (identifier := of("id")) is not None:
        return str(identifier), None
    name = of("name")
    version = of("version")
    if name is None:
        raise UsageError(
            f"{thing!r} names nothing.", hint="Give an ID, or a mapping with `id`, or `name` and `version`."
        )
    return str(name), None if version is None else str(version)


def _in_a_step(step: StepContext | None, argument: str) -> StepContext:
    if step is None:
        raise UsageError(
            f"log_metadata({argument}=True) works only inside a running step.",
            hint="Outside of a step, name the artifact or model version.",
        )
    return step


def _subject(
    client: Client,
    *,
    step_id: str | UUID | None,
    step_name: str | None,
    run: str | UUID | None,
    artifact_version_id: str | UUID | None,
    artifact_name: str | None,
    artifact_version: str | int | None,
    model_version_id: str | UUID | None,
    model_name: str | None,
    model_version: str | int | ModelStage | None,
) -> tuple[str, UUID]:
    """Return kind and ID of the thing that the arguments of `log_metadata` name."""
    from rayform.reading.listing import as_uuid

    if step_id:
        return "step_run", as_uuid(step_id, "step run")
    if step_name:
        if not run:
            raise UsageError("log_metadata got step_name=… and no run.", hint="Add run_id_name_or_prefix=….")
        return "step_run", client.get_pipeline_run(run).steps[step_name].id
    if run:
        return "run", client.get_pipeline_run(run).id
    if model_version_id:
        return "model_version", as_uuid(model_version_id, "model version")
    if model_name:
        if model_version is None:
            return "model", client.get_model(model_name).id
        return "model_version", client.get_model_version(model_name, model_version).id
    if artifact_version_id:
        return "artifact_version", client.get_artifact_version(artifact_version_id).id
    if artifact_name:
        return "artifact_version", client.get_artifact_version(artifact_name, artifact_version).id
    raise UsageError(
        "log_metadata got a version without the name of its artifact or model.",
        hint="Add artifact_name=… or model_name=….",
    )


def _refuse_invalid(name: str, tags: Sequence[str | Tag] | None) -> None:
    if not isinstance(name, str) or not name.strip():
        raise UsageError(
            f"An artifact needs a name, and {name!r} is not one.", hint="Give a text that isn't empty."
        )
    if isinstance(tags, str):
        raise UsageError(
            f"The tags of artifact '{name}' are one string.", hint=f"Give a list: tags=['{tags}']."
        )


def _refuse_existing(catalog: Catalog, name: str, version: str) -> None:
    """Refuse a version that exists, before data is written; the catalog checks again when the row is written."""
    from rayform_core.errors import EntityExistsError

    try:
        catalog.get_artifact_version(name, version)
    except NotFoundError:
        return
    raise EntityExistsError(
        f"Artifact '{name}' already has a version '{version}'.",
        hint="Leave out `version` to get the next number, or choose another name.",
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


def _view(record: ArtifactVersion, client: Client) -> ArtifactVersionView:
    from rayform.reading.views import ArtifactVersionView

    return ArtifactVersionView(record, client)
