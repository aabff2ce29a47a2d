"""`rayform pipeline`: the pipelines that have runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from rayform.cli import LazyGroup
from rayform.cli.names import pipeline_names
from rayform.cli.options import PageRequest, confirm, opened_client, page_options, stack_option, yes_option
from rayform.cli.output import (
    Column,
    echo,
    human_duration,
    human_time,
    json_option,
    plain,
    print_json,
    print_pairs,
    print_table,
)

if TYPE_CHECKING:
    from rayform.reading.views import RunView
    from rayform_runtime.catalog.entities import PipelineSummary

__all__ = ["pipeline"]


@click.group(cls=LazyGroup)
def pipeline() -> None:
    """List, describe and delete pipelines."""


_COLUMNS: list[Column[PipelineSummary]] = [
    Column("last status", lambda p: _status(p)),
    Column("pipeline", lambda p: p.name, shrink=1),
    Column("runs", lambda p: str(p.runs), right=True),
    Column("last run", lambda p: str(p.last_run or "-"), shrink=2),
]


def _status(record: PipelineSummary) -> str:
    return str(plain(record.last_status) or "-")


@pipeline.command("list")
@page_options
def list_(request: PageRequest) -> None:
    """List the pipelines that have runs."""
    request.emit(
        lambda catalog, query: catalog.list_pipelines(query), _COLUMNS, empty="No pipeline has run yet."
    )


@pipeline.command()
@click.argument("name", shell_complete=pipeline_names)
@stack_option
@json_option
def describe(name: str, stack: str | None, json_wanted: bool) -> None:
    """Show a pipeline: the steps of its newest run, and its newest runs."""
    with opened_client(stack) as client:
        view = client.get_pipeline(name)
        newest = view.get_runs(size=10)
        spec = newest[0].config if newest else {}
    steps = spec.get("steps", [])
    if json_wanted:
        listed = [{"id": r.id, "name": r.name, "status": r.status, "created_at": r.created} for r in newest]
        print_json({**view.summary(), "steps": steps, "newest_runs": listed})
        return
    print_pairs(
        [
            ("pipeline", view.name),
            ("runs", str(view.record.runs)),
            ("source", _source(spec)),
            ("steps", "\n".join(_step_line(step) for step in steps)),
        ]
    )
    echo()
    columns: list[Column[RunView]] = [
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
        view = client.get_pipeline(name)
        confirm(f"Delete all {view.record.runs} runs of pipeline '{name}'?", yes=yes)
        count = client.delete_pipeline(name)
        echo(f"Deleted {count} runs of pipeline '{name}'.")
