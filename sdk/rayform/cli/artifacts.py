"""`rayform artifact`: artifacts, their versions, their lineage and the prune."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rayform.cli import LazyGroup
from rayform.cli.names import artifact_names
from rayform.cli.options import (
    LONGEST_AGE,
    Numbers,
    PageRequest,
    confirm,
    opened_client,
    page_options,
    stack_option,
    tag_options,
    yes_option,
)
from rayform.cli.output import (
    DROPPED,
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
)
from rayform.sizes import human_size

if TYPE_CHECKING:
    from rayform.reading.pruning import Leftover, PruneReport
    from rayform_runtime.catalog.entities import Artifact, ArtifactVersion, Page, Query
    from rayform_runtime.catalog.interface import Catalog

__all__ = ["artifact"]


@click.group(cls=LazyGroup)
def artifact() -> None:
    """List, describe, download, trace and prune artifacts."""


_COLUMNS: list[Column[Artifact]] = [
    Column("artifact", lambda a: a.name, shrink=1),
    Column("latest", lambda a: a.latest_version or "-", shrink=2),
    Column("tags", lambda a: ", ".join(a.tags), shrink=3),
    Column("created", lambda a: human_time(a.created_at)),
]
_VERSION_COLUMNS: list[Column[ArtifactVersion]] = [
    Column("artifact", lambda v: v.name, shrink=1),
    Column("version", lambda v: v.version, shrink=2),
    Column("kind", lambda v: v.artifact_type),
    Column("size", lambda v: human_size(v.size), right=True),
    Column("tags", lambda v: ", ".join(v.tags), shrink=3),
    Column("created", lambda v: human_time(v.created_at, seconds=False), shrink=DROPPED),
    Column("id", lambda v: str(v.id)[:18]),  # enough to be unique; every command accepts a prefix of an ID
]


@artifact.command("list")
@page_options
def list_(request: PageRequest) -> None:
    """List artifacts."""
    request.emit(lambda catalog, query: catalog.list_artifacts(query), _COLUMNS, empty="No artifacts.")


@artifact.command()
@click.argument("name", required=False, shell_complete=artifact_names)
@page_options
def versions(name: str | None, request: PageRequest) -> None:
    """List the versions of artifact NAME, or of all artifacts."""

    def read(catalog: Catalog, query: Query) -> Page[ArtifactVersion]:
        if name is not None:
            query = replace(query, filters={**query.filters, "artifact": catalog.get_artifact(name).name})
        return catalog.list_artifact_versions(replace(query, hydrate=request.json_wanted))

    request.emit(read, _VERSION_COLUMNS, empty="No artifact versions.")


@artifact.command()
@click.argument("name_or_id", shell_complete=artifact_names)
@click.argument("version", required=False)
@stack_option
@json_option
def describe(name_or_id: str, version: str | None, stack: str | None, json_wanted: bool) -> None:
    """Show an artifact version (by default the latest), by name or ID."""
    with opened_client(stack) as client:
        view = client.get_artifact_version(name_or_id, version)
        record = view.record
        step = view.step
        run = view.run
    if json_wanted:
        print_json({**plain_fields(record), "metadata": plain(view.run_metadata)})
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
            ("uri", record.uri + ("  (registered data, never removed)" if record.external else "")),
            ("created", human_time(record.created_at)),
            ("made by", f"step {step.name}" if step else ""),
            ("in run", run.name if run else ""),
            ("tags", ", ".join(record.tags)),
            ("visualizations", "\n".join(f"{v.name} ({v.kind})" for v in record.visualizations)),
            ("metadata", metadata_text(view.run_metadata)),
        ]
    )


@artifact.command()
@click.argument("name_or_id", shell_complete=artifact_names)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--version", default=None, help="The version; the latest by default.")
@click.option("--overwrite", is_flag=True, help="Replace the file or folder at PATH.")
@stack_option
def download(name_or_id: str, path: Path, version: str | None, overwrite: bool, stack: str | None) -> None:
    """Copy an artifact version's files to PATH: a new folder, or one file if PATH ends in .zip."""
    with opened_client(stack) as client:
        view = client.get_artifact_version(name_or_id, version)
        target = view.download(path, overwrite=overwrite)
    echo(f"Copied {view.name} {view.version} ({human_size(view.size)}) to {target}")


@artifact.command()
@click.argument("name_or_id", shell_complete=artifact_names)
@click.argument("version", required=False)
@click.option("--upstream/--no-upstream", default=True, help="Show what it was made from.")
@click.option("--downstream/--no-downstream", default=True, help="Show what was made from it.")
@click.option(
    "--depth", type=click.IntRange(min=1), default=None, help="How many steps to go each way; all by default."
)
@click.option(
    "--graphviz", "form", flag_value="graphviz", help="Print a Graphviz drawing (pipe it into dot -Tsvg)."
)
@click.option("--mermaid", "form", flag_value="mermaid", help="Print a Mermaid drawing.")
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
    """Show as a tree what an artifact version was made from, and what was made from it."""
    with opened_client(stack) as client:
        graph = client.get_lineage(name_or_id, version, upstream=upstream, downstream=downstream, depth=depth)
    if json_wanted:
        print_json(graph.to_dict())
    elif form == "graphviz":
        echo(graph.to_graphviz())
    else:
        echo(graph.to_mermaid() if form == "mermaid" else graph.to_tree())


@artifact.command()
@click.argument("name_or_id", shell_complete=artifact_names)
@click.argument("version", required=False)
@click.option("--name", "new_name", default=None, metavar="NAME", help="New name of the artifact.")
@tag_options
@stack_option
def update(
    name_or_id: str,
    version: str | None,
    new_name: str | None,
    add: Sequence[str],
    remove: Sequence[str],
    stack: str | None,
) -> None:
    """Change an artifact's name, or the tags of a version (by default of the latest)."""
    from rayform_core.errors import UsageError

    if new_name is None and not add and not remove:
        raise UsageError("There is nothing to change.", hint="Add --name, --add-tag or --remove-tag.")
    with opened_client(stack) as client:
        view = client.get_artifact_version(name_or_id, version)
        if add or remove:
            view = client.update_artifact_version(view.id, add_tags=add, remove_tags=remove)
            echo(f"Tags of {view.name} {view.version}: {', '.join(view.tags) or 'none'}.")
        if new_name is not None:
            client.update_artifact(view.record.artifact_id, new_name=new_name)
            echo(f"Renamed artifact {view.name} to {new_name}.")


@artifact.command()
@click.argument("name_or_id", shell_complete=artifact_names)
@click.argument("version", required=False)
@click.option("--force", is_flag=True, help="Delete it even if a model version or a step run refers to it.")
@click.option("--keep-data", is_flag=True, help="Keep its data in the store.")
@yes_option
@stack_option
def delete(
    name_or_id: str, version: str | None, force: bool, keep_data: bool, yes: bool, stack: str | None
) -> None:
    """Delete an artifact version (by default the latest) with its data, by name or ID."""
    with opened_client(stack) as client:
        view = client.get_artifact_version(name_or_id, version)
        confirm(f"Delete {view.name} {view.version} ({human_size(view.size)}, {view.id})?", yes=yes)
        client.delete_artifact_version(view.id, delete_from_artifact_store=not keep_data, force=force)
        echo(f"Deleted {view.name} {view.version}.")


@artifact.command()
@click.option(
    "--older-than",
    type=Numbers(0, LONGEST_AGE),
    default=None,
    metavar="DAYS",
    help="Remove only versions older than this; needed for values that you saved by hand.",
)
@click.option(
    "--ignore-runs",
    is_flag=True,
    help="Also remove versions that only runs refer to; models and the tag `keep` still protect theirs.",
)
@click.option(
    "--leftover-age",
    type=Numbers(0, LONGEST_AGE),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="How old uncommitted data must be.",
)
@click.option(
    "--orphans",
    is_flag=True,
    help="Also remove committed data that this catalog doesn't know. Don't use it if another catalog shares the store.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
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
    """Remove artifact versions and leftovers that nothing needs; asks first.

    A leftover is data in the store that a crashed write left behind.
    """
    from rayform.reading.pruning import apply_prune
    from rayform_core.errors import RayformError

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
        print_json({**plain_fields(report), "size": report.size})
    elif report.removed:
        echo(
            f"Removed {len(report.versions)} versions and {len(report.leftovers)} leftovers "
            f"({human_size(report.size)}); {report.kept} versions are kept."
        )
    if report.failed:
        raise RayformError(
            f"{len(report.failed)} of them could not be removed.",
            why=" ".join(f"'{uri}': {reason}" for uri, reason in list(report.failed.items())[:5]),
            hint="They are still recorded. Remove the cause and prune again.",
        )


def _show_prune(report: PruneReport) -> None:
    if report.elsewhere:
        echo(
            f"{report.elsewhere} versions lie in the stores of other stacks. Prune those stacks by their names."
        )
    if report.saved_by_hand:
        echo(
            f"{report.saved_by_hand} versions were saved by hand. Name an age to remove them: --older-than 30."
        )
    if not report:
        echo(f"There is nothing to prune: all {report.kept} versions are needed.")
        return
    if report.versions:
        echo(f"Versions that nothing needs ({report.kept} are kept):")
        print_table(report.versions, _VERSION_COLUMNS)
    if report.leftovers:
        echo("Leftovers in the store:")
        columns: list[Column[Leftover]] = [
            Column("kind", lambda lo: lo.kind),
            Column("folder", lambda lo: lo.folder, shrink=1),
            Column("objects", lambda lo: str(len(lo.keys)), right=True),
            Column("size", lambda lo: human_size(lo.size), right=True),
            Column("written", lambda lo: human_time(datetime.fromtimestamp(lo.modified, UTC))),
        ]
        print_table(report.leftovers, columns)
