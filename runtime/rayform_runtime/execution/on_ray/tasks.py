"""The tasks that an executor has submitted to Ray, and the present attempt of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rayform_runtime.execution.interface import RunEvent, StepResult, Task
from rayform_runtime.execution.on_ray.messages import Started

if TYPE_CHECKING:
    from ray import ObjectRef

__all__ = ["Attempt", "Outcome", "RunningTask"]

_END_OF_LINES = 1.0
"""Seconds that a result waits for lines that the step printed and that haven't arrived."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Ray brought back for an attempt.

    Args:
        result: the step's result; `None` if Ray raised an error.
        messages: how many messages with output the worker has sent; `None` if Ray raised an error.
        error: what Ray raised instead.
    """

    result: StepResult | None = None
    messages: int | None = None
    error: BaseException | None = None


@dataclass(slots=True)
class Attempt:
    """One try of a task. A try after a lost worker is a new `Attempt`."""

    number: int
    """1 for the first try; never changes."""
    ref: ObjectRef[bytes]
    """Ray's handle of the task; never changes."""
    submitted: float
    """When Ray got the task, on the monotonic clock; never changes."""
    started: float | None = None
    """When the worker began, on the monotonic clock; set by the worker's message, or else by the outcome."""
    connection: int | None = None
    """Number of the worker's connection; set by the worker's first message."""
    worker: Started | None = None
    """Where the worker runs; set by its first message."""
    messages: int = 0
    """How many messages with output have arrived."""
    output_ended: bool = False
    """Whether no more output can arrive; set by the worker's last message or the end of its connection."""
    exit_code: int | None = None
    """The code with which the step ends its own process; set by the worker's message about it."""
    outcome: Outcome | None = None
    """What Ray brought back; set once."""
    outcome_at: float = 0.0
    """When the executor got the outcome, on the monotonic clock; set with it."""

    def awaits_output(self, now: float) -> bool:
        """Whether an attempt with an outcome should wait for output that is still on its way."""
        if self.outcome is None or self.output_ended or now - self.outcome_at >= _END_OF_LINES:
            return False
        if self.outcome.messages is None:
            return self.worker is not None
        return self.messages < self.outcome.messages


@dataclass(slots=True)
class RunningTask:
    """A task from its submission to its result."""

    task: Task
    """What to run; never changes."""
    resources: Mapping[str, float]
    """What the step asks for, by Ray's names; never changes."""
    attempt: Attempt
    """The present try; replaced when a worker or node is lost."""
    node_losses: int = 0
    """How many tries ended with their node."""
    process_deaths: int = 0
    """How many tries ended with their worker process."""
    announced: bool = False
    """Whether the scheduler knows that the step has started; set with the first try."""
    cancelled: bool = False
    """Whether the scheduler has cancelled the task."""
    timed_out: bool = False
    """Whether the step was stopped because its time was up."""
    waiting_for: str | None = None
    """What the queued step waits for, in words, if that has been reported; reset when it starts or stops."""

    @property
    def step_run_id(self) -> str:
        """ID of the step run."""
        return self.task.step_run_id

    @property
    def key(self) -> str:
        """Key of the step, which all instances of a mapped step share."""
        return self.task.step.key

    def event(self, kind: str, text: str) -> RunEvent:
        """Return an event of this instance of the step."""
        task = self.task
        return RunEvent(
            kind=kind,
            at=datetime.now(UTC),
            run_id=task.run_id,
            step_key=self.key,
            map_index=task.map_index,
            text=text,
        )

    def phase(self, text: str, seconds: float | None = None) -> RunEvent:
        """Return a phase of the whole step: a mapped step reports it once, not once an instance."""
        return self.event("phase", text)._replace(map_index=None, seconds=seconds)
