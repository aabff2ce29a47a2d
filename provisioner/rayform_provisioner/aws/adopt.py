# ruff: noqa: E501
"""Finds the Terraform address of a resource that a crash kept out of the state, so that Terraform can import it.

A resource's name, or its `Name` tag, starts with the stack's reference, so it says which address the resource belongs
to. Importing it, rather than deleting it, keeps a database that took minutes to start and a bucket that may hold data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayform_provisioner.aws.clients import client
from rayform_provisioner.clouds import ImportAddress, Resource, StateIndex
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.polling import wait_until
from rayform_provisioner.targets import Target

__all__ = ["import_address", "state_index", "wait_for_import"]


def import_address(resource: Resource, definition: StackDefinition, reference: str) -> ImportAddress | None:
    """Return where Terraform imports `resource`, or `None` if the root module has no place for it."""
    name = resource.name.removeprefix(reference).removeprefix("-")
    network, compute, catalog = "module.network", "module.compute", "module.catalog"
    addresses: dict[str, str | None] = {
        "aws_vpc": f"{network}.aws_vpc.this[0]",
        "aws_internet_gateway": f"{network}.aws_internet_gateway.this[0]",
        "aws_nat_gateway": f"{network}.aws_nat_gateway.this[0]",
        "aws_vpc_endpoint": f"{network}.aws_vpc_endpoint.s3[0]",
        "aws_subnet": _subnet(name),
        "aws_route_table": f"{network}.aws_route_table.{name}[0]" if name in ("public", "private") else None,
        "aws_security_group": f"{network}.aws_security_group.{name}" if name in ("cluster", "head", "database") else None,
        "aws_default_security_group": f"{network}.aws_default_security_group.this[0]",
        "aws_eip": {"nat": f"{network}.aws_eip.nat[0]", "head": f"{compute}.aws_eip.head[0]"}.get(name),
        "aws_key_pair": f"{compute}.aws_key_pair.this",
        "aws_instance": f"{compute}.aws_instance.head" if not resource.worker else None,
        "aws_launch_template": f'{compute}.aws_launch_template.worker["{name}"]' if name in definition.compute.workers else None,
        "aws_iam_role": f"{compute}.aws_iam_role.{name}" if name in ("head", "worker") else None,
        "aws_iam_instance_profile": f"{compute}.aws_iam_instance_profile.{name}" if name in ("head", "worker") else None,
        "aws_secretsmanager_secret": f"{compute}.aws_secretsmanager_secret.ray_token",
        "aws_s3_bucket": "module.bucket.aws_s3_bucket.this",
        "aws_ecr_repository": "module.registry.aws_ecr_repository.this",
        "aws_db_instance": f"{catalog}.aws_db_instance.this",
        "aws_db_subnet_group": f"{catalog}.aws_db_subnet_group.this",
        "aws_db_parameter_group": f"{catalog}.aws_db_parameter_group.this",
    }  # fmt: skip
    address = addresses.get(resource.kind)
    if address is None or (address.startswith(catalog) and definition.catalog.existing is not None):
        return None
    if (
        address.startswith(network)
        and definition.network.existing is not None
        and "aws_security_group" not in address
    ):
        return None
    if "nat" in address and not definition.network.private_nodes:
        return None
    by_name = resource.kind in (
        "aws_db_instance", "aws_db_subnet_group", "aws_db_parameter_group", "aws_iam_instance_profile", "aws_iam_role"
    )  # fmt: skip
    return ImportAddress(address, resource.name if by_name else resource.id)


def _subnet(name: str) -> str | None:
    kind, _, zone = name.partition("-")
    return f'module.network.aws_subnet.{kind}["{zone}"]' if kind in ("public", "private") and zone else None


def wait_for_import(target: Target, region: str, resource: Resource) -> None:
    """Wait until Terraform can import `resource`: a database only once it is up, anything else at once."""
    if resource.kind != "aws_db_instance":
        return
    rds = client(target, "rds", region)

    def ready() -> bool:
        databases = rds.describe_db_instances(DBInstanceIdentifier=resource.name)["DBInstances"]
        return all(item["DBInstanceStatus"] in ("available", "stopped", "failed") for item in databases)

    wait_until(ready, 1800, pause=2)


def state_index(state: Mapping[str, Any]) -> StateIndex:
    """Return the addresses and the IDs of the managed resources in a raw state."""
    addresses: set[str] = set()
    ids: set[str] = set()
    for resource in state.get("resources", []):
        if resource.get("mode") != "managed":
            continue
        prefix = f"{resource['module']}." if resource.get("module") else ""
        for instance in resource.get("instances", []):
            key = instance.get("index_key")
            index = "" if key is None else f"[{key}]" if isinstance(key, int) else f'["{key}"]'
            addresses.add(f"{prefix}{resource['type']}.{resource['name']}{index}")
            identifier = str(instance.get("attributes", {}).get("id", ""))
            ids.add(_own_id(resource["type"], identifier))
    return StateIndex(addresses, ids)


def _own_id(kind: str, identifier: str) -> str:
    """Return the ID as `inventory` gives it: with a prefix for kinds that have the same ID in Terraform."""
    prefix = {
        "aws_iam_instance_profile": "profile/",
        "aws_db_subnet_group": "subnet-group/",
        "aws_db_parameter_group": "parameter-group/",
    }.get(kind, "")
    return prefix + identifier
