"""Lists all that is left in the emulated cloud, whoever made it, and fails if there is anything.

Unlike `rayform stack destroy`, which asks for the stack's tag, this asks each API for everything.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import boto3

from rayform_core.files import home

REGIONS = ("us-east-1", "eu-central-1")


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

    ec2 = client("ec2")
    for reservation in ec2.describe_instances()["Reservations"]:
        for instance in reservation["Instances"]:
            if instance["State"]["Name"] != "terminated":
                yield f"instance {instance['InstanceId']} ({instance['State']['Name']})"
    for vpc in ec2.describe_vpcs()["Vpcs"]:
        if not vpc["IsDefault"]:
            yield f"VPC {vpc['VpcId']}"
    for group in ec2.describe_security_groups()["SecurityGroups"]:
        if group["GroupName"] != "default":
            yield f"security group {group['GroupName']}"
    for volume in ec2.describe_volumes()["Volumes"]:
        yield f"volume {volume['VolumeId']}"
    for address in ec2.describe_addresses()["Addresses"]:
        yield f"address {address['PublicIp']}"
    for key in ec2.describe_key_pairs()["KeyPairs"]:
        yield f"key pair {key['KeyName']}"
    for template in ec2.describe_launch_templates()["LaunchTemplates"]:
        yield f"launch template {template['LaunchTemplateName']}"
    for repository in client("ecr").describe_repositories()["repositories"]:
        yield f"repository {repository['repositoryName']}"
    for database in client("rds").describe_db_instances()["DBInstances"]:
        yield f"database {database['DBInstanceIdentifier']}"
    for secret in client("secretsmanager").list_secrets()["SecretList"]:
        yield f"secret {secret['Name']}"
    if region == REGIONS[0]:  # these belong to the account
        for bucket in client("s3").list_buckets()["Buckets"]:
            yield f"bucket {bucket['Name']}"
        for profile in client("iam").list_instance_profiles()["InstanceProfiles"]:
            yield f"instance profile {profile['InstanceProfileName']}"
        for role in client("iam").list_roles()["Roles"]:
            if not role["Path"].startswith("/aws-service-role/"):
                yield f"role {role['RoleName']}"


if __name__ == "__main__":
    found = [f"{region}: {line}" for region in REGIONS for line in left_in(region)]
    print("\n".join(found) or "nothing")
    sys.exit(1 if found else 0)
