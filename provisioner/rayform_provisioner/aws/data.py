"""The data that a stack holds: how much there is, and how it is saved or deleted."""

from __future__ import annotations

import contextlib

from rayform_provisioner.aws.calls import aws_calls, error_code
from rayform_provisioner.aws.clients import client
from rayform_provisioner.targets import Target

__all__ = [
    "begin_end_of_database",
    "bucket_holding",
    "empty_bucket",
    "empty_repository",
    "registry_holding",
    "snapshot_database",
]

SYSTEM_PREFIX = "system/"
COUNT_LIMIT = 20_000


def bucket_holding(target: Target, region: str, bucket: str) -> str:
    """Describe how much is in `bucket` besides Rayform's own files, old versions included; empty if nothing is."""
    from botocore.exceptions import ClientError

    s3 = client(target, "s3", region)
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
                return ""
            raise
    more = "more than " if count > COUNT_LIMIT else ""
    return f"{more}{count} object{'s' if count != 1 else ''}, {_size(size)}" if count else ""


def registry_holding(target: Target, region: str, repository: str) -> str:
    """Describe how many images are in `repository`; empty if there are none."""
    from botocore.exceptions import ClientError

    ecr = client(target, "ecr", region)
    images: set[str] = set()
    with aws_calls(target):
        try:
            for page in ecr.get_paginator("list_images").paginate(repositoryName=repository):
                images |= {item.get("imageDigest", item.get("imageTag", "")) for item in page["imageIds"]}
        except ClientError as error:
            if error_code(error) == "RepositoryNotFoundException":
                return ""
            raise
    return f"{len(images)} image{'s' if len(images) != 1 else ''}" if images else ""


def empty_bucket(target: Target, region: str, bucket: str) -> int:
    """Delete every object, version and unfinished upload in `bucket`; return how many were deleted."""
    s3 = client(target, "s3", region)
    count = 0
    with aws_calls(target):
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            keys = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            ]
            if keys:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
                count += len(keys)
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
            for upload in page.get("Uploads", []):
                s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    return count


def empty_repository(target: Target, region: str, repository: str) -> int:
    """Delete every image in `repository`; return how many were deleted."""
    ecr = client(target, "ecr", region)
    count = 0
    with aws_calls(target):
        for page in ecr.get_paginator("list_images").paginate(repositoryName=repository):
            for start in range(0, len(page["imageIds"]), 100):
                ids = page["imageIds"][start : start + 100]
                ecr.batch_delete_image(repositoryName=repository, imageIds=ids)
                count += len(ids)
    return count


def snapshot_database(target: Target, region: str, identifier: str, snapshot: str) -> None:
    """Take a snapshot of the database and wait until it can be restored; keep the snapshot if it already exists."""
    from botocore.exceptions import ClientError

    rds = client(target, "rds", region)
    with aws_calls(target):
        try:
            rds.create_db_snapshot(DBInstanceIdentifier=identifier, DBSnapshotIdentifier=snapshot)
        except ClientError as error:
            if "AlreadyExists" not in error_code(error):
                raise
        rds.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier=snapshot)


def begin_end_of_database(target: Target, region: str, identifier: str, *, protected: bool = False) -> None:
    """Order the end of a database, the slowest part of a stack to delete, and don't wait for it.

    Terraform waits for it later, or sees that it is gone. If AWS refuses now, Terraform asks again and says why.

    Args:
        target: the cloud.
        region: its region.
        identifier: the database.
        protected: the definition protects it from deletion: lift that first.
    """
    from botocore.exceptions import ClientError

    rds = client(target, "rds", region)
    with aws_calls(target):
        if protected:
            try:
                rds.modify_db_instance(
                    DBInstanceIdentifier=identifier, DeletionProtection=False, ApplyImmediately=True
                )
            except ClientError as error:
                if "DBInstanceNotFound" not in error_code(error):
                    raise
        with contextlib.suppress(ClientError):
            rds.delete_db_instance(
                DBInstanceIdentifier=identifier, SkipFinalSnapshot=True, DeleteAutomatedBackups=True
            )


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
