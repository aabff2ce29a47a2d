"""Which failed steps are tried again, and when."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple

from rayform_runtime.catalog.entities import StepStatus
from rayform_runtime.execution.interface import StepResult
from rayform_runtime.execution.scheduling.graph import Instance

__all__ = ["Retries", "will_retry"]


class _Retry(NamedTuple):
    due: float
    number: int
    """Orders retries that are due at the same moment."""
    instance: Instance


class Retries:
    """The instances that wait for their next try.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heap: list[_Retry] = []
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._heap)

    def add(self, instance: Instance) -> float:
        """Let a failed instance wait for its next try; return how many seconds."""
        policy = instance.node.spec.retry
        delay = policy.delay * policy.backoff ** (instance.tries - 1)
        self._count += 1
        heapq.heappush(self._heap, _Retry(self._clock() + delay, self._count, instance))
        return delay

    def due_in(self) -> float | None:
        """Return in how many seconds the next try is due; `None` if no instance waits."""
        return self._heap[0].due - self._clock() if self._heap else None

    def take_due(self) -> list[Instance]:
        """Return the instances whose next try is due; they wait no more."""
        due = []
        while self._heap and self._heap[0].due <= self._clock():
            due.append(heapq.heappop(self._heap).instance)
        return due


def will_retry(instance: Instance, result: StepResult) -> bool:
    """Whether a result is a failure after which the instance is tried again."""
    failed = result.status is StepStatus.FAILED and result.retryable
    return failed and instance.tries <= instance.node.spec.retry.max_retries
