"""Names that a shell completes: stacks, profiles, components, runs, artifacts, models.

A completion never prints an error, because the shell has no place for it. After an error it offers no names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from rayform_core.errors import RayformError

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import Query
    from rayform_runtime.catalog.interface import Catalog

__all__ = [
    "artifact_names",
    "component_names",
    "model_names",
    "pipeline_names",
    "profile_names",
    "run_names",
    "stack_names",
]

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
_MOST = 50


def _completing(names: Callable[[click.Context, str], Iterable[str]]) -> Complete:
    def complete(context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
        try:
            return [CompletionItem(name) for name in names(context, start) if name.startswith(start)][:_MOST]
        except (RayformError, OSError):
            return []

    return complete


def _stacks(_context: click.Context, _start: str) -> Iterable[str]:
    from rayform.stacks import stack_names as names

    return names()


def _profiles(_context: click.Context, _start: str) -> Iterable[str]:
    from rayform.stacks import list_profiles

    return list_profiles()


def _components(context: click.Context, _start: str) -> Iterable[str]:
    from rayform.stacks.components import component_names as names

    assert context.parent is not None
    return names(str(context.parent.info_name))


def _from_catalog(read: Callable[[Catalog, Query], Iterable[str]]) -> Complete:
    def names(context: click.Context, start: str) -> Iterable[str]:
        from rayform.reading.client import Client
        from rayform_runtime.catalog.entities import Query

        filters = {"name": f"startswith:{start}"} if start else {}
        return read(Client(context.params.get("stack")).catalog, Query(filters=filters, size=_MOST))

    return _completing(names)


stack_names = _completing(_stacks)
profile_names = _completing(_profiles)
component_names = _completing(_components)
run_names = _from_catalog(lambda catalog, query: [run.name for run in catalog.list_runs(query).items])
pipeline_names = _from_catalog(lambda catalog, query: [p.name for p in catalog.list_pipelines(query).items])
artifact_names = _from_catalog(lambda catalog, query: [a.name for a in catalog.list_artifacts(query).items])
model_names = _from_catalog(lambda catalog, query: [m.name for m in catalog.list_models(query).items])
