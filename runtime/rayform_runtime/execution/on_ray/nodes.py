"""What is known of the cluster's nodes: for messages alone, never to decide what becomes of a task.

Asked in a thread of its own, so that a slow or silent GCS holds up no step; where it doesn't answer, the last
answer stands.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from rayform_runtime.execution.on_ray.placement import NodeResources

__all__ = ["ClusterView"]

_FRESH_FOR = 5.0


class ClusterView:
    """The last known state of the nodes.

    Args:
        timeout: seconds that one question may take.
    """

    def __init__(self, *, timeout: float = 10.0) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._nodes: list[Mapping[str, Any]] = []
        self._asked_at = 0.0
        self._asking: threading.Thread | None = None
        self.unanswered = 0
        """Questions without an answer so far, for `rayform cluster status` and the logs."""

    def ask(self) -> list[Mapping[str, Any]]:
        """Return Ray's own list of nodes; blocks."""
        import ray

        found: list[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return found

    def nodes(self, *, fresh: bool = False) -> list[NodeResources]:
        """Return the live nodes, as of some seconds ago at most where the cluster answers.

        Args:
            fresh: wait for an answer of now, up to the timeout.
        """
        self._refresh(wait=self._timeout if fresh else 0.0, force=fresh)
        with self._lock:
            alive = [n for n in self._nodes if n.get("Alive")]
        return [NodeResources(str(n.get("NodeManagerAddress")), dict(n.get("Resources", {}))) for n in alive]

    def death_of(self, node_id: str | None) -> str | None:
        """Return a sentence on why this node is gone, or `None` where it lives or isn't known."""
        if node_id is None:
            return None
        self._refresh(wait=self._timeout, force=True)
        with self._lock:
            found = next((n for n in self._nodes if n.get("NodeID") == node_id), None)
        if found is None or found.get("Alive"):
            return None
        reason = str(found.get("DeathReasonMessage") or "").strip().rstrip(".")
        return f"Node {found.get('NodeManagerAddress')} was lost{': ' + reason if reason else ''}."

    def silence_of(self, node_id: str | None) -> str:
        """Return a sentence on a node that no longer answers, though the cluster doesn't take it for dead yet."""
        with self._lock:
            found = next((n for n in self._nodes if n.get("NodeID") == node_id), {})
        return f"Node {found.get('NodeManagerAddress', node_id)} was lost: it no longer answers."

    def close(self) -> None:
        """Forget; an unanswered question's thread ends by itself."""
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
            nodes = self.ask()
        except Exception:  # noqa: BLE001 - whatever Ray raises, the last answer stands
            self.unanswered += 1
            return
        with self._lock:
            self._nodes = nodes
