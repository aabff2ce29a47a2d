"""`rayform model`: models, their versions and stages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from rayform.cli import LazyGroup
from rayform.cli.names import model_names
from rayform.cli.options import (
    PageRequest,
    confirm,
    opened_client,
    page_options,
    stack_option,
    tag_options,
    yes_option,
)
from rayform.cli.output import (
    Column,
    echo,
    human_time,
    json_option,
    metadata_text,
    plain,
    plain_fields,
    print_json,
    print_pairs,
    print_table,
    styled_status,
)

if TYPE_CHECKING:
    from rayform.reading.views import ModelVersionView
    from rayform_runtime.catalog.entities import Model, ModelVersion, Page, Query, StageChange
    from rayform_runtime.catalog.interface import Catalog

__all__ = ["model"]


@click.group(cls=LazyGroup)
def model() -> None:
    """List, describe, compare, promote and copy models."""


_COLUMNS: list[Column[Model]] = [
    Column("model", lambda m: m.name, shrink=1),
    Column("latest", lambda m: m.latest_version or "-", shrink=2),
    Column("license", lambda m: m.license or "-", shrink=4),
    Column("tags", lambda m: ", ".join(m.tags), shrink=3),
    Column("created", lambda m: human_time(m.created_at)),
]
_VERSION_COLUMNS: list[Column[ModelVersion]] = [
    Column("stage", lambda v: v.stage.value),
    Column("model", lambda v: v.name, shrink=1),
    Column("version", lambda v: v.version, shrink=2),
    Column("tags", lambda v: ", ".join(v.tags), shrink=3),
    Column("runs", lambda v: str(len(v.run_ids)), right=True),
    Column("created", lambda v: human_time(v.created_at)),
]


@model.command("list")
@page_options
def list_(request: PageRequest) -> None:
    """List models."""
    request.emit(lambda catalog, query: catalog.list_models(query), _COLUMNS, empty="No models.")


@model.command()
@click.argument("name", required=False, shell_complete=model_names)
@page_options
def versions(name: str | None, request: PageRequest) -> None:
    """List the versions of model NAME, or of all models."""

    def read(catalog: Catalog, query: Query) -> Page[ModelVersion]:
        if name is not None:
            query = replace(query, filters={**query.filters, "model": catalog.get_model(name).name})
        return catalog.list_model_versions(replace(query, hydrate=True))

    request.emit(read, _VERSION_COLUMNS, empty="No model versions.")


@model.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version", required=False)
@stack_option
@json_option
def describe(name: str, version: str | None, stack: str | None, json_wanted: bool) -> None:
    """Show a model and its promotions, or one VERSION (name, number or stage) of it."""
    with opened_client(stack) as client:
        if version is not None:
            _describe_version(client.get_model_version(name, version), json_wanted)
            return
        view = client.get_model(name)
        newest = client.catalog.list_model_versions(_versions_of(view.name)).items
        changes = view.stage_changes
    if json_wanted:
        print_json({**plain_fields(view.record), "versions": plain(newest), "stage_changes": plain(changes)})
        return
    print_pairs(
        [
            ("model", view.name),
            ("id", str(view.id)),
            ("description", view.description or ""),
            ("license", view.license or ""),
            ("tags", ", ".join(view.tags)),
            ("created", human_time(view.created)),
            ("metadata", metadata_text(view.run_metadata)),
            ("promotions", "\n".join(_change(c) for c in changes)),
        ]
    )
    if newest:
        echo()
        print_table(newest, _VERSION_COLUMNS)


def _versions_of(name: str) -> Query:
    from rayform_runtime.catalog.entities import Query

    return Query(filters={"model": name}, size=20, hydrate=True)


def _change(change: StageChange) -> str:
    by = f" by {change.user}" if change.user else ""
    return f"{human_time(change.at)}  {change.version}: {change.old.value} → {change.new.value}{by}"


def _describe_version(view: ModelVersionView, json_wanted: bool) -> None:
    artifacts = [a.record for a in view.artifact_versions]
    if json_wanted:
        print_json({**plain_fields(view.record), "artifacts": plain(artifacts)})
        return
    runs = view.pipeline_runs
    print_pairs(
        [
            ("model", view.model_name),
            ("version", view.version),
            ("id", str(view.id)),
            ("stage", styled_status(view.stage.value)),
            ("description", view.description or ""),
            ("tags", ", ".join(view.tags)),
            ("created", human_time(view.created)),
            ("runs", "\n".join(runs)),
            ("artifacts", "\n".join(f"{a.name} {a.version} ({a.artifact_type}, {a.id})" for a in artifacts)),
            ("metadata", metadata_text(view.run_metadata)),
        ]
    )


@model.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version")
@click.argument("stage", type=click.Choice(["none", "staging", "production", "archived"]))
@click.option("--force", is_flag=True, help="Archive the version that has this stage now.")
@stack_option
def promote(name: str, version: str, stage: str, force: bool, stack: str | None) -> None:
    """Move a VERSION (name, number or stage) of a model to a STAGE."""
    with opened_client(stack) as client:
        before = client.get_model_version(name, version)
        after = before.set_stage(stage, force=force)
        echo(f"{after.name} {after.version}: {before.stage.value} → {after.stage.value}")


@model.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version", required=False)
@click.option("--from", "source", required=True, metavar="STACK", help="Stack to copy from.")
@click.option(
    "--stage",
    type=click.Choice(["staging", "production"]),
    default=None,
    help="Stage of the copy; the version that has this stage now is archived.",
)
@stack_option
@json_option
def copy(
    name: str, version: str | None, source: str, stage: str | None, stack: str | None, json_wanted: bool
) -> None:
    """Copy a VERSION (name, number or stage; by default the latest) with its artifacts from another stack."""
    from rayform.reading.client import Client
    from rayform.reading.copying import copy_model_version

    with opened_client(stack) as target, Client(source) as origin:
        copied = copy_model_version(origin, target, name, version, stage=stage)
        artifacts = [a.record for a in copied.artifact_versions]
        if json_wanted:
            print_json({**plain_fields(copied.record), "artifacts": plain(artifacts)})
            return
        size = sum(a.size for a in artifacts)
        echo(
            f"Copied {copied.name} {copied.version} ({copied.stage.value}) from stack '{source}': "
            f"{len(artifacts)} artifact{'s' if len(artifacts) != 1 else ''}, {size:,} bytes."
        )


@model.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version", nargs=-1)
@stack_option
@json_option
def compare(name: str, version: Sequence[str], stack: str | None, json_wanted: bool) -> None:
    """Show the metadata of model versions side by side (by default the newest ten)."""
    with opened_client(stack) as client:
        if version:
            views = [client.get_model_version(name, v) for v in version]
        else:
            views = list(client.list_model_versions(name, size=10))[::-1]
    if json_wanted:
        listed = [{"version": v.version, "stage": v.stage, "metadata": v.run_metadata} for v in views]
        print_json({"model": name, "versions": listed})
        return
    keys = dict.fromkeys(key for v in views for key in v.run_metadata)
    rows = [["stage", *(v.stage.value for v in views)]]
    rows += [[key, *(_cell(v.run_metadata, key) for v in views)] for key in keys]
    columns = [_column(i, title) for i, title in enumerate(["", *(v.version for v in views)])]
    print_table(rows, columns)


def _column(index: int, title: str) -> Column[list[str]]:
    return Column(title, lambda row: row[index], shrink=2 if index else 1, right=index > 0)


def _cell(metadata: Mapping[str, object], key: str) -> str:
    if key not in metadata:
        return "-"
    value = plain(metadata[key])
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@model.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version", required=False)
@click.option("--name", "new_name", default=None, metavar="NAME", help="New name.")
@click.option("--description", default=None, help="New description.")
@click.option("--license", default=None, help="New licence; only a model has one, not a version.")
@tag_options
@stack_option
def update(
    name: str,
    version: str | None,
    new_name: str | None,
    description: str | None,
    license: str | None,
    add: Sequence[str],
    remove: Sequence[str],
    stack: str | None,
) -> None:
    """Change a model, or one VERSION of it."""
    from rayform_core.errors import UsageError

    with opened_client(stack) as client:
        if version is None:
            client.update_model(
                name,
                name=new_name,
                description=description,
                license=license,
                add_tags=add,
                remove_tags=remove,
            )
            echo(f"Updated model {new_name or name}.")
            return
        if license is not None:
            raise UsageError(
                "A version of a model can't have a licence of its own.", hint="Leave VERSION out."
            )
        view = client.update_model_version(
            name, version, name=new_name, description=description, add_tags=add, remove_tags=remove
        )
        echo(f"Updated version {view.version} of model {view.model_name}.")


@model.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version", required=False)
@click.option("--force", is_flag=True, help="Delete it even if it is in staging or production.")
@yes_option
@stack_option
def delete(name: str, version: str | None, force: bool, yes: bool, stack: str | None) -> None:
    """Delete a model with all its versions, or one VERSION of it; artifacts and runs stay."""
    with opened_client(stack) as client:
        if version is None:
            model = client.get_model(name)
            confirm(f"Delete model '{model.name}' with all its versions?", yes=yes)
            client.delete_model(model.id, force=force)
            echo(f"Deleted model {model.name}.")
            return
        view = client.get_model_version(name, version)
        confirm(f"Delete version '{view.version}' of model '{view.model_name}'?", yes=yes)
        client.delete_model_version(view.model_name, view.version, force=force)
        echo(f"Deleted version {view.version} of model {view.model_name}.")
