"""Asks the cloud itself what of a stack is there: by the stack's tag, its IAM path and its names.

EC2's own listings are asked first, since the tagging API is minutes behind on AWS and knows neither roles nor
launch templates; the tagging API is asked last, for anything that nobody thought of.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rayform_provisioner.aws.calls import aws_calls, error_code
from rayform_provisioner.targets import Target

__all__ = ["Found", "inventory", "stack_instances", "unattached_associations"]

TAG = "rayform:stack"


@dataclass(frozen=True, slots=True)
class Found:
    """A resource that is in the cloud.

    Args:
        kind: the Terraform type.
        id: the ID that Terraform's state has for it.
        name: what a person calls it; its `Name` tag where it has one.
        state: its state, where it has one.
        worker: whether Ray's autoscaler started it.
    """

    kind: str
    id: str
    name: str = ""
    state: str = ""
    worker: bool = False

    def __str__(self) -> str:
        about = ", ".join(part for part in (self.name, self.state) if part and part != self.id)
        return f"{self.kind.removeprefix('aws_')} {self.id}" + (f" ({about})" if about else "")


def _tags(item: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags") or item.get("TagSet") or []}


# kind, EC2 operation, key of the answer's list, key of the ID, key of the state, states that are gone
_EC2: tuple[tuple[str, str, str, str, str | None, frozenset[str]], ...] = (
    ("aws_vpc", "describe_vpcs", "Vpcs", "VpcId", None, frozenset()),
    ("aws_subnet", "describe_subnets", "Subnets", "SubnetId", None, frozenset()),
    ("aws_internet_gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId", None, frozenset()),
    ("aws_route_table", "describe_route_tables", "RouteTables", "RouteTableId", None, frozenset()),
    ("aws_security_group", "describe_security_groups", "SecurityGroups", "GroupId", None, frozenset()),
    ("aws_nat_gateway", "describe_nat_gateways", "NatGateways", "NatGatewayId", "State", frozenset({"deleted"})),
    ("aws_vpc_endpoint", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", "State", frozenset({"deleted"})),
    ("aws_eip", "describe_addresses", "Addresses", "AllocationId", None, frozenset()),
    ("aws_launch_template", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId", None, frozenset()),
    ("aws_ebs_volume", "describe_volumes", "Volumes", "VolumeId", "State", frozenset({"deleted", "deleting"})),
    ("aws_key_pair", "describe_key_pairs", "KeyPairs", "KeyName", None, frozenset()),
    ("aws_ebs_snapshot", "describe_snapshots", "Snapshots", "SnapshotId", "State", frozenset()),
)  # fmt: skip


def stack_instances(target: Target, region: str, reference: str) -> list[Found]:
    """Return the stack's instances that are not terminated, the head's and Ray's workers alike."""
    ec2 = target.client("ec2", region)
    found = []
    for page in ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": f"tag:{TAG}", "Values": [reference]}]
    ):
        for reservation in page["Reservations"]:
            for item in reservation["Instances"]:
                state = item["State"]["Name"]
                if state != "terminated":
                    tags = _tags(item)
                    worker = tags.get("ray-node-type") != "head"
                    found.append(
                        Found("aws_instance", item["InstanceId"], tags.get("Name", ""), state, worker)
                    )
    return found


def inventory(
    target: Target, region: str, reference: str, *, bucket: str, repository: str, tagging: bool = True
) -> list[Found]:
    """Return everything of the stack that is in the cloud.

    Args:
        target: the cloud.
        region: its region.
        reference: the stack.
        bucket, repository: their names, for the moment between their making and their tagging.
        tagging: also ask the tagging API, which is slower to forget.

    Raises:
        RemoteError: the cloud didn't answer.
    """
    clients = {
        name: target.client(name, region)
        for name in ("ec2", "iam", "s3", "ecr", "rds", "secretsmanager", "resourcegroupstaggingapi")
    }
    ec2 = clients["ec2"]
    asks: list[Callable[[], Iterable[Found]]] = [lambda: stack_instances(target, region, reference)]
    asks += [functools.partial(_ec2, ec2, row, reference) for row in _EC2]
    asks += [
        lambda: _rules(ec2, reference),
        lambda: _iam(clients["iam"], reference),
        lambda: _bucket(clients["s3"], bucket),
        lambda: _repository(clients["ecr"], repository),
        lambda: _databases(clients["rds"], reference),
        lambda: _secrets(clients["secretsmanager"], reference),
    ]
    if tagging:
        asks.append(lambda: _tagged(clients["resourcegroupstaggingapi"], reference))
    with aws_calls(target), ThreadPoolExecutor(8) as pool:
        answers = [list(found) for found in pool.map(lambda ask: ask(), asks)]
    found = [item for answer in answers for item in answer]
    # A volume goes with its instance, and the tagging API tells most things a second time.
    attached = any(item.kind == "aws_instance" for item in found)
    return list(
        {item.id: item for item in found if not (attached and item.kind == "aws_ebs_volume")}.values()
    )


def _ec2(
    ec2: Any, row: tuple[str, str, str, str, str | None, frozenset[str]], reference: str
) -> Iterable[Found]:
    kind, operation, key, id_key, state_key, gone = row
    # NAT gateways call the argument `Filter`, launch templates page, addresses do not: one call each is enough
    # for the few things that a stack has.
    argument = "Filter" if operation == "describe_nat_gateways" else "Filters"
    more = {"OwnerIds": ["self"]} if operation == "describe_snapshots" else {}
    answer = getattr(ec2, operation)(**{argument: [{"Name": f"tag:{TAG}", "Values": [reference]}]}, **more)
    for item in answer[key]:
        tags = _tags(item)
        state = str(item.get(state_key, "")) if state_key else ""
        if tags.get(TAG) == reference and state.lower() not in gone:
            name = item.get("GroupName") or item.get("LaunchTemplateName") or tags.get("Name", "")
            yield Found(kind, item[id_key], name, state)


def _rules(ec2: Any, reference: str) -> Iterable[Found]:
    answer = ec2.describe_security_group_rules(Filters=[{"Name": f"tag:{TAG}", "Values": [reference]}])
    for rule in answer["SecurityGroupRules"]:
        way = "egress" if rule.get("IsEgress") else "ingress"
        yield Found(
            f"aws_vpc_security_group_{way}_rule", rule["SecurityGroupRuleId"], rule.get("GroupId", "")
        )


def unattached_associations(target: Target, region: str, reference: str) -> list[Found]:
    """Return the subnet associations of the stack's route tables, which bear no tag of their own."""
    with aws_calls(target):
        tables = target.client("ec2", region).describe_route_tables(
            Filters=[{"Name": f"tag:{TAG}", "Values": [reference]}]
        )["RouteTables"]
    return [
        Found("aws_route_table_association", link["RouteTableAssociationId"], table["RouteTableId"])
        for table in tables
        for link in table.get("Associations", [])
        if not link.get("Main") and link.get("SubnetId")
    ]


def _iam(iam: Any, reference: str) -> Iterable[Found]:
    path = f"/rayform/{reference}/"
    for page in iam.get_paginator("list_roles").paginate(PathPrefix=path):
        # The path is compared again: moto takes no notice of the prefix, and what is found here may be removed.
        for role in (item for item in page["Roles"] if item["Path"] == path):
            yield Found("aws_iam_role", role["RoleName"], role["RoleName"])
    for page in iam.get_paginator("list_instance_profiles").paginate(PathPrefix=path):
        for profile in (item for item in page["InstanceProfiles"] if item["Path"] == path):
            # Terraform's ID of a profile is its name, as a role's is: told apart by a prefix of our own.
            yield Found(
                "aws_iam_instance_profile",
                f"profile/{profile['InstanceProfileName']}",
                profile["InstanceProfileName"],
            )


def _missing(error: Any, *codes: str) -> bool:
    return error_code(error) in codes


def _bucket(s3: Any, bucket: str) -> Iterable[Found]:
    from botocore.exceptions import ClientError

    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if _missing(error, "404", "NoSuchBucket"):
            return
        raise
    yield Found("aws_s3_bucket", bucket, bucket)


def _repository(ecr: Any, repository: str) -> Iterable[Found]:
    from botocore.exceptions import ClientError

    try:
        ecr.describe_repositories(repositoryNames=[repository])
    except ClientError as error:
        if _missing(error, "RepositoryNotFoundException"):
            return
        raise
    yield Found("aws_ecr_repository", repository, repository)


def _databases(rds: Any, reference: str) -> Iterable[Found]:
    from botocore.exceptions import ClientError

    name = f"{reference}-catalog"
    try:
        for item in rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]:
            yield Found(
                "aws_db_instance", item.get("DbiResourceId") or name, name, item.get("DBInstanceStatus", "")
            )
    except ClientError as error:
        if not _missing(error, "DBInstanceNotFound", "DBInstanceNotFoundFault"):
            raise
    try:
        for item in rds.describe_db_subnet_groups(DBSubnetGroupName=name)["DBSubnetGroups"]:
            yield Found(
                "aws_db_subnet_group", f"subnet-group/{item['DBSubnetGroupName']}", item["DBSubnetGroupName"]
            )
    except ClientError as error:
        if not _missing(error, "DBSubnetGroupNotFoundFault", "DBSubnetGroupNotFound"):
            raise
    for page in rds.get_paginator("describe_db_parameter_groups").paginate():
        for item in page["DBParameterGroups"]:
            if item["DBParameterGroupName"].startswith(f"{name}-"):
                yield Found(
                    "aws_db_parameter_group",
                    f"parameter-group/{item['DBParameterGroupName']}",
                    item["DBParameterGroupName"],
                )


def _secrets(secrets: Any, reference: str) -> Iterable[Found]:
    name = f"rayform/{reference}/"
    for page in secrets.get_paginator("list_secrets").paginate(Filters=[{"Key": "name", "Values": [name]}]):
        for item in page["SecretList"]:
            if item["Name"].startswith(name) and not item.get("DeletedDate"):
                yield Found("aws_secretsmanager_secret", item["ARN"], item["Name"])


_LISTED = ("ec2", "s3", "ecr", "rds", "secretsmanager", "iam")


def _tagged(tagging: Any, reference: str) -> Iterable[Found]:
    """What the tagging API knows and no listing above covers."""
    for page in tagging.get_paginator("get_resources").paginate(
        TagFilters=[{"Key": TAG, "Values": [reference]}]
    ):
        for item in page["ResourceTagMappingList"]:
            arn = item["ResourceARN"]
            if arn.split(":")[2] not in _LISTED:
                yield Found("other", arn)
            elif ":snapshot:" in arn and ":rds:" in arn:
                yield Found("aws_db_snapshot", arn, arn.rsplit(":", 1)[-1])


def wait_until(check: Callable[[], bool], seconds: float, pause: float = 0.5) -> bool:
    """Ask `check` again and again, with growing pauses, until it holds or `seconds` are over."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 10)
    return True
