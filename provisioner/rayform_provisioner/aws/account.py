# ruff: noqa: E501  (sentences read better whole)
"""Checks what an account must have before a stack can be made in it: KMS keys, and the role that spot machines need."""

from __future__ import annotations

from typing import Any

from rayform_core.errors import RemoteError
from rayform_provisioner.aws.calls import aws_calls, error_code, error_message
from rayform_provisioner.aws.clients import AwsClient, client
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.definitions.problems import Problems
from rayform_provisioner.targets import Target

__all__ = [
    "SPOT_ROLE",
    "check_keys",
    "check_state_bucket",
    "default_disk_key",
    "disk_key_of",
    "prepare_account",
    "spot_role_is_missing",
]

SPOT_ROLE = "AWSServiceRoleForEC2Spot"


def check_keys(definition: StackDefinition, target: Target, problems: Problems) -> None:
    """Check that each KMS key of the definition exists, is enabled and can encrypt a bucket, images or a database."""
    if target.emulated and "kms" not in target.endpoints:
        return
    keys = {
        "artifact_store": definition.artifact_store.kms_key_arn,
        "container_registry": definition.container_registry.kms_key_arn,
        "catalog": definition.catalog.kms_key_arn,
    }
    kms = client(target, "kms", definition.region)
    for section, arn in keys.items():
        if arn is not None:
            reason = _reason_against(kms, arn)
            if reason:
                problems.add((section, "kms_key_arn"), *reason)


def _reason_against(kms: AwsClient, arn: str) -> tuple[str, str] | None:
    """Return why this key can't be used, and what would help; `None` if it can."""
    from botocore.exceptions import ClientError

    try:
        key: dict[str, Any] = kms.describe_key(KeyId=arn)["KeyMetadata"]
    except ClientError as error:
        code = error_code(error)
        if code == "NotFoundException":
            return f"There is no KMS key '{arn}'.", "Check its ID, region and account."
        if "AccessDenied" in code:
            return (
                f"This account may not use the KMS key '{arn}' ({error_message(error)}).",
                "A key of another account must allow this one in its key policy, and your user must be allowed kms:DescribeKey.",
            )
        raise
    if key.get("KeyState", "Enabled") != "Enabled":
        return (
            f"The KMS key is not enabled: its state is {key['KeyState']}.",
            "Enable it, or name another key.",
        )
    spec = key.get("KeySpec", key.get("CustomerMasterKeySpec", "SYMMETRIC_DEFAULT"))
    if spec != "SYMMETRIC_DEFAULT" or key.get("KeyUsage", "ENCRYPT_DECRYPT") != "ENCRYPT_DECRYPT":
        return (
            f"The KMS key is for {key.get('KeyUsage')} with {spec}, and AWS encrypts data at rest with symmetric keys alone.",
            "Name a symmetric key for encryption.",
        )
    return None


def default_disk_key(definition: StackDefinition, target: Target) -> str | None:
    """Return the ARN of the customer's key that encrypts each new disk of the account; `None` if AWS's own does.

    The head starts workers with encrypted disks, and for a customer's key it needs rights on that key.
    """
    if target.emulated:  # moto doesn't know the setting
        return None
    ec2, kms = (client(target, service, definition.region) for service in ("ec2", "kms"))
    return disk_key_of(ec2, kms)


def disk_key_of(ec2: AwsClient, kms: AwsClient) -> str | None:
    """As `default_disk_key`, with the region's clients."""
    from botocore.exceptions import ClientError

    try:
        key = str(ec2.get_ebs_default_kms_key_id()["KmsKeyId"])
        if key.endswith("alias/aws/ebs"):
            return None
        metadata = kms.describe_key(KeyId=key)["KeyMetadata"]
    except ClientError as error:
        if "Denied" in error_code(error) or "Unauthorized" in error_code(error):
            return (
                None  # whoever may not look at the key can't be helped here; EC2 says so when a worker starts
            )
        raise
    return None if metadata.get("KeyManager") == "AWS" else str(metadata["Arn"])


def check_state_bucket(definition: StackDefinition, target: Target, problems: Problems) -> None:
    """Check that the bucket for Terraform's state is there: a deploy doesn't make it."""
    from botocore.exceptions import ClientError

    state = definition.state
    if state.bucket is None:
        return
    try:
        client(target, "s3", state.region or definition.region).head_bucket(Bucket=state.bucket)
    except ClientError as error:
        if error_code(error) in ("404", "NoSuchBucket"):
            problems.add(
                ("state", "bucket"),
                f"There is no bucket '{state.bucket}' for Terraform's state.",
                f"Make it: aws s3 mb s3://{state.bucket} --region {state.region or definition.region}",
            )
        elif error_code(error) == "301":
            region = (
                error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")
            )
            problems.add(
                ("state", "bucket"),
                f"The bucket '{state.bucket}' is in another region.",
                f"Write `region: {region}` next to it." if region else "Name its region next to it.",
            )
        # A refusal is left to Terraform: users who may write the state need not be allowed to look at the bucket.


def spot_role_is_missing(definition: StackDefinition, target: Target) -> bool:
    """Return whether the definition asks for spot machines in an account that never used any.

    EC2 makes its service-linked role when a user starts the first spot machine. The head's role may not make it, so
    its autoscaler would fail at every start.
    """
    from botocore.exceptions import ClientError

    if not any(group.spot for group in definition.compute.workers.values()):
        return False
    path = "/aws-service-role/spot.amazonaws.com/"
    try:
        roles = client(target, "iam", definition.region).list_roles(PathPrefix=path)["Roles"]
    except ClientError as error:
        if "Denied" in error_code(error):
            return False  # Without the permission to look, trust that the role is there.
        raise
    # Compare the path again, because moto ignores the prefix.
    return not any(role["Path"] == path for role in roles)


def prepare_account(target: Target, definition: StackDefinition) -> list[str]:
    """Make what the account itself needs for a stack of this definition; return a sentence about each.

    That is EC2's service-linked role for spot machines. It belongs to the account: it has no stack's tag, costs
    nothing, and stays after a destroy.

    Raises:
        RemoteError: it is missing, and the user may not make it.
    """
    from botocore.exceptions import ClientError

    with aws_calls(target):
        if not spot_role_is_missing(definition, target):
            return []
        try:
            client(target, "iam", definition.region).create_service_linked_role(
                AWSServiceName="spot.amazonaws.com"
            )
        except ClientError as error:
            if error_code(error) in (
                "InvalidInput",
                "EntityAlreadyExists",
            ):  # another command made it in the meantime
                return []
            raise RemoteError(
                f"Spot machines need the role {SPOT_ROLE}, which this account lacks and AWS did not let you make.",
                why=f"{error_code(error)}: {error_message(error)}.",
                hint="Ask an administrator to run: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com",
            ) from error
    return [f"Made the account's role {SPOT_ROLE}, without which EC2 starts no spot machine."]
