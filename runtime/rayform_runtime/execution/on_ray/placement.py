"""What a step asks of a Ray cluster, and whether a node can hold it.

Ray itself queues an infeasible task for ever, with a warning in a log file. Rayform refuses the pipeline before
anything runs, and says what the step asked for, what the largest node has, and how far worker groups can grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from rayform_core.errors import UsageError
from rayform_runtime.cluster.machine.node_groups import NodeGroup
from rayform_runtime.execution.interface import StepResources
from rayform_runtime.spec import PipelineSpec, Resources

__all__ = [
    "NodeResources",
    "check_placeable",
    "describe",
    "ray_options",
    "ray_resources",
    "waiting_for",
]

_ACCELERATOR = "accelerator_type:"


@dataclass(frozen=True, slots=True)
class NodeResources:
    """The resources of one live node, in all and free, by Ray's names (memory in bytes)."""

    address: str
    total: Mapping[str, float]
    free: Mapping[str, float] = field(default_factory=dict)


def ray_resources(resources: Resources | StepResources) -> dict[str, float]:
    """Return what a step asks for, by Ray's own names."""
    request: dict[str, float] = {"CPU": resources.cpus, "GPU": resources.gpus}
    if resources.memory:
        request["memory"] = float(resources.memory)
    if resources.accelerator_type:
        # Ray's own convention for `accelerator_type=`.
        request[_ACCELERATOR + resources.accelerator_type] = 0.001
    request.update(resources.custom)
    return {name: amount for name, amount in request.items() if amount > 0}


class RayOptions(TypedDict, total=False):
    """Options of a Ray task, by Ray's own names."""

    num_cpus: float
    num_gpus: float
    memory: int
    accelerator_type: str
    resources: dict[str, float]


def ray_options(request: Mapping[str, float]) -> RayOptions:
    """Return the options of a Ray task that asks for these resources.

    Example:
        >>> ray_options({"CPU": 2.0, "accelerator_type:T4": 0.001})
        {'num_cpus': 2.0, 'num_gpus': 0, 'accelerator_type': 'T4'}
    """
    options: RayOptions = {"num_cpus": request.get("CPU", 0), "num_gpus": request.get("GPU", 0)}
    custom = {}
    for name, amount in request.items():
        if name == "memory":
            options["memory"] = int(amount)
        elif name.startswith(_ACCELERATOR):
            options["accelerator_type"] = name.removeprefix(_ACCELERATOR)
        elif name not in ("CPU", "GPU"):
            custom[name] = amount
    if custom:
        options["resources"] = custom
    return options


def fits(request: Mapping[str, float], has: Mapping[str, float]) -> bool:
    """Whether one node with these resources can hold the step."""
    return all(amount <= has.get(name, 0.0) + 1e-9 for name, amount in request.items())


def check_placeable(
    spec: PipelineSpec, nodes: Sequence[NodeResources], groups: Sequence[NodeGroup] = ()
) -> None:
    """Refuse a pipeline with a step that no node, present or possible, can hold.

    Raises:
        UsageError: a step fits nowhere; the message says what it asked for, what the largest node has, and each
            group's limit.
    """
    for step in spec.steps:
        request = ray_resources(step.resources)
        if any(fits(request, node.total) for node in nodes):
            continue
        if any(group.max > 0 and fits(request, group.resources) for group in groups):
            continue
        raise UsageError(
            f"Step '{step.key}' can't be placed: it asks for {describe(request)}.",
            why=" ".join([_largest(request, nodes), *(_group_limit(request, group) for group in groups)]),
            hint="Ask for less in the step's `resources`, or add a worker group with as much to the stack's "
            "definition.",
        )


def waiting_for(
    request: Mapping[str, float], nodes: Sequence[NodeResources], groups: Sequence[NodeGroup]
) -> str:
    """Return what a queued step waits for, in words."""
    if any(fits(request, node.total) for node in nodes):
        # It names both, since what the cluster reports of free resources is seconds old.
        return f"waiting for {describe(request)} to be free and a worker to start"
    growing = [g for g in groups if g.max > 0 and fits(request, g.resources)]
    if growing:
        names = " or ".join(f"'{g.name}' ({g.instance_type})" for g in growing)
        return f"waiting for a node of group {names} with {describe(request)}"
    return f"waiting for a node with {describe(request)}" + (f". {_largest(request, nodes)}" if nodes else "")


def describe(resources: Mapping[str, float]) -> str:
    """Put resources into words, such as `2 CPUs, 1 GPU, 3 GiB of memory`."""
    words = []
    for name, amount in resources.items():
        if name in ("CPU", "GPU"):
            words.append(f"{amount:g} {name}{'' if amount == 1 else 's'}")
        elif name == "memory":
            words.append(f"{amount / 2**30:.3g} GiB of memory")
        elif name.startswith(_ACCELERATOR):
            words.append(f"accelerator {name.removeprefix(_ACCELERATOR)}")
        else:
            words.append(f"{amount:g} {name}")
    return ", ".join(words) or "nothing"


def _largest(request: Mapping[str, float], nodes: Sequence[NodeResources]) -> str:
    if not nodes:
        return "The cluster has no node."
    names = list(request)
    best = max(
        nodes, key=lambda node: [min(node.total.get(n, 0.0) / request[n], 1.0) for n in reversed(names)]
    )
    has = {name: best.total.get(name, 0.0) for name in names}
    return f"The largest node has {describe(has)}."


def _group_limit(request: Mapping[str, float], group: NodeGroup) -> str:
    kind = f"Group '{group.name}' ({group.instance_type}"
    if group.max == 0:
        return f"{kind}) may have no node: its max is 0."
    has = {name: group.resources.get(name, 0.0) for name in request}
    return f"{kind}, up to {group.max}) has {describe(has)} a node."
