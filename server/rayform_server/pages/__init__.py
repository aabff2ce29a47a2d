"""The pages, one module for each subject; `ROUTES` is the table of all of them."""

from __future__ import annotations

from starlette.routing import Route

from rayform_server.pages import (
    actions,
    artifacts,
    compare,
    logs,
    models,
    overview,
    pipelines,
    previews,
    run,
    runs,
    search,
    stacks,
)

__all__ = ["ROUTES"]

ROUTES = [
    Route("/", overview.overview),
    Route("/runs", runs.runs),
    Route("/runs/{ref}", run.summary),
    Route("/runs/{ref}/graph.json", run.graph),
    Route("/runs/{ref}/step", run.step),
    Route("/runs/{ref}/timeline", run.timeline),
    Route("/runs/{ref}/logs", logs.logs),
    Route("/runs/{ref}/logs/download", logs.download),
    Route("/runs/{ref}/logs/stream", logs.stream),
    Route("/runs/{ref}/artifacts", run.artifacts),
    Route("/runs/{ref}/configuration", run.configuration),
    Route("/compare/runs", compare.runs),
    Route("/compare/models", compare.models),
    Route("/pipelines", pipelines.pipelines),
    Route("/pipeline", pipelines.pipeline),
    Route("/artifacts", artifacts.artifacts),
    Route("/artifact", artifacts.artifact),
    Route("/versions/{id}", artifacts.version),
    Route("/versions/{id}/lineage.json", artifacts.lineage),
    Route("/sandbox/{id}", previews.sandbox),
    Route("/picture/{id}", previews.picture),
    Route("/models", models.models),
    Route("/model", models.model),
    Route("/stacks", stacks.stacks),
    Route("/search", search.search),
    Route("/search.json", search.search_json),
    Route("/actions/run", actions.run, methods=["POST"]),
    Route("/actions/runs", actions.runs, methods=["POST"]),
    Route("/actions/model", actions.model, methods=["POST"]),
]
