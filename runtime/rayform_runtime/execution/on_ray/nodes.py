"""The state of the cluster's nodes, for messages alone: it never decides what becomes of a task.

A thread of its own asks for it, so that a slow or silent GCS delays no step. Without an answer, the last one stands.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rayform_runtime.execution.on_ray.placement import NodeResources

__all__ = ["ClusterView"]

_FRESH_FOR = 5.0
"""Seconds after which an answer is asked for again."""


@dataclass(frozen=True, slots=True)
class _Node:
    id: str
    address: str
    alive: bool
    resources: Mapping[str, float]
    death_reason: str


class ClusterView:
    """The last known state of the nodes.

    Args:
        timeout: seconds that one question may take.
    """

    def __init__(self, *, timeout: float = 10.0) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._nodes: dict[str, _Node] = {}
        """The last answer, by Ray's ID of each node."""
        self._asked_at = 0.0
        self._asking: threading.Thread | None = None
        self.unanswered = 0
        """How many questions got no answer; tests read it."""

    def ask(self) -> list[Mapping[str, object]]:
        """Return Ray's own list of nodes; blocks."""
        import ray

        nodes: list[Mapping[str, object]] = ray.nodes()  # type: ignore[no-untyped-call] # of Ray
        return nodes

    def nodes(self, *, fresh: bool = False) -> list[NodeResources]:
        """Return the live nodes, as of some seconds ago at most if the cluster answers.

        Args:
            fresh: wait for a new answer, up to the timeout.
        """
        self._refresh(wait=self._timeout if fresh else 0.0, force=fresh)
        with self._lock:
            return [
                NodeResources(node.address, node.resources) for node in self._nodes.values() if node.alive
            ]

    def death_of(self, node_id: str) -> str | None:
        """Return a sentence on why this node is gone, or `None` if it lives or isn't known."""
        self._refresh(wait=self._timeout, force=True)
        with self._lock:
            node = self._nodes.get(node_id)
        if node is None or node.alive:
            return None
        return f"Node {node.address} was lost{': ' + node.death_reason if node.death_reason else ''}."

    def silence_of(self, node_id: str) -> str:
        """Return a sentence on a node that no longer answers, though the cluster doesn't take it for dead yet."""
        with self._lock:
            node = self._nodes.get(node_id)
        return f"Node {node.address if node is not None else node_id} was lost: it no longer answers."

    def close(self) -> None:
        """Stop refreshing. A thread that still waits for an answer ends by itself."""
        self._asking = None

    def _refresh(self, *, wait: float, force: bool) -> None:
        with self._lock:
            if not force and time.monotonic() - self._asked_at < _FRESH_FOR:
                return
            thread = self._asking
            if thread is None or not thread.is_alive():
                self._asked_at = time.monotonic()
                thread = threading.Thread(target=self._ask_once, name="rayform-nodes", daemon=True)
                self._asking = thread
                thread.start()
        if wait:
            thread.join(wait)
            if thread.is_alive():
                self.unanswered += 1

    def _ask_once(self) -> None:
        try:
            nodes = {node.id: node for node in map(_node, self.ask())}
        except Exception:  # noqa: BLE001 - whatever Ray raises, the last answer stands
            self.unanswered += 1
            return
        with self._lock:
            self._nodes = nodes


def _node(facts: Mapping[str, object]) -> _Node:
    resources = facts.get("Resources")
    return _Node(
        id=str(facts.get("NodeID")),
        address=str(facts.get("NodeManagerAddress")),
        alive=bool(facts.get("Alive")),
        resources=resources if isinstance(resources, dict) else {},
        death_reason=str(facts.get("DeathReasonMessage") or "").strip().rstrip("."),
    )
