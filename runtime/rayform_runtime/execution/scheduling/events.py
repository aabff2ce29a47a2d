"""Makes the events of one run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from rayform_runtime.catalog.entities import RunStatus, StepError, StepStatus
from rayform_runtime.execution.interface import CacheDecision, RunEvent, StepResult
from rayform_runtime.execution.scheduling.graph import Instance, Node

__all__ = ["RunEvents", "error_text", "seconds_of"]


class RunEvents:
    """Makes the events of one run.

    Args:
        run_id: the run.
    """

    def __init__(self, run_id: UUID) -> None:
        self._run_id = str(run_id)

    def of_run(self, status: RunStatus) -> RunEvent:
        """Return the event that the run's status has changed."""
        return RunEvent("run", datetime.now(UTC), self._run_id, run_status=status)

    def of_node(self, node: Node, status: StepStatus, text: str) -> RunEvent:
        """Return the event that a step as a whole, not one of its instances, has ended."""
        return RunEvent(
            "step", datetime.now(UTC), self._run_id, step_key=node.key, step_status=status, text=text
        )

    def of_step(
        self,
        instance: Instance,
        status: StepStatus,
        *,
        text: str = "",
        seconds: float | None = None,
        cache: CacheDecision | None = None,
        summaries: Mapping[str, str] | None = None,
    ) -> RunEvent:
        """Return the event that an instance's status has changed."""
        return RunEvent(
            "step",
            datetime.now(UTC),
            self._run_id,
            step_key=instance.node.key,
            map_index=instance.map_index,
            step_status=status,
            text=text,
            seconds=seconds,
            cache=cache,
            summaries=summaries or {},
        )

    def of_restart(self, instance: Instance, text: str) -> RunEvent:
        """Return the event that an instance is tried again."""
        return RunEvent(
            "restart",
            datetime.now(UTC),
            self._run_id,
            step_key=instance.node.key,
            map_index=instance.map_index,
            text=text,
        )


def error_text(error: StepError | None) -> str:
    """Return an error as one line; empty for none."""
    return "" if error is None else f"{error.type}: {error.message}"


def seconds_of(result: StepResult) -> float | None:
    """Return how long a step took by its worker's clock, if the worker says so."""
    if result.started_at is None or result.ended_at is None:
        return None
    return (result.ended_at - result.started_at).total_seconds()
