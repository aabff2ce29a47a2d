"""Removes resources that a crash left behind: Terraform's state doesn't know them, so Terraform can't remove them.

Each kind has a remover. The removers run in the order in which resources depend on each other, round after round,
until nothing is left or a round removes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from rayform_provisioner.aws.calls import aws_calls, error_code, error_message
from rayform_provisioner.aws.clients import client
from rayform_provisioner.aws.data import empty_bucket
from rayform_provisioner.aws.inventory import stack_instances
from rayform_provisioner.clouds import Resource
from rayform_provisioner.polling import wait_until
from rayform_provisioner.targets import Target

__all__ = ["end_instances", "sweep"]


Remover: TypeAlias = Callable[[Target, str, Resource], None]


def sweep(
    target: Target,
    region: str,
    resources: list[Resource],
    on_removed: Callable[[Resource], None] | None = None,
) -> list[tuple[Resource, str]]:
    """Remove `resources`, and return those that can't be removed, each with the cloud's reason."""
    from botocore.exceptions import ClientError

    pending = sorted(
        (item for item in resources if item.kind in _REMOVERS), key=lambda item: _ORDER.index(item.kind)
    )
    reasons: dict[str, str] = {}

    def is_gone(item: Resource) -> bool:
        try:
            _REMOVERS[item.kind](target, region, item)
        except ClientError as error:
            code = error_code(error)
            if "NotFound" in code or code in ("NoSuchEntity", "NoSuchBucket"):
                return True
            reasons[item.id] = f"{code}: {error_message(error)}"
            return False
        if on_removed is not None:
            on_removed(item)
        return True

    with aws_calls(target):
        for _ in range(6):
            refused = [item for item in pending if not is_gone(item)]
            stuck = len(refused) == len(pending)
            pending = refused
            if not refused or stuck:
                break
    unknown = [
        (item, "Rayform has no way to remove this kind") for item in resources if item.kind not in _REMOVERS
    ]
    return [(item, reasons.get(item.id, "")) for item in pending] + unknown


def end_instances(target: Target, region: str, reference: str, *, timeout: float = 600) -> list[Resource]:
    """Terminate every instance of the stack, the head first, and return them once they are gone.

    The head must go first because its autoscaler would replace the workers. Workers that it started in the meantime
    are terminated as well.
    """
    with aws_calls(target):
        ec2 = client(target, "ec2", region)
        ended: dict[str, Resource] = {}

        def round_trip() -> bool:
            instances = stack_instances(target, region, reference)
            alive = [item for item in instances if item.state != "shutting-down" and item.id not in ended]
            heads = [item for item in alive if not item.worker]
            for item in heads or alive:
                ec2.terminate_instances(InstanceIds=[item.id])
                ended[item.id] = item
            return not instances

        wait_until(round_trip, timeout, pause=0.2)
    return list(ended.values())


def _instance(target: Target, region: str, item: Resource) -> None:
    ec2 = client(target, "ec2", region)
    ec2.terminate_instances(InstanceIds=[item.id])

    def gone() -> bool:
        answer = ec2.describe_instances(InstanceIds=[item.id])
        return all(i["State"]["Name"] == "terminated" for r in answer["Reservations"] for i in r["Instances"])

    wait_until(gone, 600)


def _eip(target: Target, region: str, item: Resource) -> None:
    ec2 = client(target, "ec2", region)
    for address in ec2.describe_addresses(AllocationIds=[item.id])["Addresses"]:
        if address.get("AssociationId"):
            ec2.disassociate_address(AssociationId=address["AssociationId"])
    ec2.release_address(AllocationId=item.id)


def _nat(target: Target, region: str, item: Resource) -> None:
    ec2 = client(target, "ec2", region)
    ec2.delete_nat_gateway(NatGatewayId=item.id)

    def gone() -> bool:
        gateways = ec2.describe_nat_gateways(NatGatewayIds=[item.id])["NatGateways"]
        return all(gateway["State"] == "deleted" for gateway in gateways)

    wait_until(gone, 600)


def _database(target: Target, region: str, item: Resource) -> None:
    from botocore.exceptions import ClientError

    rds = client(target, "rds", region)
    rds.modify_db_instance(DBInstanceIdentifier=item.name, DeletionProtection=False, ApplyImmediately=True)
    rds.delete_db_instance(
        DBInstanceIdentifier=item.name, SkipFinalSnapshot=True, DeleteAutomatedBackups=True
    )

    def gone() -> bool:
        try:
            rds.describe_db_instances(DBInstanceIdentifier=item.name)
        except ClientError as error:
            return "NotFound" in error_code(error)
        return False

    wait_until(gone, 1800)


def _repository(target: Target, region: str, item: Resource) -> None:
    client(target, "ecr", region).delete_repository(repositoryName=item.id, force=True)


def _bucket(target: Target, region: str, item: Resource) -> None:
    empty_bucket(target, region, item.id)
    client(target, "s3", region).delete_bucket(Bucket=item.id)


def _role(target: Target, region: str, item: Resource) -> None:
    iam = client(target, "iam", region)
    for name in iam.list_role_policies(RoleName=item.name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=item.name, PolicyName=name)
    for policy in iam.list_attached_role_policies(RoleName=item.name)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=item.name, PolicyArn=policy["PolicyArn"])
    for profile in iam.list_instance_profiles_for_role(RoleName=item.name)["InstanceProfiles"]:
        iam.remove_role_from_instance_profile(
            InstanceProfileName=profile["InstanceProfileName"], RoleName=item.name
        )
    iam.delete_role(RoleName=item.name)


def _profile(target: Target, region: str, item: Resource) -> None:
    iam = client(target, "iam", region)
    for role in iam.get_instance_profile(InstanceProfileName=item.name)["InstanceProfile"]["Roles"]:
        iam.remove_role_from_instance_profile(InstanceProfileName=item.name, RoleName=role["RoleName"])
    iam.delete_instance_profile(InstanceProfileName=item.name)


def _gateway(target: Target, region: str, item: Resource) -> None:
    ec2 = client(target, "ec2", region)
    for gateway in ec2.describe_internet_gateways(InternetGatewayIds=[item.id])["InternetGateways"]:
        for link in gateway.get("Attachments", []):
            ec2.detach_internet_gateway(InternetGatewayId=item.id, VpcId=link["VpcId"])
    ec2.delete_internet_gateway(InternetGatewayId=item.id)


def _table(target: Target, region: str, item: Resource) -> None:
    ec2 = client(target, "ec2", region)
    for table in ec2.describe_route_tables(RouteTableIds=[item.id])["RouteTables"]:
        for link in table.get("Associations", []):
            if not link.get("Main"):
                ec2.disassociate_route_table(AssociationId=link["RouteTableAssociationId"])
    ec2.delete_route_table(RouteTableId=item.id)


def _rule(way: str) -> Remover:
    def revoke(target: Target, region: str, item: Resource) -> None:
        ec2 = client(target, "ec2", region)
        getattr(ec2, f"revoke_security_group_{way}")(GroupId=item.name, SecurityGroupRuleIds=[item.id])

    return revoke


def _call(service: str, operation: str, argument: str, *, by_name: bool = False, **more: object) -> Remover:
    """Return a remover that calls one operation with the resource's ID, or with its name."""

    def remove(target: Target, region: str, item: Resource) -> None:
        getattr(client(target, service, region), operation)(
            **{argument: item.name if by_name else item.id}, **more
        )

    return remove


_REMOVERS: dict[str, Remover] = {
    "aws_instance": _instance,
    "aws_nat_gateway": _nat,
    "aws_eip": _eip,
    "aws_vpc_endpoint": lambda target, region, item: client(target, "ec2", region).delete_vpc_endpoints(
        VpcEndpointIds=[item.id]
    ),
    "aws_launch_template": _call("ec2", "delete_launch_template", "LaunchTemplateId"),
    "aws_db_instance": _database,
    "aws_db_subnet_group": _call("rds", "delete_db_subnet_group", "DBSubnetGroupName", by_name=True),
    "aws_db_parameter_group": _call("rds", "delete_db_parameter_group", "DBParameterGroupName", by_name=True),
    "aws_secretsmanager_secret": _call(
        "secretsmanager", "delete_secret", "SecretId", ForceDeleteWithoutRecovery=True
    ),
    "aws_ecr_repository": _repository,
    "aws_s3_bucket": _bucket,
    "aws_iam_instance_profile": _profile,
    "aws_iam_role": _role,
    "aws_key_pair": _call("ec2", "delete_key_pair", "KeyName"),
    "aws_ebs_volume": _call("ec2", "delete_volume", "VolumeId"),
    "aws_vpc_security_group_ingress_rule": _rule("ingress"),
    "aws_vpc_security_group_egress_rule": _rule("egress"),
    "aws_route_table_association": _call("ec2", "disassociate_route_table", "AssociationId"),
    "aws_default_security_group": lambda target, region, item: None,  # EC2 removes it with its VPC
    "aws_security_group": _call("ec2", "delete_security_group", "GroupId"),
    "aws_subnet": _call("ec2", "delete_subnet", "SubnetId"),
    "aws_route_table": _table,
    "aws_internet_gateway": _gateway,
    "aws_vpc": _call("ec2", "delete_vpc", "VpcId"),
}
_ORDER = list(_REMOVERS)
