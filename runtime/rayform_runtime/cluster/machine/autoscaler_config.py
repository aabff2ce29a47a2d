"""The settings of Ray's own autoscaler: which launch template to start for which resources.

Ray's format: https://docs.ray.io/en/latest/cluster/vms/references/ray-cluster-configuration.html. Nodes start Ray
by their user data, so Ray's node updaters (SSH from the head) are off. `ray up`, which fills in defaults, is never
run, so Ray's monitor has only the settings of this module.
"""

from __future__ import annotations

from typing import TypedDict

from rayform_runtime.cluster.machine.settings import MachineSettings, WorkerGroupSettings

__all__ = ["NodeType", "autoscaler_config", "node_types"]

_HEAD = "head"


class NodeType(TypedDict):
    """One kind of node that the autoscaler can start, by Ray's names."""

    min_workers: int
    max_workers: int
    resources: dict[str, float]
    node_config: dict[str, object]


def node_types(settings: MachineSettings) -> dict[str, NodeType]:
    """Return the kinds of nodes of a stack, by name: the head and the worker groups."""
    types: dict[str, NodeType] = {
        _HEAD: {"resources": {}, "node_config": {}, "min_workers": 0, "max_workers": 0}
    }
    for name, group in sorted(settings.worker_groups.items()):
        types[name] = {
            "min_workers": group.min,
            "max_workers": group.max,
            "resources": _whole(group.ray_resources()),
            "node_config": _node_config(group, _tags(settings, name)),
        }
    return types


def autoscaler_config(settings: MachineSettings) -> dict[str, object]:
    """Return the autoscaler's settings for a stack.

    Ray (its version 1 autoscaler) has one idle timeout for all groups. It is the shortest that a group asks for,
    since a node that ends early costs a minute and one that ends late costs money.
    """
    groups = settings.worker_groups
    return {
        "cluster_name": settings.reference,
        "max_workers": sum(group.max for group in groups.values()),
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": min((group.idle_timeout_minutes for group in groups.values()), default=5),
        "provider": {
            "type": "aws",
            "region": settings.region,
            "cache_stopped_nodes": False,
            "disable_node_updaters": True,
            "use_internal_ips": True,
        },
        "auth": {"ssh_user": "ubuntu"},
        "available_node_types": node_types(settings),
        "head_node_type": _HEAD,
        "file_mounts": {},
        "cluster_synced_files": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }


def _node_config(group: WorkerGroupSettings, tags: dict[str, str]) -> dict[str, object]:
    pairs = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
    return {
        "LaunchTemplate": {"LaunchTemplateName": group.launch_template, "Version": "$Default"},
        "SubnetIds": list(group.subnet_ids),
        # Ray passes tags of its own, which may replace the template's.
        "TagSpecifications": [{"ResourceType": kind, "Tags": pairs} for kind in ("instance", "volume")],
    }


def _tags(settings: MachineSettings, group: str) -> dict[str, str]:
    return {**settings.tags, "rayform:stack": settings.reference, "rayform:group": group}


def _whole(resources: dict[str, float]) -> dict[str, float]:
    return {name: int(amount) if float(amount).is_integer() else amount for name, amount in resources.items()}
