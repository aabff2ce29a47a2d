"""`rayform artifact`: what runs and people made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rayform.cli import LazyGroup
from rayform.cli.names import artifact_names
from rayform.cli.options import confirm, list_options, opened_client, stack_option, yes_option
from rayform.cli.output import (
    DROPPED,
    Column,
    as_json,
    emit_list,
    human_time,
    json_option,
    metadata_text,
    plain,
    print_pairs,
    print_table,
)
from rayform.sizes import human_size

if TYPE_CHECKING:
    from rayform.reading.lineage import Lineage
    from rayform.reading.pruning import PruneReport
    from rayform_runtime.catalog.entities import Query

__all__ = ["artifact"]


@click.group(cls=LazyGroup, table={})
def artifact() -> None:
    """List, describe, download, trace and prune artifacts."""


_COLUMNS = [
    Column("artifact", lambda a: a.name, shrink=1),
    Column("latest", lambda a: a.latest_version or "-", shrink=2),
    Column("tags", lambda a: ", ".join(a.tags), shrink=3),
    Column("created", lambda a: human_time(a.created_at)),
]
_VERSION_COLUMNS = [
    Column("artifact", lambda v: v.name, shrink=1),
    Column("version", lambda v: v.version, shrink=2),
    Column("kind", lambda v: v.artifact_type),
    Column("size", lambda v: human_size(v.size), right=True),
    Column("tags", lambda v: ", ".join(v.tags), shrink=3),
    Column("created", lambda v: human_time(v.created_at, seconds=False), shrink=DROPPED),
    Column("id", lambda v: str(v.id)[:18]),  # enough to be unique, and taken wherever an ID is
]


@artifact.command("list")
@list_options
@stack_option
@json_option
def list_(query: Query, stack: str | None, json_wanted: bool) -> None:
    """List artifacts."""
    with opened_client(stack) as client:
        found = client.catalog.list_artifacts(query)
    emit_list(
        found.items,
        _COLUMNS,
        json_wanted=json_wanted,
        total=found.total,
        page=found.page,
        size=found.size,
        empty="No artifacts.",
    )


@artifact.command()
@click.argument("name", required=False, shell_complete=artifact_names)
@list_options
@stack_option
@json_option
def versions(name: str | None, query: Query, stack: str | None, json_wanted: bool) -> None:
    """List artifact versions, of one artifact where NAME is given."""
    from dataclasses import replace

    with opened_client(stack) as client:
        if name is not None:
            wanted = client.catalog.get_artifact(name).name
            query = replace(query, filters={**query.filters, "artifact": wanted})
        found = client.catalog.list_artifact_versions(replace(query, hydrate=json_wanted))
    emit_list(
        found.items,
        _VERSION_COLUMNS,
        json_wanted=json_wanted,
        total=found.total,
        page=found.page,
        size=found.size,
        empty="No artifact versions.",
    )


@artifact.command()
@click.argument("name_or_id", shell_complete=artifact_names)
@click.argument("version", required=False)
@stack_option
@json_option
def describe(name_or_id: str, version: str | None, stack: str | None, json_wanted: bool) -> None:
    """Show an artifact version (the latest unless told) by name or ID."""
    with opened_client(stack) as client:
        found = client.get_artifact_version(name_or_id, version)
        record = found.record
        made_by = found.step
        run = found.run
    if json_wanted:
        as_json({**plain(record), "metadata": plain(found.run_metadata)})
        return
    print_pairs(
        [
            ("artifact", record.name),
            ("version", record.version),
            ("id", str(record.id)),
            ("kind", record.artifact_type),
            ("type", record.type),
            ("materializer", record.materializer),
            ("size", human_size(record.size)),
            ("digest", record.digest),
            ("uri", record.uri + ("  (registered; never removed)" if record.external else "")),
            ("created", human_time(record.created_at)),
            ("made by", f"step {made_by.name}" if made_by else ""),
            ("in run", run.name if run else ""),
            ("tags", ", ".join(record.tags)),
            ("visualizations", "\n".join(f"{v.name} ({v.kind})" for v in record.visualizations)),
            ("metadata", metadata_text(found.run_metadata)),
        ]
    )


@artifact.command()
@click.argument("name_or_id", shell_complete=artifact_names)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--version", default=None, help="Its version; the latest unless told.")
@click.option("--overwrite", is_flag=True, help="Replace what is at PATH.")
@stack_option
def download(name_or_id: str, path: Path, version: str | None, overwrite: bool, stack: str | None) -> None:
    """Copy an artifact version's files to PATH: a new folder, or one file where it ends in .zip."""
    with opened_client(stack) as client:
        found = client.get_artifact_version(name_or_id, version)
        target = found.download(path, overwrite=overwrite)
    click.echo(f"{found.name} {found.version} ({human_size(found.size)}) is in {target}")


@artifact.command()
@click.argument("name_or_id", shell_complete=artifact_names)
@click.argument("version", required=False)
@click.option("--upstream/--no-upstream", default=True, help="What it was made from.")
@click.option("--downstream/--no-downstream", default=True, help="What was made of it.")
@click.option(
    "--depth", type=click.IntRange(min=1), default=None, help="How many steps far; all unless told."
)
@click.option(
    "--graphviz", "form", flag_value="graphviz", help="As a drawing for Graphviz (pipe into dot -Tsvg)."
)
@click.option("--mermaid", "form", flag_value="mermaid", help="As a drawing for Mermaid.")
@stack_option
@json_option
def lineage(
    name_or_id: str,
    version: str | None,
    upstream: bool,
    downstream: bool,
    depth: int | None,
    form: str | None,
    stack: str | None,
    json_wanted: bool,
) -> None:
    """Show what made an artifact version, from what, and what was made of it, as a tree."""
    with opened_client(stack) as client:
        found = client.get_lineage(name_or_id, version, upstream=upstream, downstream=downstream, depth=depth)
    if json_wanted:
        as_json(found.to_dict())
    else:
        click.echo(_drawn(found, form))


def _drawn(found: Lineage, form: str | None) -> str:
    if form == "graphviz":
        return found.to_graphviz()
    return found.to_mermaid() if form == "mermaid" else found.to_tree()


@artifact.command()
@click.argument("name_or_id", shell_complete=artifact_names)
@click.argument("version", required=False)
@click.option("--name", "new_name", default=None, help="Another name for the artifact.")
@click.option("--add-tag", "add", multiple=True, help="Tag to add; may be repeated.")
@click.option("--remove-tag", "remove", multiple=True, help="Tag to remove; may be repeated.")
@stack_option
def update(
    name_or_id: str,
    version: str | None,
    new_name: str | None,
    add: Sequence[str],
    remove: Sequence[str],
    stack: str | None,
) -> None:
    """Change an artifact's name, or the tags of a version (of the latest unless told)."""
    from rayform_core.errors import UsageError

    if new_name is None and not add and not remove:
        raise UsageError("Nothing to change was given.", hint="Give --name, --add-tag or --remove-tag.")
    with opened_client(stack) as client:
        found = client.get_artifact_version(name_or_id, version)
        if add or remove:
            found = client.update_artifact_version(found.id, add_tags=add, remove_tags=remove)
            click.echo(f"{found.name} {found.version} has the tags: {', '.join(found.tags) or 'none'}.")
        if new_name is not None:
            client.update_artifact(found.record.artifact_id, new_name=new_name)
            click.echo(f"Artifact {found.name} is now {new_name}.")


@artifact.command()
@click.argument("name_or_id", shell_complete=artifact_names)
@click.argument("version", required=False)
@click.option("--force", is_flag=True, help="Also where a model version or a step run refers to it.")
@click.option("--keep-data", is_flag=True, help="Leave its data in the store.")
@yes_option
@stack_option
def delete(
    name_or_id: str, version: str | None, force: bool, keep_data: bool, yes: bool, stack: str | None
) -> None:
    """Delete an artifact version (the latest unless told), by name or ID, with its data."""
    with opened_client(stack) as client:
        found = client.get_artifact_version(name_or_id, version)
        confirm(f"Delete {found.name} {found.version} ({human_size(found.size)}, {found.id})?", yes=yes)
        client.delete_artifact_version(found.id, delete_from_artifact_store=not keep_data, force=force)
        click.echo(f"{found.name} {found.version} is deleted.")


@artifact.command()
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    default=None,
    metavar="DAYS",
    help="Only versions older than this.",
)
@click.option(
    "--ignore-runs",
    is_flag=True,
    help="Also versions that only runs refer to; models and the tag `keep` still hold.",
)
@click.option(
    "--leftover-age",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="How long uncommitted data must have lain in the store.",
)
@click.option(
    "--orphans",
    is_flag=True,
    help="Also committed data that this catalog doesn't know; never where another catalog shares the store.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@yes_option
@stack_option
@json_option
def prune(
    older_than: float | None,
    ignore_runs: bool,
    leftover_age: float,
    orphans: bool,
    dry_run: bool,
    yes: bool,
    stack: str | None,
    json_wanted: bool,
) -> None:
    """Remove versions that nothing needs, and uncommitted leftovers in the store; shows first, then asks."""
    from rayform.reading.pruning import apply_prune

    before = None if older_than is None else datetime.now(UTC) - timedelta(days=older_than)
    with opened_client(stack) as client:
        report = client.prune_artifacts(
            older_than=before,
            keep_runs=not ignore_runs,
            dry_run=True,
            leftover_age=leftover_age * 3600,
            orphans=orphans,
        )
        if not json_wanted:
            _show_prune(report)
        if report and not dry_run:
            confirm(f"Remove all of this ({human_size(report.size)})?", yes=yes)
            report = apply_prune(client.catalog, client.artifact_store, report)
    if json_wanted:
        as_json({**plain(report), "size": report.size})
    elif report.removed:
        click.echo(
            f"Removed {len(report.versions)} versions and {len(report.leftovers)} leftovers, "
            f"{human_size(report.size)}; kept {report.kept} versions."
        )


def _show_prune(report: PruneReport) -> None:
    if not report:
        click.echo(f"Nothing to prune; all {report.kept} versions are needed.")
        return
    if report.versions:
        click.echo(f"Versions that nothing needs ({report.kept} are kept):")
        print_table(report.versions, _VERSION_COLUMNS)
    if report.leftovers:
        click.echo("Uncommitted leftovers in the store:")
        columns = [
            Column("kind", lambda lo: lo.kind),
            Column("folder", lambda lo: lo.folder, shrink=1),
            Column("objects", lambda lo: str(len(lo.keys)), right=True),
            Column("size", lambda lo: human_size(lo.size), right=True),
            Column("written", lambda lo: human_time(datetime.fromtimestamp(lo.modified, UTC))),
        ]
        print_table(report.leftovers, columns)
