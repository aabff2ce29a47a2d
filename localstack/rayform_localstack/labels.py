"""The labels by which everything of ours in Docker is known, and the names it bears."""

from __future__ import annotations

from typing import Final

__all__ = ["CLOUD", "HOME", "INSTANCE", "KIND", "NODE", "SLOT", "Kind", "container_name"]

CLOUD: Final = "rayform.localstack"
"""Identifier of the emulated cloud that a container, network or volume belongs to."""

KIND: Final = "rayform.kind"
"""What it is: one of `Kind`."""

INSTANCE: Final = "rayform.instance"
"""The API's identifier: an instance, a database, a VPC, an address."""

NODE: Final = "rayform.node"
"""Container of the machine that started a step container."""

HOME: Final = "rayform.home"
"""State folder of the cloud, so that `status` can say whose a slot is."""

SLOT: Final = "rayform.slot"
"""Number that sets the cloud's addresses apart: 198.18.SLOT.0/24 and 127.77.SLOT.0/24."""


class Kind:
    """Values of the label `KIND`."""

    MANAGEMENT: Final = "management"
    VPC: Final = "vpc"
    MACHINE: Final = "machine"
    DATABASE: Final = "database"
    REGISTRY: Final = "registry"
    ADDRESS: Final = "address"
    STEP: Final = "step"
    LAYERS: Final = "layers"


def container_name(cloud: str, what: str) -> str:
    """Return the one name that a thing of this cloud has: a second creation meets a conflict, not a twin."""
    return f"rayform-{cloud}-{what}"
