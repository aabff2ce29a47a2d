"""A run's steps as rows, as a graph and as a timeline. The instances of a mapped step are one row and one node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from rayform_server import formats

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import Run, StepRun
    from rayform_runtime.catalog.summaries import StepSummary

__all__ = ["Bar", "Chart", "StepRow", "bars", "graph_of", "rows_of", "title"]

_ORDER = (
    "failed",
    "running",
    "retrying",
    "interrupted",
    "stopped",
    "pending",
    "skipped",
    "completed",
    "cached",
)
"""Which status a mapped step has: the first of these that an instance has."""


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of a run.

    Args:
        key: its key in the pipeline.
        spec: the step in the traced pipeline; empty if that can't be read.
        is_mapped: whether it runs once for each element of a list.
        upstream: keys of the steps that it waits for.
        summaries: its step runs by status; several for a mapped step.
    """

    key: str
    spec: Mapping[str, object] = field(default_factory=dict)
    is_mapped: bool = False
    upstream: tuple[str, ...] = ()
    summaries: list[StepSummary] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How many step runs have each status."""
        return {each.status: each.count for each in self.summaries}

    @property
    def total(self) -> int:
        """How many step runs it has."""
        return sum(each.count for each in self.summaries)

    @property
    def status(self) -> str:
        """The status of the step."""
        counts = self.counts
        return next((status for status in _ORDER if status in counts), "pending")

    @property
    def ended(self) -> int:
        """How many of its step runs ended."""
        return sum(each.ended for each in self.summaries)

    @property
    def started_at(self) -> datetime | None:
        """When its first step run began."""
        return min((each.started_at for each in self.summaries if each.started_at), default=None)

    @property
    def ended_at(self) -> datetime | None:
        """When its last step run ended; `None` while one runs."""
        ends = [each.ended_at for each in self.summaries if each.ended_at is not None]
        return max(ends) if ends and self.ended == self.total else None

    @property
    def seconds(self) -> float | None:
        """How long it took, or has run."""
        return formats.took(self.started_at, self.ended_at)

    @property
    def attempts(self) -> int:
        """The most tries of a step run."""
        return max((each.attempts for each in self.summaries), default=0)


def title(step: StepRun) -> str:
    """Return a step run's key; for an instance of a mapped step, with its index."""
    return step.key if step.map_index is None else f"{step.key}[{step.map_index}]"


def rows_of(run: Run, summaries: Sequence[StepSummary]) -> list[StepRow]:
    """Return a run's steps in the order of the pipeline, also those that haven't started."""
    rows: dict[str, StepRow] = {}
    specs = run.spec.get("steps")
    for spec in specs if isinstance(specs, list) else []:
        if isinstance(spec, Mapping) and isinstance(spec.get("key"), str):
            key: str = spec["key"]
            upstream, is_mapped = _upstream(spec)
            rows[key] = StepRow(key, spec, is_mapped, upstream)
    for each in summaries:
        if each.key not in rows:
            rows[each.key] = StepRow(each.key, is_mapped=each.is_mapped)
        rows[each.key].summaries.append(each)
    return list(rows.values())


def _upstream(spec: Mapping[str, object]) -> tuple[tuple[str, ...], bool]:
    """Return the keys that a step waits for, and whether it is mapped. A spec of any version can be read."""
    after = spec.get("after")
    keys = dict.fromkeys(key for key in (after if isinstance(after, list) else []) if isinstance(key, str))
    is_mapped = False

    def walk(value: object) -> None:
        nonlocal is_mapped
        if isinstance(value, Mapping):
            if value.get("kind") in ("step", "map") and isinstance(value.get("step"), str):
                keys[value["step"]] = None
                is_mapped |= value["kind"] == "map"
            elif value.get("kind") not in ("value", "parameter"):
                for part in value.values():
                    walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(spec.get("inputs"))
    conditions = spec.get("conditions")
    for condition in conditions if isinstance(conditions, list) else []:
        if isinstance(condition, Mapping) and isinstance(condition.get("step"), str):
            keys[condition["step"]] = None
    return tuple(keys), is_mapped


def graph_of(run: Run, rows: Sequence[StepRow], link: Callable[[StepRow], str]) -> dict[str, object]:
    """Return the nodes and edges of a run's graph as JSON."""
    keys = {row.key for row in rows}
    return {
        "running": not run.status.is_finished,
        "nodes": [
            {
                "id": row.key,
                "label": row.key,
                "status": row.status,
                "symbol": formats.symbol(row.status),
                "detail": _detail(row),
                "done": row.ended / row.total if row.is_mapped and row.total else None,
                "href": link(row),
            }
            for row in rows
        ],
        "edges": [[source, row.key] for row in rows for source in row.upstream if source in keys],
    }


def _detail(row: StepRow) -> str:
    parts = [row.status]
    if row.is_mapped and row.total:
        parts = [f"{row.ended:,} of {row.total:,}"] + [
            f"{count:,} {status}" for status, count in row.counts.items() if status == "failed"
        ]
    if row.seconds is not None and row.status not in ("cached", "skipped"):
        parts.append(formats.duration(row.seconds))
    return " · ".join(parts)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a timeline, in thousandths of its width: waiting for a place, then running."""

    label: str
    status: str
    waited: tuple[float, float]
    ran: tuple[float, float]
    text: str
    key: str
    index: int | None


@dataclass(frozen=True, slots=True)
class Chart:
    """A timeline: bars, the marks below them, and how many bars were left out."""

    bars: list[Bar]
    marks: list[tuple[float, str]]
    omitted: int


def bars(run: Run, rows: Sequence[StepRow], steps: Sequence[StepRun]) -> Chart:
    """Return when step runs waited and ran, in the order in which they began."""
    begin = run.started_at or run.created_at
    ends = {row.key: row.ended_at for row in rows}
    last: datetime | None = None
    if run.status.is_finished:
        last = max([at for at in (*ends.values(), run.ended_at) if at is not None], default=None)
    whole = max(formats.took(begin, last) or 0.0, 0.001)

    def at(moment: datetime) -> float:
        return min(max((moment - begin).total_seconds() / whole, 0.0), 1.0) * 1000

    by_key = {row.key: row for row in rows}
    chart = []
    for step in steps:
        if step.started_at is None:
            continue
        upstream = by_key[step.key].upstream if step.key in by_key else ()
        ready = max([done for key in upstream if (done := ends.get(key)) is not None], default=begin)
        ready = min(ready, step.started_at)
        start, end = at(step.started_at), 1000.0 if step.ended_at is None else at(step.ended_at)
        seconds = formats.took(step.started_at, step.ended_at)
        wait = (step.started_at - ready).total_seconds()
        text = f"{step.status.value}, {formats.duration(seconds)}" + (
            f", waited {formats.duration(wait)}" if wait >= 0.05 else ""
        )
        chart.append(
            Bar(
                title(step),
                step.status.value,
                (at(ready), max(start - at(ready), 0.0)),
                (start, max(end - start, 2.0)),
                text,
                step.key,
                step.map_index,
            )
        )
    marks = [(part * 250.0, formats.duration(whole * part / 4)) for part in range(5)]
    return Chart(chart, marks, max(sum(row.total for row in rows) - len(chart), 0))
