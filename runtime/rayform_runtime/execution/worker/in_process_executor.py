"""Runs tasks in the scheduler's own process, one after another, so that a debugger can be attached."""

from __future__ import annotations

import sys
from collections import deque
from datetime import UTC, datetime

from rayform_runtime.catalog.entities import StepStatus
from rayform_runtime.components import Stack
from rayform_runtime.execution.interface import Executor, RunEvent, StepResult, Task
from rayform_runtime.execution.worker.step_runner import run_step
from rayform_runtime.spec import PipelineSpec
from rayform_runtime.usercode.program import as_program

__all__ = ["InProcessExecutor"]


class InProcessExecutor(Executor):
    """Runs each task inside `wait`, on the calling thread, with the terminal as it is.

    Resources, timeouts and environments of steps have no effect here.

    Args:
        stack: the one that the scheduler uses.
    """

    runs_beside_scheduler = False

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._queue: deque[Task] = deque()
        self._out: list[Task | StepResult | RunEvent] = []

    def check(self, spec: PipelineSpec) -> None:
        """Accept every pipeline: resources have no effect here."""

    def submit(self, task: Task) -> None:
        self._queue.append(task)

    def wait(self, timeout: float) -> list[Task | StepResult | RunEvent]:
        if self._queue and not self._out:
            task = self._queue.popleft()
            with as_program(task.pipeline.program):
                result = run_step(task, self._stack)
            sys.stdout.flush()
            self._out += [task, result]
        out, self._out = self._out, []
        return out

    def cancel(self, step_run_id: str) -> None:
        for task in list(self._queue):
            if task.step_run_id == step_run_id:
                self._queue.remove(task)
                self._out.append(StepResult(step_run_id, StepStatus.STOPPED, ended_at=datetime.now(UTC)))

    def close(self, *, kill: bool = False) -> None:
        self._queue.clear()
