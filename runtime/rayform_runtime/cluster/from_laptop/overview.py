"""What `rayform cluster status` and `rayform stack status` show of a cluster: nodes, resources, jobs, countdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from rayform_core.errors import RemoteError
from rayform_runtime.cluster.from_laptop.head import ClusterHead
from rayform_runtime.cluster.from_laptop.jobs import RayNode

__all__ = ["AutostopOverview", "ClusterOverview", "NodeOverview", "cluster_overview"]


class AutostopOverview(TypedDict):
    """The autostop; `stops_in` counts seconds, and is `None` while the cluster isn't idle."""

    enabled: NotRequired[bool]
    idle_minutes: NotRequired[float]
    stops_in: float | None


class NodeOverview(TypedDict):
    """One node; `runs` are the names of the steps that run there, `memory` is in bytes."""

    address: str
    role: str
    state: str
    cpus: object
    gpus: object
    memory: object
    cpu_percent: object
    runs: list[str]


class ClusterOverview(TypedDict):
    """A cluster as `--json` prints it.

    `ready`, `phase`, `version`, `ray_version`, `activity` and `autostop` are the head's own report. `nodes` are the
    live nodes, `runs` the names of the running runs, and `pending_nodes` the nodes that are starting, in words.
    `problem` says why nodes and runs are missing.
    """

    ready: bool
    phase: str
    version: str | None
    ray_version: str | None
    activity: str | None
    autostop: AutostopOverview
    nodes: list[NodeOverview]
    runs: list[str]
    pending_nodes: NotRequired[list[str]]
    problem: NotRequired[str]


def cluster_overview(head: ClusterHead) -> ClusterOverview:
    """Return the state of a cluster as plain data; what can't be asked is left out.

    Raises:
        RemoteError: the head can't be reached.
    """
    status = head.status()
    autostop: AutostopOverview = {"stops_in": None}
    if status.autostop is not None:
        autostop = {
            "enabled": status.autostop.enabled,
            "idle_minutes": status.autostop.idle_minutes,
            "stops_in": status.autostop.stops_in(),
        }
    overview: ClusterOverview = {
        "ready": status.ready,
        "phase": status.phase,
        "version": status.version,
        "ray_version": status.ray_version,
        "activity": status.activity,
        "autostop": autostop,
        "nodes": [],
        "runs": [],
    }
    if not status.ready:
        return overview
    try:
        jobs = head.jobs()
        alive = [node for node in jobs.nodes() if node.address and node.state != "DEAD"]
        tasks = jobs.running_tasks()
        overview["nodes"] = [_node(node, tasks) for node in alive]
        overview["pending_nodes"] = _pending(jobs.pending_nodes())
        running = jobs.running_with_metadata("rayform-")
        overview["runs"] = [about.get("rayform_run_name") or job for job, about in running.items()]
    except RemoteError as error:
        # A job server that is too busy to answer leaves the rest of the picture complete.
        overview["problem"] = str(error)
    return overview


def _node(node: RayNode, tasks: Mapping[str, Sequence[str]]) -> NodeOverview:
    return {
        "address": node.address,
        "role": "head" if node.is_head else "worker",
        "state": node.state.lower(),
        "cpus": node.resources.get("CPU", 0),
        "gpus": node.resources.get("GPU", 0),
        "memory": node.resources.get("memory", 0),
        "cpu_percent": node.cpu_percent,
        "runs": sorted(tasks.get(node.node_id, ())),
    }


def _pending(nodes: Sequence[object]) -> list[str]:
    return [_pending_node(node) for node in nodes]


def _pending_node(item: object) -> str:
    """Word a node that starts; Ray reports `[address, group, state]`."""
    if isinstance(item, str):
        return item
    if isinstance(item, list) and len(item) == 3:
        address, group, state = map(str, item)
        return f"a node of group '{group}' at {address} ({state})"
    return json.dumps(item)
