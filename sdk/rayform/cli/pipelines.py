"""`rayform pipeline`: the pipelines that have runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from rayform.cli import LazyGroup
from rayform.cli.names import pipeline_names
from rayform.cli.options import confirm, list_options, opened_client, stack_option, yes_option
from rayform.cli.output import (
    Column,
    as_json,
    emit_list,
    human_duration,
    human_time,
    json_option,
    plain,
    print_pairs,
    print_table,
)

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import Query

__all__ = ["pipeline"]


@click.group(cls=LazyGroup, table={})
def pipeline() -> None:
    """List and describe pipelines."""


_COLUMNS: list[Column] = [
    Column("last status", lambda p: _status(p)),
    Column("pipeline", lambda p: p["name"], shrink=1),
    Column("runs", lambda p: str(p["runs"]), right=True),
    Column("last run", lambda p: str(p["last_run"] or "-"), shrink=2),
]


def _status(record: Mapping[str, Any]) -> str:
    return str(plain(record["last_status"]) or "-")


@pipeline.command("list")
@list_options
@stack_option
@json_option
def list_(query: Query, stack: str | None, json_wanted: bool) -> None:
    """List the pipelines that have runs."""
    with opened_client(stack) as client:
        found = client.catalog.list_pipelines(query)
    emit_list(
        found.items,
        _COLUMNS,
        json_wanted=json_wanted,
        total=found.total,
        page=found.page,
        size=found.size,
        empty="No pipelines have run.",
    )


@pipeline.command()
@click.argument("name", shell_complete=pipeline_names)
@stack_option
@json_option
def describe(name: str, stack: str | None, json_wanted: bool) -> None:
    """Show a pipeline: its steps as they last were, and its newest runs."""
    with opened_client(stack) as client:
        found = client.get_pipeline(name)
        newest = found.get_runs(size=10)
        spec = newest[0].config if newest else {}
    steps = spec.get("steps", [])
    if json_wanted:
        listed = [{"id": r.id, "name": r.name, "status": r.status, "created_at": r.created} for r in newest]
        as_json({**dict(found.record), "steps": steps, "newest_runs": listed})
        return
    print_pairs(
        [
            ("pipeline", found.name),
            ("runs", str(found.record["runs"])),
            ("source", _source(spec)),
            ("steps", "\n".join(_step_line(step) for step in steps)),
        ]
    )
    click.echo()
    columns = [
        Column("status", lambda run: run.status.value),
        Column("run", lambda run: run.name, shrink=1),
        Column("started", lambda run: human_time(run.start_time)),
        Column("took", lambda run: human_duration(run.start_time, run.end_time), right=True),
    ]
    print_table(list(newest), columns)


def _source(spec: Mapping[str, Any]) -> str:
    source = spec.get("source") or {}
    return f"{source.get('module')}:{source.get('qualname')}" if source else ""


def _step_line(step: Mapping[str, Any]) -> str:
    above = {i["step"] for i in step.get("inputs", {}).values() if "step" in i} | set(step.get("after", ()))
    return str(step["key"]) + (f"  (after {', '.join(sorted(above))})" if above else "")


@pipeline.command()
@click.argument("name", shell_complete=pipeline_names)
@yes_option
@stack_option
def delete(name: str, yes: bool, stack: str | None) -> None:
    """Delete all runs of a pipeline; its artifacts stay."""
    with opened_client(stack) as client:
        found = client.get_pipeline(name)
        confirm(f"Delete all {found.record['runs']} runs of pipeline '{name}'?", yes=yes)
        count = client.delete_pipeline(name)
        click.echo(f"{count} runs of pipeline '{name}' are deleted.")
