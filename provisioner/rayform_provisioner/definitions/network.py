"""The network section of a definition, and the checks of its address ranges."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from rayform_provisioner.definitions.fields import Section, SubnetId, is_applied, matching, refuse_others

__all__ = ["ExistingNetwork", "Network"]

_PRIVATE = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


def _ipv4_range(value: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(value)
    except ValueError as error:
        raise ValueError(
            f"'{value}' is not an IPv4 range ({error}); write one such as 203.0.113.7/32"
        ) from None


class ExistingNetwork(Section):
    """An existing VPC; Rayform adds only its security groups to it."""

    vpc_id: Annotated[str, matching(r"^vpc-[0-9a-f]{8,17}$")]
    """The VPC."""
    head_subnet_id: SubnetId
    """Subnet of the head: a public one, or with `private_head` one that a VPN or a peering reaches."""
    private_head: bool = False
    """Reach the head at its address inside the VPC instead of giving it a public one."""
    node_subnet_ids: Annotated[list[SubnetId], Field(min_length=1, max_length=16)]
    """Subnets that workers start in; machines in them must reach package indexes and the cloud's API."""
    database_subnet_ids: Annotated[list[SubnetId], Field(min_length=2, max_length=16)]
    """Private subnets for the catalog, in at least two zones."""

    @field_validator("node_subnet_ids", "database_subnet_ids")
    @classmethod
    def _different(cls, values: list[str], info: ValidationInfo) -> list[str]:
        for index, value in enumerate(values):
            if value in values[:index] and not is_applied(info):
                raise ValueError(f"subnet '{value}' is there twice; keep one of them")
        return values


class Network(Section):
    """The network that the machines are in, and who may reach them."""

    cidr: str = "10.42.0.0/16"
    """IPv4 range of the new VPC, from a /16 to a /24."""
    allowed_ingress_cidrs: list[str] = Field(default=[], max_length=50)
    """IPv4 ranges that may open SSH to the head; if it is empty, nobody may."""
    private_nodes: bool = False
    """Put workers behind a NAT gateway, which costs by the hour, instead of giving each a public address."""
    egress_ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        default=[80, 443], min_length=1, max_length=40
    )
    """TCP ports that the machines may reach on the internet."""
    existing: ExistingNetwork | None = None
    """Use an existing VPC instead of making one; `cidr` and `private_nodes` don't go with it."""

    @field_validator("cidr")
    @classmethod
    def _vpc_range(cls, value: str) -> str:
        network = _ipv4_range(value)
        if not 16 <= network.prefixlen <= 24:
            raise ValueError(f"'{value}' is a /{network.prefixlen}; write a range from a /16 to /24")
        # Python's `is_private` also counts loopback, link-local and benchmark ranges, which no VPC can have.
        if not any(network.subnet_of(private) for private in _PRIVATE):
            raise ValueError(
                f"'{value}' is not a private range; write one inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
            )
        return str(network)

    @field_validator("allowed_ingress_cidrs")
    @classmethod
    def _ingress(cls, values: list[str]) -> list[str]:
        for value in values:
            if _ipv4_range(value).prefixlen < 8:
                raise ValueError(
                    f"'{value}' covers (nearly) the whole internet; name your own addresses, such as 203.0.113.7/32"
                )
        # One address and a netmask are ranges, too; the cloud only knows `ADDRESS/BITS`.
        ranges = [str(_ipv4_range(value)) for value in values]
        if len(set(ranges)) != len(ranges):
            raise ValueError("a range is there twice; keep one of them")
        return ranges

    @field_validator("egress_ports")
    @classmethod
    def _ports(cls, values: list[int]) -> list[int]:
        if len(set(values)) != len(values):
            raise ValueError("a port is there twice; keep one of them")
        return values

    @field_validator("existing")
    @classmethod
    def _alone(cls, value: ExistingNetwork | None, info: ValidationInfo) -> ExistingNetwork | None:
        return refuse_others(
            value, info, cls, "an existing VPC", beside=("allowed_ingress_cidrs", "egress_ports")
        )
