"""The display of a run: its base, plain lines, and the texts that all displays share."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import IO, TYPE_CHECKING, NamedTuple

from rayform.authoring.signatures import UNNAMED_OUTPUT
from rayform.launching.failures import SHOWN_ERRORS
from rayform_core.terminal import printable
from rayform_runtime.catalog.entities import RunStatus, StepStatus
from rayform_runtime.execution.interface import CacheDecision, RunEvent, RunOutcome

if TYPE_CHECKING:
    from rayform_runtime.spec import PipelineSpec

__all__ = [
    "OutputKey",
    "PlainProgress",
    "Progress",
    "cache_table",
    "closing_lines",
    "duration",
    "event_lines",
]

_STEP_WORDS = {
    StepStatus.COMPLETED: "completed",
    StepStatus.CACHED: "cached",
    StepStatus.FAILED: "failed",
    StepStatus.SKIPPED: "skipped",
    StepStatus.STOPPED: "stopped",
    StepStatus.RUNNING: "started",
    StepStatus.INTERRUPTED: "interrupted",
}
_PREPOSITIONS = {StepStatus.COMPLETED: "in", StepStatus.FAILED: "after"}
"""The word before the time that a step took."""
_ENDS = frozenset(_STEP_WORDS) - {StepStatus.RUNNING}
_SHOWN_OUTPUTS = 20
_SHOWN_INSTANCES = 20
"""Instances of a mapped step that have a line each; more are only counted."""


class OutputKey(NamedTuple):
    """One output of a run: the step's key and the output's name."""

    step_key: str
    name: str


class _CachedInstances(NamedTuple):
    """Cached instances of one mapped step that share a line: the run that they come from, and how many."""

    step_key: str
    from_run: str
    number: int


def duration(seconds: float) -> str:
    """Write a time span for people: `0.23 s`, `12 s`, `3 min 5 s`, `2 h 4 min`.

    Example:
        >>> duration(0.234), duration(185)
        ('0.23 s', '3 min 5 s')
    """
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class Progress:
    """Receives a run's events. This base collects what the end of a run needs; subclasses show things.

    Args:
        spec: the pipeline.
        run_name: the run.
        stack_name: the stack that it runs on.
        out: where to write; by default standard error, so that a script's own output stays clean.
    """

    spec: PipelineSpec
    """The pipeline, or the part of it that runs; never changes."""
    run_name: str
    """Name of the run; never changes."""
    stack_name: str
    """Stack that it runs on; never changes."""
    out: IO[str]
    """Where the display writes; never changes."""
    summaries: dict[OutputKey, str]
    """One short line for each output; grows as steps end."""
    started: dict[tuple[str, int | None], float]
    """When each step, or instance of a mapped step, last started, in seconds since the epoch."""
    upstream: dict[str, set[str]]
    """Steps that each step waits for; never changes."""
    began: float
    """When the display began, in seconds since the epoch; never changes."""
    width: int
    """Characters of the longest step key; never changes."""

    def __init__(
        self, spec: PipelineSpec, run_name: str, stack_name: str, out: IO[str] | None = None
    ) -> None:
        self.spec = spec
        self.run_name = run_name
        self.stack_name = stack_name
        self.out = out or sys.stderr
        self.summaries = {}
        self.started = {}
        self.upstream = {s.key: s.upstream for s in spec.steps}
        self.began = time.time()
        self.width = max((len(s.key) for s in spec.steps), default=0)

    def __call__(self, event: RunEvent) -> None:
        """Show an event. Never raises, since a closed terminal is no reason to end a run."""
        if event.step_key is not None and event.map_index is None:
            for output, summary in event.summaries.items():
                self.summaries[OutputKey(event.step_key, output)] = summary
        seconds = event.seconds
        if event.kind == "step" and event.step_key is not None:
            instance = (event.step_key, event.map_index)
            if event.step_status is StepStatus.RUNNING:
                self.started[instance] = event.at.timestamp()
            elif seconds is None and instance in self.started:
                seconds = event.at.timestamp() - self.started[instance]
        try:
            self.show(event, seconds)
        except (OSError, ValueError):
            self.show = lambda event, seconds: None  # type: ignore[method-assign]

    def begin(self) -> None:
        """Show what starts."""

    def show(self, event: RunEvent, seconds: float | None) -> None:
        """Show one event."""

    def finish(self, outcome: RunOutcome | None) -> None:
        """Show how the run ended; `None` if an error of Rayform ended it."""

    def final_outputs(self) -> list[OutputKey]:
        """Return the outputs that the pipeline returns; if it returns none, those of its last steps."""
        outputs = [OutputKey(*output) for output in self.spec.outputs]
        if not outputs:
            upstream: set[str] = set().union(*self.upstream.values())
            last_steps = [step for step in self.spec.steps if step.key not in upstream]
            outputs = [OutputKey(step.key, output.name) for step in last_steps for output in step.outputs]
        return list(dict.fromkeys(outputs))

    def final_values(self) -> list[tuple[str, str]]:
        """Return `step` or `step.output`, and the summary, of each final output that has one."""
        return [
            (step if name == UNNAMED_OUTPUT else f"{step}.{name}", self.summaries[OutputKey(step, name)])
            for step, name in self.final_outputs()
            if (step, name) in self.summaries
        ]


class PlainProgress(Progress):
    """Plain lines, one for each event: for files, pipes and continuous integration."""

    _cached: _CachedInstances | None = None
    """Cached instances that have no line yet; written once another event comes."""
    _instances: dict[str, Counter[StepStatus]]
    """How the instances of each mapped step ended; a step leaves once its total is written."""

    def __init__(
        self, spec: PipelineSpec, run_name: str, stack_name: str, out: IO[str] | None = None
    ) -> None:
        super().__init__(spec, run_name, stack_name, out)
        self._instances = {}

    def _write(self, text: str) -> None:
        self.out.write(printable(text) + "\n")
        self.out.flush()

    def _count_cached(self, event: RunEvent) -> bool:
        """Count a cached instance of a mapped step, and return whether the event is one.

        Any other event, or an instance of another group, first writes the line of the counted group.
        """
        is_instance = event.step_status is StepStatus.CACHED and event.map_index is not None
        from_run = (event.cache.from_run if event.cache else None) or ""
        group = self._cached
        if is_instance and group and (group.step_key, group.from_run) == (event.step_key, from_run):
            self._cached = group._replace(number=group.number + 1)
            return True
        if group:
            self._cached = None
            source = f" from run {group.from_run}" if group.from_run else ""
            self._write(f"  {group.step_key:<{self.width}}  {group.number} cached{source}")
        if is_instance:
            self._cached = _CachedInstances(event.step_key or "", from_run, 1)
        return is_instance

    def begin(self) -> None:
        count = len(self.spec.steps)
        steps = "dynamic" if self.spec.is_dynamic else f"{count} step{'s' * (count != 1)}"
        self._write(f"Run {self.run_name} on stack '{self.stack_name}': {steps}")

    def show(self, event: RunEvent, seconds: float | None) -> None:
        if event.kind == "step" and event.step_key is not None:
            if event.map_index is None:
                self._close_maps(self.upstream.get(event.step_key, ()))
            elif event.step_status is not None and event.step_status in _ENDS:
                self._instances.setdefault(event.step_key, Counter())[event.step_status] += 1
        if not self._count_cached(event):
            for line in event_lines(event, seconds, self.width):
                self._write(line)

    def _close_maps(self, keys: Iterable[str]) -> None:
        """Write how the instances of mapped steps ended, unless each had a line of its own."""
        for key in keys:
            ended = self._instances.pop(key, Counter())
            if sum(ended.values()) > _SHOWN_INSTANCES and set(ended) != {StepStatus.CACHED}:
                total = ", ".join(f"{count} {status}" for status, count in sorted(ended.items()))
                self._write(f"  {key:<{self.width}}  {total}")

    def finish(self, outcome: RunOutcome | None) -> None:
        if self._cached and outcome is not None:
            self._count_cached(RunEvent("run", datetime.now(), str(outcome.run_id)))
        self._close_maps(list(self._instances))
        for line in closing_lines(self, outcome):
            self._write(line)


def event_lines(event: RunEvent, seconds: float | None, width: int) -> list[str]:
    """Write an event as lines of text; none for an event that tells the user nothing new.

    Args:
        event: the event.
        seconds: how long the step ran, if it ended.
        width: characters of the column that holds the step's name.
    """
    write = _LINES_BY_KIND.get(event.kind)
    if write is None:
        return []
    name = event.step_key or "run"
    return write(event, name if event.map_index is None else f"{name}[{event.map_index}]", seconds, width)


def _log_lines(event: RunEvent, name: str, seconds: float | None, width: int) -> list[str]:
    return [f"[{name}] {line}" for line in event.text.rstrip("\n").split("\n")]


def _step_lines(event: RunEvent, name: str, seconds: float | None, width: int) -> list[str]:
    status = event.step_status
    if status is None or status not in _STEP_WORDS:
        return []
    column = f"  {name:<{width}}  "
    index = event.map_index
    if index is not None and (index >= _SHOWN_INSTANCES or status is StepStatus.RUNNING):
        # One of many: only a failure gets a line.
        return [f"{column}failed  {event.text}".rstrip()] if status is StepStatus.FAILED else []
    note = ""
    if status is StepStatus.CACHED:
        note = f" from run {event.cache.from_run}" if event.cache and event.cache.from_run else ""
    elif seconds is not None and status in _PREPOSITIONS:
        note = f" {_PREPOSITIONS[status]} {duration(seconds)}"
    lines = [f"{column}{_STEP_WORDS[status]}{note}"]
    if status is not StepStatus.CACHED and event.text.strip():
        lines += [f"    {line}" for line in event.text.rstrip("\n").split("\n")]
    return lines


def _phase_lines(event: RunEvent, name: str, seconds: float | None, width: int) -> list[str]:
    end = " …" if event.seconds is None else f" ({duration(event.seconds)})"
    column = "" if event.step_key is None else f"{name:<{width}}  "
    return [f"  {column}{event.text}{end}"]


def _restart_lines(event: RunEvent, name: str, seconds: float | None, width: int) -> list[str]:
    return [f"  {name:<{width}}  tries again: {event.text}"]


_LINES_BY_KIND = {"log": _log_lines, "step": _step_lines, "phase": _phase_lines, "restart": _restart_lines}


def closing_lines(progress: Progress, outcome: RunOutcome | None) -> list[str]:
    """Write how a run ended: errors with the user's own tracebacks, then values of the last outputs."""
    if outcome is None:
        return []
    lines: list[str] = []
    errors = list(outcome.errors.items())[:SHOWN_ERRORS]
    for key, error in errors:
        text = error.traceback.rstrip("\n") or f"{error.type}: {error.message}"
        lines += ["", f"Step '{key}' failed:", *(f"  {line}" for line in text.split("\n"))]
    if outcome.body_error is not None:
        error = outcome.body_error
        text = error.traceback.rstrip("\n") or f"{error.type}: {error.message}"
        lines += ["", "The pipeline's body failed:", *(f"  {line}" for line in text.split("\n"))]
    if errors or outcome.body_error is not None:
        lines.append("")
    if more := len(outcome.errors) - len(errors):
        lines += [f"{more} more failed: rayform runs describe {progress.run_name}", ""]
    if outcome.status is RunStatus.RUNNING:
        return [
            *lines,
            f"Run {progress.run_name} goes on; `rayform runs follow {progress.run_name}` shows it.",
        ]
    took = duration(time.time() - progress.began)
    lines.append(f"Run {progress.run_name} {outcome.status} in {took}")
    values = progress.final_values() if outcome.status is RunStatus.COMPLETED else []
    shown = values[:_SHOWN_OUTPUTS]
    width = max((len(name) for name, _ in shown), default=0)
    lines += [f"  {name:<{width}}  {summary}" for name, summary in shown]
    if more := len(values) - len(shown):
        lines.append(f"  … and {more} more: rayform runs describe {progress.run_name}")
    return lines


def cache_table(spec: PipelineSpec, decisions: Mapping[str, CacheDecision]) -> list[str]:
    """Write why each step was, or wasn't, taken from the cache, as aligned lines."""
    rows = [("STEP", "CACHE", "WHY")]
    for step in spec.steps:
        decision = decisions.get(step.key)
        if decision is None:
            rows.append((step.key, "-", "it was not reached"))
            continue
        why = decision.reason
        if decision.from_run and decision.from_run not in why:
            why = f"{why} (run {decision.from_run})" if why else f"from run {decision.from_run}"
        if decision.changed and not all(c in why for c in decision.changed):
            why = f"{why}: {', '.join(decision.changed)}"
        rows.append((step.key, "hit" if decision.hit else "miss", why))
    key_width = max(len(r[0]) for r in rows)
    return [f"{key:<{key_width}}  {hit:<5}  {why}".rstrip() for key, hit, why in rows]
