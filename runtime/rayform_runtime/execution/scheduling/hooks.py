"""Calls the hooks that no step's worker can call: those of the run, and of a step whose worker died."""

from __future__ import annotations

from uuid import UUID

from rayform_runtime.execution.interface import Executor
from rayform_runtime.execution.scheduling.graph import Instance
from rayform_runtime.execution.scheduling.tasks import TaskMaker
from rayform_runtime.spec import SourceRef

__all__ = ["Hooks"]


class Hooks:
    """The hooks that are running. The catalog has no record of them, and their failure changes nothing.

    Args:
        executor: runs them.
        tasks: makes their tasks.
    """

    def __init__(self, executor: Executor, tasks: TaskMaker) -> None:
        self._executor = executor
        self._tasks = tasks
        self._running: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._running)

    def call(
        self, hook: SourceRef, error: str | None, dead: Instance | None = None, model: UUID | None = None
    ) -> None:
        """Call a hook in a worker without waiting for it.

        Args:
            hook: the hook.
            error: a message to pass, if it isn't `None`.
            dead: the step whose worker died and whose hook it is.
            model: the model version of that step.
        """
        task = self._tasks.of_hook(hook, error, dead, model)
        self._running.add(task.step_run_id)
        self._executor.submit(task)

    def end(self, step_run_id: str) -> None:
        """Forget a hook that has ended. IDs of steps are ignored."""
        self._running.discard(step_run_id)
