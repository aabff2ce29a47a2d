# ruff: noqa: E501  (sentences read better whole)
"""Checks an existing network that a definition names: its subnets, their zones, and their way to the internet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from rayform_provisioner.aws.clients import AwsClient
from rayform_provisioner.definitions.network import ExistingNetwork
from rayform_provisioner.definitions.problems import Problems

__all__ = ["check_network"]

_Subnet: TypeAlias = Mapping[str, Any]
"""A subnet as EC2 describes it."""

_AT = ("network", "existing")


def check_network(
    ec2: AwsClient, network: ExistingNetwork, problems: Problems, *, with_database: bool
) -> tuple[list[str], list[str]]:
    """Check `network`, and return the zones of its machines' subnets, the head's first, and warnings.

    Args:
        ec2: the region's EC2.
        network: the VPC and the subnets that the definition names.
        problems: takes what can't work.
        with_database: whether the catalog gets a database of its own in this network.
    """
    if not ec2.describe_vpcs(Filters=[{"Name": "vpc-id", "Values": [network.vpc_id]}])["Vpcs"]:
        problems.add(
            (*_AT, "vpc_id"),
            f"There is no VPC '{network.vpc_id}' in this region.",
            "Check its ID and region.",
        )
        return [], []
    places: list[tuple[tuple[str | int, ...], str]] = [((*_AT, "head_subnet_id"), network.head_subnet_id)]
    places += [
        ((*_AT, "node_subnet_ids", index), subnet) for index, subnet in enumerate(network.node_subnet_ids)
    ]
    if with_database:
        places += [
            ((*_AT, "database_subnet_ids", index), subnet)
            for index, subnet in enumerate(network.database_subnet_ids)
        ]
    subnets = _subnets(ec2, network, places, problems)
    if with_database:
        _check_database_zones(network, subnets, problems)
    head = subnets.get(network.head_subnet_id)
    nodes = [subnets[name] for name in network.node_subnet_ids if name in subnets]
    if head is None or len(nodes) < len(network.node_subnet_ids):
        return [], []
    routes = _Routes(ec2, network.vpc_id)
    if not network.private_head and not routes.default_gateway(network.head_subnet_id).startswith("igw-"):
        problems.add(
            (*_AT, "head_subnet_id"),
            f"Subnet '{network.head_subnet_id}' has no route to an internet gateway, so a public address is of no use in it.",
            "Name a public subnet, or write `private_head: true` if you reach the subnet by a VPN or a peering.",
        )
    zones = [head["AvailabilityZone"], *(node["AvailabilityZone"] for node in nodes)]
    return list(dict.fromkeys(zones)), _warnings(routes, nodes)


def _subnets(
    ec2: AwsClient,
    network: ExistingNetwork,
    places: Sequence[tuple[tuple[str | int, ...], str]],
    problems: Problems,
) -> dict[str, _Subnet]:
    """Return ID to subnet for those that are in the VPC; the others are problems."""
    names = sorted({subnet for _, subnet in places})
    answer = ec2.describe_subnets(Filters=[{"Name": "subnet-id", "Values": names}])["Subnets"]
    subnets = {item["SubnetId"]: item for item in answer}
    for place, name in places:
        if name not in subnets:
            problems.add(
                place, f"There is no subnet '{name}' in this region.", "Check its ID, region and account."
            )
        elif subnets[name]["VpcId"] != network.vpc_id:
            problems.add(
                place,
                f"Subnet '{name}' is in {subnets[name]['VpcId']}, not in {network.vpc_id}.",
                "Name subnets of one VPC.",
            )
    return {name: item for name, item in subnets.items() if item["VpcId"] == network.vpc_id}


def _check_database_zones(
    network: ExistingNetwork, subnets: Mapping[str, _Subnet], problems: Problems
) -> None:
    zones = {subnets[name]["AvailabilityZone"] for name in network.database_subnet_ids if name in subnets}
    if len(zones) == 1:
        problems.add(
            (*_AT, "database_subnet_ids"),
            f"All of these subnets are in {zones.pop()}, and RDS needs two zones.",
            "Add a subnet of another zone.",
        )


class _Routes:
    """The route tables of a VPC.

    Args:
        ec2: the region's EC2.
        vpc_id: the VPC.
    """

    def __init__(self, ec2: AwsClient, vpc_id: str) -> None:
        answer = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])
        # Subnet to the gateway of its default route; the main table's is at "", for subnets without a table.
        self._gateways: dict[str, str] = {}
        for table in answer["RouteTables"]:
            gateway = next((_gateway(route) for route in table["Routes"] if _is_default(route)), "")
            for link in table.get("Associations", []):
                self._gateways[link.get("SubnetId", "")] = gateway

    def default_gateway(self, subnet: str) -> str:
        """Return where the subnet's default route leads, such as `igw-1a2b`; empty if it has none."""
        return self._gateways.get(subnet, self._gateways.get("", ""))


def _is_default(route: Mapping[str, Any]) -> bool:
    return bool(route.get("DestinationCidrBlock") == "0.0.0.0/0" and route.get("State", "active") == "active")


def _gateway(route: Mapping[str, Any]) -> str:
    """Return the ID of what the route leads to, whichever kind it is."""
    keys = (
        "GatewayId",
        "NatGatewayId",
        "TransitGatewayId",
        "NetworkInterfaceId",
        "InstanceId",
        "VpcPeeringConnectionId",
    )
    return next((str(route[key]) for key in keys if route.get(key)), "another")


def _warnings(routes: _Routes, nodes: Sequence[_Subnet]) -> list[str]:
    """Warn about subnets whose machines may not reach package indexes and AWS's API."""
    warnings = []
    for node in nodes:
        name, gateway = node["SubnetId"], routes.default_gateway(node["SubnetId"])
        if not gateway:
            warnings.append(
                f"Subnet {name} has no default route: its workers reach AWS and package indexes only if the VPC has endpoints and mirrors for them."
            )
        elif gateway.startswith("igw-") and not node.get("MapPublicIpOnLaunch"):
            warnings.append(
                f"Subnet {name} leads to an internet gateway and gives its machines no public address: its workers reach nothing outside the VPC."
            )
    return warnings
