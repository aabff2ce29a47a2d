"""The functions of `Client` that read and change models and their versions."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform.reading import listing
from rayform.reading.metadata import update_tags
from rayform.reading.views.base import Page
from rayform.reading.views.models import ModelVersionView, ModelView
from rayform.reading.views.reader import Reader, Ref
from rayform_core.errors import ConflictError, NotFoundError, UsageError

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import ModelStage


def create_model(
    client: Reader,
    name: str,
    *,
    description: str | None = None,
    license: str | None = None,
    tags: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    audience: str | None = None,
    use_cases: str | None = None,
    limitations: str | None = None,
    trade_offs: str | None = None,
    ethics: str | None = None,
    save_models_to_registry: bool = True,
) -> ModelView:
    """Create a model without versions.

    A worker runs a script's top level again, to load its steps. There, a model that exists is returned.

    Args:
        name: its name.
        description: what it is for.
        license: its license.
        tags: its tags.
        metadata: its metadata.
        audience, use_cases, limitations, trade_offs, ethics: parts of a model card, stored as metadata.
        save_models_to_registry: accepted for code written for ZenML; models are in the catalog.

    Raises:
        EntityExistsError: a model has this name already.
    """
    from rayform_runtime.usercode.scripts import is_importing_main, is_loading

    card = {
        "audience": audience, "use_cases": use_cases, "limitations": limitations, "trade_offs": trade_offs,
        "ethics": ethics,
    }  # fmt: skip
    record = client.catalog.create_model(
        name,
        description=description,
        license=license,
        tags=tags or (),
        metadata={**(metadata or {}), **{key: text for key, text in card.items() if text is not None}},
        exist_ok=is_loading() or is_importing_main(),
    )
    return ModelView(record, client)


def get_model(client: Reader, model_name_or_id: Ref) -> ModelView:
    """Return a model by its name, its UUID or a unique prefix of the UUID."""
    return ModelView(client.catalog.get_model(model_name_or_id), client)


def list_models(
    client: Reader, sort_by: str | None = None, page: int = 1, size: int = 20, **filters: object
) -> Page[ModelView]:
    """List models; see `list_pipeline_runs`."""
    query = listing.query_of(sort_by, page, size, filters)
    return listing.page_of(client.catalog.list_models, ModelView, client, query)


def update_model(
    client: Reader,
    model_name_or_id: Ref,
    *,
    name: str | None = None,
    description: str | None = None,
    license: str | None = None,
    add_tags: Sequence[str] = (),
    remove_tags: Sequence[str] = (),
) -> ModelView:
    """Change a model; what you leave out stays as it is.

    Raises:
        ConflictError: another model has the new name.
    """
    model = get_model(client, model_name_or_id)
    if (name, description, license) != (None, None, None):
        client.catalog.update_model(model.id, name=name, description=description, license=license)
    update_tags(client, "model", model.id, add_tags, remove_tags)
    return get_model(client, model.id)


def delete_model(client: Reader, model_name_or_id: Ref, *, force: bool = False) -> None:
    """Delete a model with its versions and links; artifacts and runs stay.

    Args:
        model_name_or_id: which model.
        force: delete it even if a version is in `staging` or `production`.

    Raises:
        ConflictError: a version is in one of these stages, and `force` isn't set.
    """
    model = get_model(client, model_name_or_id)
    staged = [v for v in model.versions if v.stage.value in ("staging", "production")]
    if staged and not force:
        raise ConflictError(
            f"Model '{model.name}' is in use.",
            why=f"Version '{staged[0].version}' is in {staged[0].stage.value}.",
            hint="Archive that version first, or delete the model anyway: `--force`, or `force=True` in Python.",
        )
    client.catalog.delete_model(model.id)


def create_model_version(
    client: Reader,
    model_name_or_id: Ref,
    version: str | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    tags: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ModelVersionView:
    """Create a version of an existing model; its name is the next number by default.

    A worker runs a script's top level again, to load its steps. There, a version that exists is returned, and without
    a name the latest one.

    Args:
        model_name_or_id: the model.
        version, name: the version's name; both mean the same.
        description: what distinguishes it.
        tags: its tags.
        metadata: its metadata.

    Raises:
        EntityExistsError: the model has a version of this name already.
    """
    from rayform_runtime.usercode.scripts import is_importing_main, is_loading

    version = name if version is None else version
    model = client.catalog.get_model(model_name_or_id)
    if is_loading() or is_importing_main():
        with contextlib.suppress(NotFoundError):
            return get_model_version(client, model.name, version)
    record = client.catalog.create_model_version(
        model.name, version=version, description=description, tags=tags or (), metadata=metadata
    )
    return ModelVersionView(record, client)


def get_model_version(
    client: Reader,
    model_name_or_id: Ref | None = None,
    model_version_name_or_number_or_id: str | int | ModelStage | UUID | None = None,
) -> ModelVersionView:
    """Return a version of a model.

    Args:
        model_name_or_id: the model.
        model_version_name_or_number_or_id: the version's name, number, UUID or stage; the latest by default.

    Raises:
        NotFoundError: there is no such version; names the nearest ones.
    """
    version = model_version_name_or_number_or_id
    version = getattr(version, "value", version)
    if model_name_or_id is None:
        if version is None:
            raise UsageError("Name a model, or a model version by its UUID.")
        return get_model_version_by_id(client, listing.as_uuid(str(version), "model version"))
    if isinstance(version, UUID):
        version = str(version)
    return ModelVersionView(client.catalog.get_model_version(model_name_or_id, version), client)


def get_model_version_by_id(client: Reader, model_version_id: UUID) -> ModelVersionView:
    """Return a model version by its UUID."""
    query = listing.query_of(None, 1, 1, {"id": model_version_id}, hydrate=True)
    page = client.catalog.list_model_versions(query)
    if not page.items:
        raise NotFoundError("model version", str(model_version_id))
    return ModelVersionView(page.items[0], client)


def list_model_versions(
    client: Reader,
    model_name_or_id: Ref | None = None,
    sort_by: str | None = None,
    page: int = 1,
    size: int = 20,
    **filters: object,
) -> Page[ModelVersionView]:
    """List model versions, of one model or of all; see `list_pipeline_runs`."""
    if model_name_or_id is not None:
        filters["model"] = client.catalog.get_model(model_name_or_id).name
    query = listing.query_of(sort_by, page, size, filters, hydrate=True)
    return listing.page_of(client.catalog.list_model_versions, ModelVersionView, client, query)


def update_model_version(
    client: Reader,
    model_name_or_id: Ref,
    version_name_or_id: str | int | ModelStage | UUID,
    *,
    stage: str | ModelStage | None = None,
    force: bool = False,
    name: str | None = None,
    description: str | None = None,
    add_tags: Sequence[str] = (),
    remove_tags: Sequence[str] = (),
) -> ModelVersionView:
    """Change a model version; what you leave out stays as it is. See `Model.set_stage` for `stage` and `force`."""
    version = get_model_version(client, model_name_or_id, version_name_or_id)
    if stage is not None:
        set_model_stage(client, version, stage, force=force)
    if (name, description) != (None, None):
        client.catalog.update_model_version(version.id, name=name, description=description)
    update_tags(client, "model_version", version.id, add_tags, remove_tags)
    return get_model_version_by_id(client, version.id)


def set_model_stage(
    client: Reader, version: ModelVersionView, stage: str | ModelStage, *, force: bool = False
) -> ModelVersionView:
    """Move a model version to a stage; see `Model.set_stage`."""
    from rayform.identity import current_user
    from rayform_runtime.catalog.entities import ModelStage

    try:
        new_stage = ModelStage(str(getattr(stage, "value", stage)).lower())
    except ValueError:
        raise NotFoundError("stage", str(stage), known=[s.value for s in ModelStage]) from None
    record = client.catalog.set_model_stage(version.id, new_stage, force=force, user=current_user())
    return ModelVersionView(record, client)


def delete_model_version(
    client: Reader,
    model_name_or_id: Ref,
    version_name_or_id: str | int | ModelStage | UUID,
    *,
    force: bool = False,
) -> None:
    """Delete a version and its links; a version in `staging` or `production` only with `force`."""
    version = get_model_version(client, model_name_or_id, version_name_or_id)
    client.catalog.delete_model_version(version.id, force=force)
