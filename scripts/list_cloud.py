"""Lists everything that is left in the emulated cloud, whoever made it, and fails if there is anything.

`rayform stack destroy` looks only for resources with the stack's tag; this script asks each API for all resources.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import boto3

from rayform_core.files import home

REGIONS = ("us-east-1", "eu-central-1")

OF_A_REGION = (
    ("VPC", "ec2", "describe_vpcs", "Vpcs", "VpcId"),
    ("security group", "ec2", "describe_security_groups", "SecurityGroups", "GroupName"),
    ("volume", "ec2", "describe_volumes", "Volumes", "VolumeId"),
    ("address", "ec2", "describe_addresses", "Addresses", "PublicIp"),
    ("key pair", "ec2", "describe_key_pairs", "KeyPairs", "KeyName"),
    ("launch template", "ec2", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateName"),
    ("repository", "ecr", "describe_repositories", "repositories", "repositoryName"),
    ("database", "rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier"),
    ("secret", "secretsmanager", "list_secrets", "SecretList", "Name"),
)
"""Kinds of resources in a region: name, service, call, and the answer's keys of the list and of a resource's name."""
OF_THE_ACCOUNT = (
    ("bucket", "s3", "list_buckets", "Buckets", "Name"),
    ("instance profile", "iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"),
    ("role", "iam", "list_roles", "Roles", "RoleName"),
)


def is_the_clouds_own(resource: dict[str, object]) -> bool:
    """Whether every new account has the resource already."""
    return bool(
        resource.get("IsDefault")
        or resource.get("GroupName") == "default"
        or str(resource.get("Path", "")).startswith("/aws-service-role/")
    )


def left_in(region: str) -> Iterator[str]:
    """Yield a line for each thing that a deploy may have made in `region`."""
    endpoints = json.loads((home() / "localstack" / "endpoints.json").read_text())

    def client(service: str):
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=endpoints["services"][service],
            aws_access_key_id=endpoints["access_key"],
            aws_secret_access_key=endpoints["secret_key"],
        )

    for reservation in client("ec2").describe_instances()["Reservations"]:
        for instance in reservation["Instances"]:
            if instance["State"]["Name"] != "terminated":
                yield f"instance {instance['InstanceId']} ({instance['State']['Name']})"
    for kind, service, call, key, name in OF_A_REGION + (OF_THE_ACCOUNT if region == REGIONS[0] else ()):
        for resource in getattr(client(service), call)()[key]:
            if not is_the_clouds_own(resource):
                yield f"{kind} {resource[name]}"


if __name__ == "__main__":
    left = [f"{region}: {line}" for region in REGIONS for line in left_in(region)]
    print("\n".join(left) or "nothing")
    sys.exit(1 if left else 0)
