"""What `rayform cluster status` and `rayform stack status` show of a cluster: nodes, resources, jobs, countdown."""

from __future__ import annotations

import json
from typing import Any

from rayform_core.errors import RemoteError
from rayform_runtime.cluster.from_laptop.head import ClusterHead
from rayform_runtime.cluster.from_laptop.jobs import JobServer

__all__ = ["cluster_overview"]


def cluster_overview(head: ClusterHead) -> dict[str, Any]:
    """Return the state of a cluster as plain data.

    Returns:
        `ready`, `phase`, `autostop` (`enabled`, `idle_minutes`, `stops_in` seconds or `None`), `activity`, `nodes`
        (address, role, state, resources, used, the steps that run there) and the names of the `runs` at work; what
        can't be asked is left out.

    Raises:
        RemoteError: the head can't be reached.
    """
    import time

    status = head.status()
    autostop = dict(status.get("autostop") or {})
    stops_at = autostop.pop("stops_at", None)
    autostop["stops_in"] = None if stops_at is None else max(0.0, float(stops_at) - time.time())
    found: dict[str, Any] = {
        "ready": bool(status["ready"]),
        "phase": status["phase"],
        "version": status.get("version"),
        "ray_version": status.get("ray_version"),
        "activity": status.get("activity"),
        "autostop": autostop,
        "nodes": [],
        "runs": [],
    }
    if not status["ready"]:
        return found
    try:
        jobs = head.jobs()
        alive = [node for node in jobs.nodes() if (node.get("raylet") or {}).get("state") != "DEAD"]
        tasks = jobs.running_tasks()
        found["nodes"] = [_node(node, tasks) for node in alive if node.get("ip")]
        found["pending_nodes"] = _pending(jobs)
        at_work = jobs.running_with_metadata("rayform-")
        found["runs"] = [about.get("rayform_run_name") or job for job, about in at_work.items()]
    except RemoteError as error:
        # A busy job server leaves the rest of the picture standing.
        found["problem"] = str(error)
    return found


def _node(node: dict[str, Any], tasks: dict[str, list[str]]) -> dict[str, Any]:
    raylet = node.get("raylet") or {}
    total = raylet.get("resourcesTotal") or raylet.get("resources_total") or {}
    return {
        "address": node.get("ip"),
        "role": "head" if raylet.get("isHeadNode") or raylet.get("is_head_node") else "worker",
        "state": str(raylet.get("state", "")).lower(),
        "cpus": total.get("CPU", 0),
        "gpus": total.get("GPU", 0),
        "memory": total.get("memory", 0),
        "cpu_percent": node.get("cpu"),
        "runs": sorted(tasks.get(str(raylet.get("nodeId") or raylet.get("node_id")), ())),
    }


def _pending(jobs: JobServer) -> list[str]:
    report = jobs.cluster_status().get("autoscalerReport") or {}
    pending = report.get("pendingNodes") or report.get("pending_nodes") or []
    return [_pending_node(item) for item in pending]


def _pending_node(item: Any) -> str:
    """Word a node that is on its way; Ray reports `[address, group, state]`."""
    if isinstance(item, str):
        return item
    if isinstance(item, list) and len(item) == 3:
        address, group, state = map(str, item)
        return f"a node of group '{group}' at {address} ({state})"
    return json.dumps(item)
