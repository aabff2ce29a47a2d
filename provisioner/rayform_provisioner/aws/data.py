"""Looks at the data that a stack holds, before anything touches it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from rayform_provisioner.aws.calls import aws_calls, error_code
from rayform_provisioner.targets import Target

__all__ = ["Holding", "begin_end_of_database", "bucket_holding", "registry_holding", "snapshot_database"]

SYSTEM_PREFIX = "system/"
COUNT_LIMIT = 20_000


@dataclass(frozen=True, slots=True)
class Holding:
    """Data in one component.

    Args:
        component: `bucket`, `registry` or `catalog`.
        name: its name in the cloud.
        content: what is in it, in words; empty for nothing.
    """

    component: str
    name: str
    content: str = ""


def bucket_holding(target: Target, region: str, bucket: str) -> Holding:
    """Count what is in `bucket` beside Rayform's own bootstrap files; old versions count too."""
    from botocore.exceptions import ClientError

    s3 = target.client("s3", region)
    count = size = 0
    with aws_calls(target):
        try:
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                for item in page.get("Versions", []):
                    if not item["Key"].startswith(SYSTEM_PREFIX):
                        count, size = count + 1, size + int(item["Size"])
                if count > COUNT_LIMIT:
                    break
        except ClientError as error:
            if error_code(error) == "NoSuchBucket":
                return Holding("bucket", bucket)
            raise
    if not count:
        return Holding("bucket", bucket)
    more = "more than " if count > COUNT_LIMIT else ""
    return Holding("bucket", bucket, f"{more}{count} object{'s' if count != 1 else ''}, {_size(size)}")


def registry_holding(target: Target, region: str, repository: str) -> Holding:
    """Count the images in `repository`."""
    from botocore.exceptions import ClientError

    ecr = target.client("ecr", region)
    images: set[str] = set()
    with aws_calls(target):
        try:
            for page in ecr.get_paginator("list_images").paginate(repositoryName=repository):
                images |= {item.get("imageDigest", item.get("imageTag", "")) for item in page["imageIds"]}
        except ClientError as error:
            if error_code(error) == "RepositoryNotFoundException":
                return Holding("registry", repository)
            raise
    return Holding(
        "registry", repository, f"{len(images)} image{'s' if len(images) != 1 else ''}" if images else ""
    )


def snapshot_database(target: Target, region: str, identifier: str, snapshot: str) -> None:
    """Take a snapshot of the database and wait until it can be restored; does nothing where it is there already."""
    from botocore.exceptions import ClientError

    rds = target.client("rds", region)
    with aws_calls(target):
        try:
            rds.create_db_snapshot(DBInstanceIdentifier=identifier, DBSnapshotIdentifier=snapshot)
        except ClientError as error:
            if "AlreadyExists" not in error_code(error):
                raise
        rds.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier=snapshot)


def begin_end_of_database(target: Target, region: str, identifier: str) -> None:
    """Order the end of a database and don't wait for it: of all that a stack has, it takes the longest to go.

    Terraform waits for it later, or finds it gone. What the cloud refuses now, Terraform asks for again, and says why.
    """
    from botocore.exceptions import ClientError

    rds = target.client("rds", region)
    with aws_calls(target), contextlib.suppress(ClientError):
        rds.delete_db_instance(
            DBInstanceIdentifier=identifier, SkipFinalSnapshot=True, DeleteAutomatedBackups=True
        )


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
