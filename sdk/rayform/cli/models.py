"""`rayform model`: models, their versions and stages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from rayform.cli import LazyGroup
from rayform.cli.names import model_names
from rayform.cli.options import confirm, list_options, opened_client, stack_option, yes_option
from rayform.cli.output import (
    Column,
    as_json,
    emit_list,
    human_time,
    json_option,
    metadata_text,
    plain,
    print_pairs,
    print_table,
    styled_status,
)

if TYPE_CHECKING:
    from rayform.reading.views import ModelVersionView
    from rayform_runtime.catalog.entities import Query

__all__ = ["model"]


@click.group(cls=LazyGroup, table={})
def model() -> None:
    """List, describe, compare and promote models."""


_COLUMNS = [
    Column("model", lambda m: m.name, shrink=1),
    Column("latest", lambda m: m.latest_version or "-", shrink=2),
    Column("license", lambda m: m.license or "-", shrink=4),
    Column("tags", lambda m: ", ".join(m.tags), shrink=3),
    Column("created", lambda m: human_time(m.created_at)),
]
_VERSION_COLUMNS = [
    Column("stage", lambda v: v.stage.value),
    Column("model", lambda v: v.name, shrink=1),
    Column("version", lambda v: v.version, shrink=2),
    Column("tags", lambda v: ", ".join(v.tags), shrink=3),
    Column("runs", lambda v: str(len(v.run_ids)), right=True),
    Column("created", lambda v: human_time(v.created_at)),
]


@model.command("list")
@list_options
@stack_option
@json_option
def list_(query: Query, stack: str | None, json_wanted: bool) -> None:
    """List models."""
    with opened_client(stack) as client:
        found = client.catalog.list_models(query)
    emit_list(
        found.items,
        _COLUMNS,
        json_wanted=json_wanted,
        total=found.total,
        page=found.page,
        size=found.size,
        empty="No models.",
    )


@model.command()
@click.argument("name", required=False, shell_complete=model_names)
@list_options
@stack_option
@json_option
def versions(name: str | None, query: Query, stack: str | None, json_wanted: bool) -> None:
    """List model versions, of one model where NAME is given."""
    with opened_client(stack) as client:
        if name is not None:
            wanted = client.catalog.get_model(name).name
            query = replace(query, filters={**query.filters, "model": wanted})
        found = client.catalog.list_model_versions(replace(query, hydrate=True))
    emit_list(
        found.items,
        _VERSION_COLUMNS,
        json_wanted=json_wanted,
        total=found.total,
        page=found.page,
        size=found.size,
        empty="No model versions.",
    )


@model.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version", required=False)
@stack_option
@json_option
def describe(name: str, version: str | None, stack: str | None, json_wanted: bool) -> None:
    """Show a model and its history of promotions, or one VERSION (name, number or stage) of it."""
    with opened_client(stack) as client:
        if version is not None:
            _describe_version(client.get_model_version(name, version), json_wanted)
            return
        found = client.get_model(name)
        newest = client.catalog.list_model_versions(_versions_of(found.name))
        changes = found.stage_changes
    if json_wanted:
        as_json({**plain(found.record), "versions": plain(newest.items), "stage_changes": plain(changes)})
        return
    print_pairs(
        [
            ("model", found.name),
            ("id", str(found.id)),
            ("description", found.description or ""),
            ("license", found.license or ""),
            ("tags", ", ".join(found.tags)),
            ("created", human_time(found.created)),
            ("metadata", metadata_text(found.run_metadata)),
            ("promotions", "\n".join(_change(c) for c in changes)),
        ]
    )
    if newest.items:
        click.echo()
        print_table(newest.items, _VERSION_COLUMNS)


def _versions_of(name: str) -> Query:
    from rayform_runtime.catalog.entities import Query

    return Query(filters={"model": name}, size=20, hydrate=True)


def _change(change: Any) -> str:
    by = f" by {change.user}" if change.user else ""
    return f"{human_time(change.at)}  {change.version}: {change.old.value} → {change.new.value}{by}"


def _describe_version(found: ModelVersionView, json_wanted: bool) -> None:
    artifacts = [a.record for a in found.artifact_versions]
    if json_wanted:
        as_json({**plain(found.record), "artifacts": plain(artifacts)})
        return
    runs = found.pipeline_runs
    print_pairs(
        [
            ("model", found.name),
            ("version", found.version),
            ("id", str(found.id)),
            ("stage", styled_status(found.stage.value)),
            ("description", found.description or ""),
            ("tags", ", ".join(found.tags)),
            ("created", human_time(found.created)),
            ("runs", "\n".join(runs)),
            ("artifacts", "\n".join(f"{a.name} {a.version} ({a.artifact_type}, {a.id})" for a in artifacts)),
            ("metadata", metadata_text(found.run_metadata)),
        ]
    )


@model.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version")
@click.argument("stage", type=click.Choice(["none", "staging", "production", "archived"]))
@click.option("--force", is_flag=True, help="Archive the version that holds the stage now.")
@stack_option
def promote(name: str, version: str, stage: str, force: bool, **options: str | None) -> None:
    """Move a version (name, number or stage) of a model to a STAGE."""
    with opened_client(options["stack"]) as client:
        found = client.get_model_version(name, version)
        changed = found.set_stage(stage, force=force)
        click.echo(f"{changed.name} {changed.version}: {found.stage.value} → {changed.stage.value}")


@model.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version", required=False)
@click.option("--from", "source", required=True, metavar="STACK", help="Stack that has the version.")
@click.option(
    "--stage",
    type=click.Choice(["staging", "production"]),
    default=None,
    help="Stage that the copy gets; a version that holds it is archived.",
)
@stack_option
@json_option
def copy(
    name: str, version: str | None, source: str, stage: str | None, stack: str | None, json_wanted: bool
) -> None:
    """Copy a version (name, number or stage; the latest unless told), with its artifacts, from another stack."""
    from rayform.reading.client import Client
    from rayform.reading.copying import copy_model_version

    with opened_client(stack) as target, Client(source) as origin:
        copied = copy_model_version(origin, target, name, version, stage=stage)
        artifacts = [a.record for a in copied.artifact_versions]
        if json_wanted:
            as_json({**plain(copied.record), "artifacts": plain(artifacts)})
            return
        size = sum(a.size for a in artifacts)
        click.echo(
            f"{copied.name} {copied.version} ({copied.stage.value}) is a copy from stack '{source}': "
            f"{len(artifacts)} artifact{'s' if len(artifacts) != 1 else ''}, {size:,} bytes."
        )


@model.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version", nargs=-1)
@stack_option
@json_option
def compare(name: str, version: Sequence[str], stack: str | None, json_wanted: bool) -> None:
    """Put the metadata of model versions (all unless told) side by side."""
    with opened_client(stack) as client:
        if version:
            chosen = [client.get_model_version(name, v) for v in version]
        else:
            chosen = list(client.list_model_versions(name, size=10))[::-1]
    keys = list(dict.fromkeys(key for v in chosen for key in v.run_metadata))
    if json_wanted:
        as_json(
            {
                "model": name,
                "versions": [
                    {"version": v.version, "stage": v.stage, "metadata": v.run_metadata} for v in chosen
                ],
            }
        )
        return
    rows: list[tuple[str, list[str]]] = [("stage", [v.stage.value for v in chosen])]
    rows += [(key, [_cell(v.run_metadata, key) for v in chosen]) for key in keys]
    columns = [Column("", lambda row: row[0], shrink=1)]
    columns += [
        Column(v.version, lambda row, i=i: row[1][i], shrink=2, right=True)  # type: ignore[misc]
        for i, v in enumerate(chosen)
    ]
    print_table(rows, columns)


def _cell(metadata: dict[str, Any], key: str) -> str:
    if key not in metadata:
        return "-"
    value = plain(metadata[key])
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@model.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version", required=False)
@click.option("--name", "new_name", default=None, help="Another name.")
@click.option("--description", default=None, help="What it is for.")
@click.option("--license", default=None, help="Its licence (of the model alone).")
@click.option("--add-tag", "add", multiple=True, help="Tag to add; may be repeated.")
@click.option("--remove-tag", "remove", multiple=True, help="Tag to remove; may be repeated.")
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
            click.echo(f"Model {new_name or name} is updated.")
            return
        if license is not None:
            raise UsageError("A licence belongs to the model, not to a version of it.")
        found = client.update_model_version(
            name, version, name=new_name, description=description, add_tags=add, remove_tags=remove
        )
        click.echo(f"Version {found.version} of model {found.name} is updated.")


@model.command()
@click.argument("name", shell_complete=model_names)
@click.argument("version", required=False)
@click.option("--force", is_flag=True, help="Also where it is in staging or production.")
@yes_option
@stack_option
def delete(name: str, version: str | None, force: bool, yes: bool, stack: str | None) -> None:
    """Delete a model with all its versions, or one VERSION of it; artifacts and runs stay."""
    with opened_client(stack) as client:
        if version is None:
            found = client.get_model(name)
            confirm(f"Delete model '{found.name}' with all its versions?", yes=yes)
            client.delete_model(found.id, force=force)
            click.echo(f"Model {found.name} is deleted.")
            return
        one = client.get_model_version(name, version)
        confirm(f"Delete version '{one.version}' of model '{one.name}'?", yes=yes)
        client.delete_model_version(one.name, one.version, force=force)
        click.echo(f"Version {one.version} of model {one.name} is deleted.")
