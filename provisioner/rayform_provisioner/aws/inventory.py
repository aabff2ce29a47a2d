"""Lists the resources of a stack that are in the cloud: by the stack's tag, its IAM path and its names.

Each service's own listing is asked, because AWS's tagging API is minutes behind and knows neither roles nor launch
templates. The tagging API is asked as well, for kinds of resources that no listing here covers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from rayform_provisioner.aws.calls import aws_calls, error_code
from rayform_provisioner.aws.clients import AwsClient, client
from rayform_provisioner.clouds import Resource
from rayform_provisioner.targets import Target

__all__ = ["inventory", "stack_instances", "untagged"]

TAG = "rayform:stack"


def _tags(item: Mapping[str, Sequence[Mapping[str, str]]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags") or item.get("TagSet") or []}


def _by_tag(reference: str) -> dict[str, str | list[str]]:
    return {"Name": f"tag:{TAG}", "Values": [reference]}


class _Listing(NamedTuple):
    """How EC2 lists one kind of resource."""

    kind: str
    operation: str
    list_key: str
    id_key: str
    state_key: str = ""
    states_gone: tuple[str, ...] = ()
    others: bool = False
    """Whether no stack makes this kind, so that somebody else's has the stack's tag."""


_EC2 = (
    _Listing("aws_vpc", "describe_vpcs", "Vpcs", "VpcId"),
    _Listing("aws_subnet", "describe_subnets", "Subnets", "SubnetId"),
    _Listing("aws_internet_gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    _Listing("aws_route_table", "describe_route_tables", "RouteTables", "RouteTableId"),
    _Listing("aws_security_group", "describe_security_groups", "SecurityGroups", "GroupId"),
    _Listing("aws_nat_gateway", "describe_nat_gateways", "NatGateways", "NatGatewayId", "State", ("deleted",)),
    _Listing("aws_vpc_endpoint", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", "State", ("deleted",)),
    _Listing("aws_eip", "describe_addresses", "Addresses", "AllocationId"),
    _Listing("aws_launch_template", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
    _Listing("aws_ebs_volume", "describe_volumes", "Volumes", "VolumeId", "State", ("deleted", "deleting")),
    _Listing("aws_key_pair", "describe_key_pairs", "KeyPairs", "KeyName"),
    _Listing("aws_ebs_snapshot", "describe_snapshots", "Snapshots", "SnapshotId", "State", others=True),
)  # fmt: skip


def stack_instances(target: Target, region: str, reference: str) -> list[Resource]:
    """Return the stack's instances that are not terminated: the head and Ray's workers."""
    ec2 = client(target, "ec2", region)
    resources = []
    for page in ec2.get_paginator("describe_instances").paginate(Filters=[_by_tag(reference)]):
        for reservation in page["Reservations"]:
            for item in reservation["Instances"]:
                state = item["State"]["Name"]
                if state != "terminated":
                    tags = _tags(item)
                    worker = tags.get("ray-node-type") != "head"
                    resources.append(
                        Resource("aws_instance", item["InstanceId"], tags.get("Name", ""), state, worker)
                    )
    return resources


def inventory(target: Target, region: str, reference: str, *, bucket: str, repository: str) -> list[Resource]:
    """Return every resource of the stack that the cloud lists.

    Args:
        target: the cloud.
        region: its region.
        reference: the stack.
        bucket, repository: their names, because a crash may have come before they were tagged.

    Raises:
        RemoteError: the cloud didn't answer.
    """
    ec2, iam, s3, ecr, rds, secrets, tagging = (
        client(target, service, region)
        for service in ("ec2", "iam", "s3", "ecr", "rds", "secretsmanager", "resourcegroupstaggingapi")
    )
    questions: list[Callable[[], Iterable[Resource]]] = [
        lambda: stack_instances(target, region, reference),
        *(functools.partial(_ec2, ec2, listing, reference) for listing in _EC2),
        lambda: _rules(ec2, reference),
        lambda: _iam(iam, reference),
        lambda: _bucket(s3, bucket),
        lambda: _repository(ecr, repository),
        lambda: _databases(rds, reference),
        lambda: _secrets(secrets, reference),
        lambda: _tagged(tagging, reference),
    ]
    with aws_calls(target), ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda question: list(question()), questions)
        resources = [resource for answer in answers for resource in answer]
    # A volume is deleted with its instance, and the tagging API repeats most of the other listings.
    attached = any(item.kind == "aws_instance" for item in resources)
    return list(
        {item.id: item for item in resources if not (attached and item.kind == "aws_ebs_volume")}.values()
    )


def _ec2(ec2: AwsClient, listing: _Listing, reference: str) -> Iterable[Resource]:
    # NAT gateways call the argument `Filter`. Launch templates come in pages and addresses do not, but a stack has
    # so few of each that one call returns all.
    argument = "Filter" if listing.operation == "describe_nat_gateways" else "Filters"
    more = {"OwnerIds": ["self"]} if listing.operation == "describe_snapshots" else {}
    describe = getattr(ec2, listing.operation)
    for item in describe(**{argument: [_by_tag(reference)]}, **more)[listing.list_key]:
        tags = _tags(item)
        state = str(item.get(listing.state_key, ""))
        if tags.get(TAG) == reference and state.lower() not in listing.states_gone:
            name = item.get("GroupName") or item.get("LaunchTemplateName") or tags.get("Name", "")
            # A VPC's default group, which Terraform adopts, can't be removed and ends with its VPC.
            default = listing.kind == "aws_security_group" and name == "default"
            kind = "aws_default_security_group" if default else listing.kind
            yield Resource(kind, item[listing.id_key], name, state, others=listing.others)


def _rules(ec2: AwsClient, reference: str) -> Iterable[Resource]:
    answer = ec2.describe_security_group_rules(Filters=[_by_tag(reference)])
    for rule in answer["SecurityGroupRules"]:
        way = "egress" if rule.get("IsEgress") else "ingress"
        yield Resource(
            f"aws_vpc_security_group_{way}_rule", rule["SecurityGroupRuleId"], rule.get("GroupId", "")
        )


def untagged(target: Target, region: str, reference: str) -> list[Resource]:
    """Return the subnet associations of the stack's route tables, which have no tag of their own."""
    with aws_calls(target):
        tables = client(target, "ec2", region).describe_route_tables(Filters=[_by_tag(reference)])[
            "RouteTables"
        ]
    return [
        Resource("aws_route_table_association", link["RouteTableAssociationId"], table["RouteTableId"])
        for table in tables
        for link in table.get("Associations", [])
        if not link.get("Main") and link.get("SubnetId")
    ]


def _iam(iam: AwsClient, reference: str) -> Iterable[Resource]:
    path = f"/rayform/{reference}/"
    for page in iam.get_paginator("list_roles").paginate(PathPrefix=path):
        # Compare the path again: moto ignores the prefix, and what this returns may be removed.
        for role in (item for item in page["Roles"] if item["Path"] == path):
            yield Resource("aws_iam_role", role["RoleName"], role["RoleName"])
    for page in iam.get_paginator("list_instance_profiles").paginate(PathPrefix=path):
        for profile in (item for item in page["InstanceProfiles"] if item["Path"] == path):
            # Terraform's ID of a profile is its name, as it is for a role: our own prefix tells them apart.
            yield Resource(
                "aws_iam_instance_profile",
                f"profile/{profile['InstanceProfileName']}",
                profile["InstanceProfileName"],
            )


def _missing(error: Exception, *codes: str) -> bool:
    return error_code(error) in codes


def _bucket(s3: AwsClient, bucket: str) -> Iterable[Resource]:
    from botocore.exceptions import ClientError

    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if _missing(error, "404", "NoSuchBucket"):
            return
        raise
    yield Resource("aws_s3_bucket", bucket, bucket)


def _repository(ecr: AwsClient, repository: str) -> Iterable[Resource]:
    from botocore.exceptions import ClientError

    try:
        ecr.describe_repositories(repositoryNames=[repository])
    except ClientError as error:
        if _missing(error, "RepositoryNotFoundException"):
            return
        raise
    yield Resource("aws_ecr_repository", repository, repository)


def _databases(rds: AwsClient, reference: str) -> Iterable[Resource]:
    from botocore.exceptions import ClientError

    name = f"{reference}-catalog"
    try:
        for item in rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]:
            yield Resource(
                "aws_db_instance", item.get("DbiResourceId") or name, name, item.get("DBInstanceStatus", "")
            )
    except ClientError as error:
        if not _missing(error, "DBInstanceNotFound", "DBInstanceNotFoundFault"):
            raise
    try:
        for item in rds.describe_db_subnet_groups(DBSubnetGroupName=name)["DBSubnetGroups"]:
            yield Resource(
                "aws_db_subnet_group", f"subnet-group/{item['DBSubnetGroupName']}", item["DBSubnetGroupName"]
            )
    except ClientError as error:
        if not _missing(error, "DBSubnetGroupNotFoundFault", "DBSubnetGroupNotFound"):
            raise
    for page in rds.get_paginator("describe_db_parameter_groups").paginate():
        for item in page["DBParameterGroups"]:
            if item["DBParameterGroupName"].startswith(f"{name}-"):
                yield Resource(
                    "aws_db_parameter_group",
                    f"parameter-group/{item['DBParameterGroupName']}",
                    item["DBParameterGroupName"],
                )


def _secrets(secrets: AwsClient, reference: str) -> Iterable[Resource]:
    name = f"rayform/{reference}/"
    for page in secrets.get_paginator("list_secrets").paginate(Filters=[{"Key": "name", "Values": [name]}]):
        for item in page["SecretList"]:
            if item["Name"].startswith(name) and not item.get("DeletedDate"):
                yield Resource("aws_secretsmanager_secret", item["ARN"], item["Name"])


_LISTED = ("ec2", "s3", "ecr", "rds", "secretsmanager", "iam")


def _tagged(tagging: AwsClient, reference: str) -> Iterable[Resource]:
    """What the tagging API lists and no listing above covers."""
    for page in tagging.get_paginator("get_resources").paginate(
        TagFilters=[{"Key": TAG, "Values": [reference]}]
    ):
        for item in page["ResourceTagMappingList"]:
            arn = item["ResourceARN"]
            if arn.split(":")[2] not in _LISTED:
                yield Resource("other", arn, others=True)
            elif ":snapshot:" in arn and ":rds:" in arn:
                # The name may have a colon: `awsbackup:job-…`.
                yield Resource("aws_db_snapshot", arn, arn.split(":snapshot:", 1)[1], others=True)
