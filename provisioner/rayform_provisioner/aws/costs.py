"""Estimates what a stack on AWS costs, from the dated price table."""

from __future__ import annotations

from rayform_provisioner.aws import prices
from rayform_provisioner.definitions.costs import HOURS_A_MONTH, CostEstimate, CostLine
from rayform_provisioner.definitions.definition import StackDefinition

__all__ = ["estimate"]


def estimate(definition: StackDefinition) -> CostEstimate:
    """Estimate what a stack of this definition costs, without traffic, requests and stored data.

    Example:
        >>> round(estimate(definition).hourly, 2)  # doctest: +SKIP
        0.16
    """
    factor = prices.region_factor(definition.region)
    unknown = (
        []
        if definition.region in prices.REGION_FACTORS
        else [f"region {definition.region} (taken as 1.25 ×)"]
    )

    def hourly(instance_type: str) -> float:
        if instance_type not in prices.INSTANCE_HOURLY:
            unknown.append(instance_type)
        return prices.INSTANCE_HOURLY.get(instance_type, 0.0) * factor

    def monthly(what: str, count: float = 1) -> float:
        return prices.MONTHLY[what] * count * factor / HOURS_A_MONTH

    head = definition.compute.head
    address = monthly("address")
    lines = [
        CostLine(f"head {head.instance_type}", awake=hourly(head.instance_type)),
        CostLine(f"head's disk, {head.disk_gb} GB", always=monthly("disk_gb", head.disk_gb)),
        CostLine("head's public address", always=address),
    ]
    for name, group in sorted(definition.compute.workers.items()):
        one = hourly(group.instance_type) * (prices.SPOT_FACTOR if group.spot else 1)
        one += monthly("disk_gb", group.disk_gb) + (0 if definition.network.private_nodes else address)
        kind = f"{group.instance_type}{', spot' if group.spot else ''}"
        lines.append(
            CostLine(
                f"workers {name} ({kind}), {group.min} to {group.max}",
                awake=one * group.min,
                most=one * (group.max - group.min),
            )
        )
    catalog = definition.catalog
    secrets = 1
    if catalog.existing is None:
        if catalog.instance_class not in prices.DATABASE_HOURLY:
            unknown.append(catalog.instance_class)
        servers = 2 if catalog.multi_az else 1
        price = prices.DATABASE_HOURLY.get(catalog.instance_class, 0.0) * factor * servers
        lines.append(
            CostLine(f"catalog {catalog.instance_class}{' × 2' if servers == 2 else ''}", always=price)
        )
        lines.append(
            CostLine(
                f"catalog's disk, {catalog.storage_gb} GB",
                always=monthly("database_disk_gb", catalog.storage_gb * servers),
            )
        )
        secrets = 2
    if definition.network.private_nodes and definition.network.existing is None:
        lines.append(CostLine("NAT gateway, without traffic", always=monthly("nat") + address))
    lines.append(CostLine("secrets", always=monthly("secret", secrets)))
    return CostEstimate(lines, prices.AS_OF, list(dict.fromkeys(unknown)))
