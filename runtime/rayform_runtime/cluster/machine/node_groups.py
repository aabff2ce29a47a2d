"""Groups of worker nodes that a cluster can start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["NodeGroup"]


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """A group of worker nodes that the cluster's autoscaler can start more of."""

    name: str
    instance_type: str
    resources: Mapping[str, float]
    min: int = 0
    max: int = 0
