"""Runs or model versions side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from rayform_core.errors import UsageError
from rayform_server import context, formats
from rayform_server.pages.artifacts import curves_of

__all__ = ["models", "runs"]

_MOST = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a comparison: the value of each column, and which are the largest and the smallest number."""

    key: str
    cells: list[str]
    highest: int | None
    lowest: int | None

    @property
    def differs(self) -> bool:
        """Whether not all columns have the same value."""
        return len(set(self.cells)) > 1


def _rows(columns: Sequence[Mapping[str, object]]) -> list[Row]:
    rows = []
    for key in dict.fromkeys(key for column in columns for key in column):
        cells = [formats.short(column[key], 120) if key in column else "–" for column in columns]
        numbers = {
            index: float(value)
            for index, column in enumerate(columns)
            if isinstance(value := column.get(key), int | float) and not isinstance(value, bool)
            if math.isfinite(value)
        }
        spread = len(numbers) > 1 and max(numbers.values()) > min(numbers.values())
        rows.append(
            Row(
                key,
                cells,
                max(numbers, key=lambda index: numbers[index]) if spread else None,
                min(numbers, key=lambda index: numbers[index]) if spread else None,
            )
        )
    return rows


def runs(request: Request) -> Response:
    """Show the parameters, metadata and durations of runs side by side."""
    client = context.client_of(request)
    refs = request.query_params.getlist("run")[:_MOST]
    if len(refs) < 2:
        raise UsageError("Choose at least two runs to compare.", hint="Mark them in the list of runs.")
    records = [client.catalog.get_run(ref) for ref in refs]
    facts: list[dict[str, object]] = []
    for run in records:
        seconds = formats.took(run.started_at, run.ended_at) if run.ended_at else None
        facts.append(
            {"status": run.status.value, **({} if seconds is None else {"seconds": round(seconds, 2)})}
        )
    tables = [
        ("Result", _rows(facts)),
        ("Parameters", _rows([run.parameters for run in records])),
        ("Metadata", _rows([run.metadata for run in records])),
        ("Code", _rows([run.code for run in records])),
    ]
    return context.page(
        request,
        "compare_runs.html",
        runs=records,
        tables=[(name, rows) for name, rows in tables if rows],
    )


def models(request: Request) -> Response:
    """Show the metadata of a model's versions side by side."""
    client = context.client_of(request)
    name = request.query_params.get("name", "")
    wanted = request.query_params.getlist("v")[:_MOST]
    if len(wanted) < 2:
        raise UsageError("Choose at least two versions to compare.", hint="Mark them on the model's page.")
    versions = [client.catalog.get_model_version(name, version) for version in wanted]
    return context.page(
        request,
        "compare_models.html",
        name=name,
        versions=versions,
        rows=_rows([each.metadata for each in versions]),
        curves=curves_of([(each.version, each.metadata) for each in versions]),
    )
