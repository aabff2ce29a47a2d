"""Models: the list, and one model with its stages, versions and history."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rayform_runtime.catalog.entities import ModelStage
from rayform_server import context
from rayform_server.pages.artifacts import curves_of

__all__ = ["model", "models"]


def models(request: Request) -> Response:
    """Show a page of the models."""
    state = context.ListState.of(request, "rayform model list")
    client = context.client_of(request)
    page = client.catalog.list_models(state.query())
    in_production = {}
    for model in page.items:
        versions = client.catalog.list_model_versions(
            state.__class__(state.path, "", state.place, size=1).query(
                {"model": [f"eq:{model.name}"], "stage": "production"}
            )
        ).items
        in_production[model.id] = versions[0].version if versions else None
    return context.page(request, "models.html", state=state, models=page, in_production=in_production)


def model(request: Request) -> Response:
    """Show a model: its stages, its versions with their metadata, and its history."""
    client = context.client_of(request)
    record = client.catalog.get_model(request.query_params.get("name", ""))
    state = context.ListState.of(request, f"rayform model versions {record.name}")
    versions = client.catalog.list_model_versions(state.query({"model": [f"eq:{record.name}"]}, hydrate=True))
    by_stage = {
        stage.value: [each for each in versions.items if each.stage == stage]
        for stage in (ModelStage.PRODUCTION, ModelStage.STAGING, ModelStage.NONE, ModelStage.ARCHIVED)
    }
    return context.page(
        request,
        "model.html",
        model=record,
        state=state,
        versions=versions,
        lanes=by_stage,
        stages=[stage.value for stage in ModelStage],
        history=list(reversed(client.catalog.list_stage_changes(record.id)))[:50],
        curves=curves_of([(each.version, each.metadata) for each in reversed(versions.items)]),
    )
