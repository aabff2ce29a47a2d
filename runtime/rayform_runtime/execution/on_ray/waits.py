"""What queued steps wait for, reported once a step: a mapped step may have thousands of instances."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rayform_runtime.cluster.machine.node_groups import NodeGroup
from rayform_runtime.execution.interface import RunEvent
from rayform_runtime.execution.on_ray.nodes import ClusterView
from rayform_runtime.execution.on_ray.placement import waiting_for
from rayform_runtime.execution.on_ray.tasks import RunningTask

__all__ = ["QueueReports", "StepWaits"]

_PLACEMENT_NOTICE = 2.0
"""Seconds that a step may be queued before that is reported."""


@dataclass(slots=True)
class _Wait:
    since: float
    instances: set[str] = field(default_factory=set)


class StepWaits:
    """Waits by step and reason; one begins with its first instance and ends with its last.

    Example:
        >>> waits = StepWaits()
        >>> waits.begin("train", "for a GPU", "first", 10.0), waits.begin("train", "for a GPU", "second", 11.0)
        (True, False)
        >>> waits.end("train", "for a GPU", "first"), waits.end("train", "for a GPU", "second")
        (None, 10.0)
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], _Wait] = {}

    def begin(self, step_key: str, text: str, instance: str, since: float) -> bool:
        """Note that an instance waits; return whether it is the first of its step for this reason.

        Args:
            step_key: the step.
            text: what for, in words.
            instance: identifies this instance among the step's others.
            since: when it was submitted, on any clock.
        """
        is_first = (step_key, text) not in self._open
        wait = self._open.setdefault((step_key, text), _Wait(since))
        wait.since = min(wait.since, since)
        wait.instances.add(instance)
        return is_first

    def end(self, step_key: str, text: str, instance: str) -> float | None:
        """Note that an instance waits no longer; return since when the step waited, if it was the last."""
        wait = self._open[step_key, text]
        wait.instances.discard(instance)
        if wait.instances:
            return None
        del self._open[step_key, text]
        return wait.since


class QueueReports:
    """Reports what queued tasks wait for, as phases of their steps.

    Args:
        view: the cluster's nodes.
        groups: worker groups that the cluster's autoscaler may grow.
    """

    def __init__(self, view: ClusterView, groups: Sequence[NodeGroup]) -> None:
        self._view = view
        self._groups = groups
        self._waits = StepWaits()

    def begin(self, tasks: Iterable[RunningTask], now: float) -> list[RunEvent]:
        """Return a phase for each step that has been queued for a while and isn't reported yet.

        Args:
            tasks: all tasks of the executor.
            now: the monotonic clock.
        """
        phases: list[RunEvent] = []
        texts: dict[str, str] = {}
        for running in tasks:
            attempt = running.attempt
            is_queued = attempt.started is None and attempt.outcome is None and running.waiting_for is None
            if not is_queued or now < attempt.submitted + _PLACEMENT_NOTICE:
                continue
            key = running.key
            if key not in texts:
                texts[key] = waiting_for(running.resources, self._view.nodes(), self._groups)
            running.waiting_for = texts[key]
            if self._waits.begin(key, texts[key], running.step_run_id, attempt.submitted):
                phases.append(running.phase(texts[key]))
        return phases

    def end(self, running: RunningTask) -> list[RunEvent]:
        """Note that a task waits no longer; return the end of the step's phase if it was the step's last."""
        text, running.waiting_for = running.waiting_for, None
        if text is None:
            return []
        since = self._waits.end(running.key, text, running.step_run_id)
        return [] if since is None else [running.phase(text, seconds=time.monotonic() - since)]
