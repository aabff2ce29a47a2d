"""Finds out why Ray lost a task: from its exception, its raylets, the node and the step's container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from rayform_runtime.execution.on_ray.failures import ContainerEnd, Failure, explain
from rayform_runtime.execution.on_ray.local_ray import RayletMessages
from rayform_runtime.execution.on_ray.nodes import ClusterView
from rayform_runtime.execution.on_ray.tasks import Attempt
from rayform_runtime.execution.on_ray.worker import container_end

if TYPE_CHECKING:
    from ray import ObjectRef

__all__ = ["LossReports"]

_CONTAINER_ANSWER = 15.0
"""Seconds that a node may take to report how a container ended."""


class _RemoteFunction(Protocol):
    def options(self, **options: object) -> _RemoteFunction: ...

    def remote(self, name: str) -> ObjectRef[ContainerEnd | None]: ...


class LossReports:
    """Explains lost attempts. Needs a Ray that this process has joined.

    Args:
        view: the cluster's nodes.
    """

    def __init__(self, view: ClusterView) -> None:
        self._view = view
        self._raylets = RayletMessages()

    def explain(self, attempt: Attempt, error: BaseException) -> Failure:
        """Return why this attempt ended without a result.

        Args:
            attempt: the attempt.
            error: what Ray raised.
        """
        node, detail, end = None, "", None
        if (worker := attempt.worker) is not None:
            node = self._view.death_of(worker.node)
            detail = "" if node else self._raylets.about(worker.pid)
            if node is None and worker.container is not None:
                end, answers = _container_end(worker.node, worker.container)
                if not answers:
                    # The worker's connection breaks before the cluster takes its node for dead.
                    node = self._view.death_of(worker.node) or self._view.silence_of(worker.node)
        return explain(error, exit_code=attempt.exit_code, detail=detail, node=node, container=end)


def _container_end(node: str, container: str) -> tuple[ContainerEnd | None, bool]:
    """Ask a node how a step's container ended; return that, and whether the node answered at all."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    function = cast(_RemoteFunction, ray.remote(container_end))
    question = function.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(container)
    try:
        end: ContainerEnd | None = ray.get(question, timeout=_CONTAINER_ANSWER)
    except RayError:
        return None, False
    return end, True
