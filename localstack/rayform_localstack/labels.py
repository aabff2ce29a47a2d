"""The labels and names of everything that Rayform makes in Docker."""

from __future__ import annotations

from typing import Final

__all__ = ["CLOUD", "HOME", "INSTANCE", "KIND", "NODE", "SLOT", "Kind", "container_name"]

CLOUD: Final = "rayform.localstack"
"""Identifier of the emulated cloud that a container, network or volume belongs to."""

KIND: Final = "rayform.kind"
"""Its kind: one of `Kind`."""

INSTANCE: Final = "rayform.instance"
"""The API's identifier of its instance, database, VPC or address."""

NODE: Final = "rayform.node"
"""Container of the machine that has started a step container."""

HOME: Final = "rayform.home"
"""State folder of the cloud, so that a cloud whose state file is lost can be found."""

SLOT: Final = "rayform.slot"
"""Number in the cloud's addresses, which no other cloud has: 198.18.SLOT.0/24 and 127.77.SLOT.0/24."""


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
    """Return the name of a part of this cloud. Making it twice is a conflict, and never gives two of them."""
    return f"rayform-{cloud}-{what}"
