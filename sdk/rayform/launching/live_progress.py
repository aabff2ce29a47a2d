"""The live list of steps on a terminal, drawn by rich; loaded only if there is a terminal."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from rayform.launching.progress import Progress, closing_lines, duration, event_lines
from rayform_core.terminal import printable
from rayform_runtime.catalog.entities import StepStatus
from rayform_runtime.execution.interface import RunEvent, RunOutcome

if TYPE_CHECKING:
    from rayform_runtime.spec import PipelineSpec

__all__ = ["LiveProgress"]

_MARKS = {
    StepStatus.PENDING: ("·", "dim"),
    StepStatus.COMPLETED: ("✓", "green"),
    StepStatus.CACHED: ("✓", "cyan"),
    StepStatus.FAILED: ("✗", "bold red"),
    StepStatus.SKIPPED: ("-", "dim"),
    StepStatus.STOPPED: ("-", "yellow"),
    StepStatus.INTERRUPTED: ("-", "yellow"),
}
_WORST_FIRST = (
    StepStatus.FAILED,
    StepStatus.INTERRUPTED,
    StepStatus.STOPPED,
    StepStatus.SKIPPED,
    StepStatus.COMPLETED,
    StepStatus.CACHED,
)
_RUNNING = (StepStatus.RUNNING, StepStatus.RETRYING)


def _text(text: str, style: str = "") -> Text:
    """Return text with its own colours; other control characters are written out."""
    return Text.from_ansi(printable(text), style=style)


class LiveProgress(Progress):
    """Steps with their state, redrawn in place; their output scrolls above. See `Progress`."""

    console: Console
    """Writes to the terminal; never changes."""
    lock: threading.Lock
    """Held to read or change the state below, since rich draws from a thread of its own."""
    status: dict[str, StepStatus]
    """State of each step; changes with each event of a step."""
    took: dict[str, str]
    """What stands next to a step that ended: how long it took, or the run that its outputs come from."""
    instances: dict[str, dict[int, StepStatus]]
    """State of each instance of each mapped step; grows as they start."""
    phases: dict[str, float]
    """Phases that go on, such as building an image, and when each began, in seconds since the epoch."""
    spinner: Spinner
    """Mark of a running step; it turns with each redraw."""
    live: Live
    """Redraws the list from `begin` to `finish`."""

    def __init__(
        self, spec: PipelineSpec, run_name: str, stack_name: str, out: IO[str] | None = None
    ) -> None:
        super().__init__(spec, run_name, stack_name, out)
        self.console = Console(file=self.out, highlight=False, soft_wrap=True)
        self.lock = threading.Lock()
        self.status = {s.key: StepStatus.PENDING for s in spec.steps}
        self.took = {}
        self.instances = {}
        self.phases = {}
        self.spinner = Spinner("dots", style="yellow")
        self.live = Live(
            console=self.console, get_renderable=self.render, refresh_per_second=8, transient=True
        )

    def begin(self) -> None:
        count = len(self.spec.steps)
        self.console.print(
            Text.assemble(
                "Run ",
                (printable(self.run_name, colours=False), "bold"),
                f" on stack '{printable(self.stack_name, colours=False)}': {count} step{'s' * (count != 1)}",
            )
        )
        self.live.start()

    def show(self, event: RunEvent, seconds: float | None) -> None:
        if event.kind == "log":
            for line in event_lines(event, seconds, self.width):
                name, _, text = line.partition("] ")
                self.console.print(
                    Text.assemble((printable(name, colours=False) + "] ", "dim cyan"), _text(text))
                )
        elif event.kind == "restart":
            for line in event_lines(event, seconds, self.width):
                self.console.print(_text(line, "yellow"))
        elif event.kind == "phase":
            self._show_phase(event)
        elif event.kind == "step" and event.step_key is not None and event.step_status is not None:
            with self.lock:
                self._settle(self.upstream.get(event.step_key, ()))
                self._set_status(event.step_key, event.step_status, event.map_index)
                if event.step_status is StepStatus.CACHED and event.cache and event.cache.from_run:
                    self.took[event.step_key] = f"from run {event.cache.from_run}"
                elif seconds is not None and event.map_index is None:
                    self.took[event.step_key] = duration(seconds)

    def _show_phase(self, event: RunEvent) -> None:
        text = event.text if event.step_key is None else f"{event.step_key}: {event.text}"
        with self.lock:
            if event.seconds is None:
                self.phases[text] = event.at.timestamp()
            else:
                self.phases.pop(text, None)
        if event.seconds is not None:
            self.console.print(_text(f"  {text} ({duration(event.seconds)})", "dim"))

    def _set_status(self, key: str, status: StepStatus, map_index: int | None) -> None:
        if map_index is None:
            self.status[key] = status
            return
        self.instances.setdefault(key, {})[map_index] = status
        if status in _RUNNING:
            self.status[key] = StepStatus.RUNNING

    def _settle(self, keys: Iterable[str]) -> None:
        """Give mapped steps the worst state of their instances, once steps that waited for them go on."""
        for key in keys:
            states = set(self.instances.get(key, {}).values())
            if not states or states & {*_RUNNING, StepStatus.PENDING}:
                continue
            worst = next((s for s in _WORST_FIRST if s in states), StepStatus.COMPLETED)
            self.status[key] = worst

    def render(self) -> RenderableType:
        """Draw the list; rich calls it several times a second from its own thread."""
        now = time.time()
        with self.lock:
            lines: list[RenderableType] = [
                _text(f"{text} … {duration(now - since)}", "yellow") for text, since in self.phases.items()
            ]
            return Group(*lines, self._table(now, max(4, self.console.height - 4 - len(lines))))

    def _table(self, now: float, room: int) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        shown = self._shown(room)
        for key in shown:
            status = self.status[key]
            began = self.started.get((key, None))
            if status in _RUNNING:
                mark: RenderableType = self.spinner
                note = duration(now - began) if began is not None else ""
            else:
                sign, style = _MARKS[status]
                mark, note = Text(sign, style), self.took.get(key, "")
            if key in self.instances:
                totals = Counter(self.instances[key].values())
                note = (
                    ", ".join(f"{count} {status}" for status, count in sorted(totals.items())) + f"  {note}"
                )
            table.add_row(mark, _text(key, "bold" if status in _RUNNING else ""), _text(note, "dim"))
        if len(shown) < len(self.status):
            totals = Counter(self.status.values())
            table.add_row("", Text("…"), Text(", ".join(f"{n} {s}" for s, n in totals.items()), "dim"))
        return table

    def _shown(self, room: int) -> list[str]:
        """Return the steps that fit: running ones first, then failed, then waiting, then those that ended last."""
        if len(self.status) <= room:
            return list(self.status)
        running, failed, waiting, ended = [], [], [], []
        for key, status in self.status.items():
            if status in _RUNNING:
                running.append(key)
            elif status is StepStatus.FAILED:
                failed.append(key)
            elif status is StepStatus.PENDING:
                waiting.append(key)
            else:
                ended.append(key)
        fitting = set((running + failed + waiting[:3] + ended[::-1] + waiting[3:])[: room - 1])
        return [key for key in self.status if key in fitting]

    def finish(self, outcome: RunOutcome | None) -> None:
        self.live.stop()
        if self.status:
            with self.lock:
                self._settle(self.instances)
                self.console.print(self._table(time.time(), 40))
        for line in closing_lines(self, outcome):
            failed = outcome is not None and outcome.errors and line.startswith("Step '")
            self.console.print(_text(line, "bold red" if failed else ""))
