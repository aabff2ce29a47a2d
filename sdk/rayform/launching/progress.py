"""Shows a run while it goes on: a live list of steps on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from rayform.launching.failures import SHOWN_ERRORS
from rayform_runtime.catalog.entities import RunStatus, StepStatus
from rayform_runtime.execution.interface import CacheDecision, RunEvent, RunOutcome

if TYPE_CHECKING:
    from rayform_runtime.spec import PipelineSpec

__all__ = ["PlainProgress", "Progress", "cache_table", "duration", "progress_for"]

_STEP_WORDS = {
    StepStatus.COMPLETED: "completed",
    StepStatus.CACHED: "cached",
    StepStatus.FAILED: "failed",
    StepStatus.SKIPPED: "skipped",
    StepStatus.STOPPED: "stopped",
    StepStatus.RUNNING: "started",
    StepStatus.INTERRUPTED: "interrupted",
}
_ENDS = frozenset(_STEP_WORDS) - {StepStatus.RUNNING}
_SHOWN_OUTPUTS = 20
_SHOWN_INSTANCES = 20
"""Instances of a mapped step that are named one by one; more are only counted."""


def duration(seconds: float) -> str:
    """Write a time span for people: `0.2 s`, `12 s`, `3 min 5 s`, `2 h 4 min`.

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
    """Gets a run's events. The base collects what the end of a run needs; subclasses show things.

    Args:
        spec: the pipeline.
        run_name: the run.
        stack_name: the stack that it runs on.
        out: where to write; standard error unless told, so that a script's own output stays clean.
    """

    def __init__(
        self, spec: PipelineSpec, run_name: str, stack_name: str, out: IO[str] | None = None
    ) -> None:
        self.spec = spec
        self.run_name = run_name
        self.stack_name = stack_name
        self.out = out or sys.stderr
        self.summaries: dict[tuple[str, str], str] = {}
        self.started: dict[tuple[str, int | None], float] = {}
        self.upstream = {s.key: s.upstream for s in spec.steps}
        self.began = time.time()
        self.width = max((len(s.key) for s in spec.steps), default=0)

    def __call__(self, event: RunEvent) -> None:
        """Take an event; never raises, since a closed terminal is no reason to end a run."""
        if event.step_key is not None and event.map_index is None:
            for output, summary in event.summaries.items():
                self.summaries[event.step_key, output] = summary
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
        """Say what starts."""

    def show(self, event: RunEvent, seconds: float | None) -> None:
        """Show one event."""

    def finish(self, outcome: RunOutcome | None) -> None:
        """Say how it ended; `None` where it ended by an error of Rayform's own."""

    def final_outputs(self) -> list[tuple[str, str]]:
        """Return step key and output name of what the pipeline returns, or else of its last steps."""
        wanted = [(key, output) for key, output in self.spec.outputs]
        if not wanted:
            fed = {key for step in self.spec.steps for key in step.upstream}
            wanted = [(s.key, o.name) for s in self.spec.steps if s.key not in fed for o in s.outputs]
        return list(dict.fromkeys(wanted))

    def final_values(self) -> list[tuple[str, str]]:
        """Return `step.output` and a summary of each final output that has one."""
        return [
            (key if output == "output" else f"{key}.{output}", self.summaries[key, output])
            for key, output in self.final_outputs()
            if (key, output) in self.summaries
        ]


class PlainProgress(Progress):
    """Plain lines, one an event: for files, pipes and continuous integration."""

    _cached: tuple[str, str, int] | None = None
    """A mapped step whose cached instances are being counted: key, earlier run, how many."""

    def __init__(
        self, spec: PipelineSpec, run_name: str, stack_name: str, out: IO[str] | None = None
    ) -> None:
        super().__init__(spec, run_name, stack_name, out)
        self._instances: dict[str, Counter[StepStatus]] = {}

    def _write(self, text: str) -> None:
        self.out.write(text + "\n")
        self.out.flush()

    def _count_cached(self, event: RunEvent) -> bool:
        """Count a cached instance of a mapped step instead of giving it a line of its own."""
        is_instance = event.step_status is StepStatus.CACHED and event.map_index is not None
        counted = self._cached
        earlier = (event.cache.from_run if event.cache else None) or ""
        if is_instance and counted and counted[:2] == (event.step_key, earlier):
            self._cached = (*counted[:2], counted[2] + 1)
            return True
        if counted:
            self._cached = None
            key, run, count = counted
            self._write(f"  {key:<{self.width}}  {count} cached" + (f" from run {run}" if run else ""))
        if is_instance:
            self._cached = (event.step_key or "", earlier, 1)
        return is_instance

    def begin(self) -> None:
        count = len(self.spec.steps)
        steps = f"{count} step{'s' * (count != 1)}"
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
        """Say how the instances of mapped steps ended, where not each had a line of its own."""
        for key in keys:
            ended = self._instances.pop(key, Counter())
            if sum(ended.values()) > _SHOWN_INSTANCES and set(ended) != {StepStatus.CACHED}:
                said = ", ".join(f"{count} {status}" for status, count in sorted(ended.items()))
                self._write(f"  {key:<{self.width}}  {said}")

    def finish(self, outcome: RunOutcome | None) -> None:
        if self._cached and outcome is not None:
            self._count_cached(RunEvent("run", datetime.now(), str(outcome.run_id)))
        self._close_maps(list(self._instances))
        for line in closing_lines(self, outcome):
            self._write(line)


def event_lines(event: RunEvent, seconds: float | None, width: int) -> list[str]:
    """Write an event as lines of text; none for what says nothing new."""
    name = event.step_key or "run"
    if event.map_index is not None:
        name = f"{name}[{event.map_index}]"
    if event.kind == "log":
        return [f"[{name}] {line}" for line in event.text.rstrip("\n").split("\n")]
    if event.kind == "step" and event.step_status is not None:
        if event.map_index is not None and (
            event.map_index >= _SHOWN_INSTANCES
            or event.step_status in (StepStatus.RUNNING, StepStatus.PENDING)
        ):
            if not event.step_status.is_successful and event.step_status is StepStatus.FAILED:
                return [f"  {name:<{width}}  failed  {event.text}".rstrip()]
            return []
        word = _STEP_WORDS.get(event.step_status)
        if word is None:
            return []
        parts = [f"  {name:<{width}}  {word}"]
        if event.step_status is StepStatus.COMPLETED and seconds is not None:
            parts.append(f"in {duration(seconds)}")
        elif event.step_status is StepStatus.FAILED and seconds is not None:
            parts.append(f"after {duration(seconds)}")
        elif event.step_status is StepStatus.CACHED and event.cache and event.cache.from_run:
            parts.append(f"from run {event.cache.from_run}")
        lines = [" ".join(parts)]
        if event.step_status is not StepStatus.CACHED and event.text.strip():
            lines += [f"    {line}" for line in event.text.rstrip("\n").split("\n")]
        return lines
    if event.kind == "phase":
        ended = f" ({duration(event.seconds)})" if event.seconds is not None else " …"
        whose = f"{name:<{width}}  " if event.step_key is not None else ""
        return [f"  {whose}{event.text}{ended}"]
    if event.kind == "restart":
        return [f"  {name:<{width}}  tries again: {event.text}"]
    return []


def closing_lines(progress: Progress, outcome: RunOutcome | None) -> list[str]:
    """Write how a run ended: errors with the person's own tracebacks, then values of the last outputs."""
    if outcome is None:
        return []
    lines: list[str] = []
    told = list(outcome.errors.items())[:SHOWN_ERRORS]
    for key, error in told:
        lines.append("")
        lines.append(f"Step '{key}' failed:")
        text = error.traceback.rstrip("\n") or f"{error.type}: {error.message}"
        lines += [f"  {line}" for line in text.split("\n")]
    if outcome.errors:
        lines.append("")
    if more := len(outcome.errors) - len(told):
        lines += [f"{more} more failed: rayform runs describe {progress.run_name}", ""]
    if outcome.status is RunStatus.RUNNING:
        return [
            *lines,
            f"Run {progress.run_name} goes on; `rayform runs follow {progress.run_name}` shows it.",
        ]
    took = duration(time.time() - progress.began)
    lines.append(f"Run {progress.run_name} {outcome.status} in {took}")
    outputs = progress.final_values() if outcome.status is RunStatus.COMPLETED else []
    shown = outputs[:_SHOWN_OUTPUTS]
    width = max((len(name) for name, _ in shown), default=0)
    lines += [f"  {name:<{width}}  {summary}" for name, summary in shown]
    if len(outputs) > len(shown):
        lines.append(f"  … and {len(outputs) - len(shown)} more: rayform runs describe {progress.run_name}")
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


def progress_for(spec: PipelineSpec, run_name: str, stack_name: str, out: IO[str] | None = None) -> Progress:
    """Return what shows a run: silent for `RAYFORM_PROGRESS=off`, live on a terminal, else plain lines."""
    terminal = out or sys.stderr
    wanted = os.environ.get("RAYFORM_PROGRESS", "auto").lower()
    if wanted in ("off", "none", "0", "quiet"):
        return Progress(spec, run_name, stack_name, terminal)
    dumb = os.environ.get("TERM", "") in ("", "dumb")
    if wanted == "plain" or (wanted != "live" and (dumb or not terminal.isatty())):
        return PlainProgress(spec, run_name, stack_name, terminal)
    from rayform.launching.live_progress import LiveProgress

    live: Any = LiveProgress(spec, run_name, stack_name, terminal)
    assert isinstance(live, Progress)
    return live
