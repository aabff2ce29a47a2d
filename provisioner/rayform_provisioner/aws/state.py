"""Terraform's state in a bucket: who holds its lock, and its end."""

from __future__ import annotations

import json

from rayform_core.errors import IntegrityError
from rayform_provisioner.aws.calls import aws_calls, error_code
from rayform_provisioner.targets import Target
from rayform_provisioner.terraform_errors import LockInfo

__all__ = ["read_lock", "remove_state"]


def read_lock(target: Target, region: str, bucket: str, key: str) -> LockInfo | None:
    """Return who holds the lock of the state at `key`, or `None` for nobody.

    Source: Terraform's S3 backend, whose lock is the object `KEY.tflock` with JSON in it.

    Raises:
        RemoteError: the bucket did not answer.
        IntegrityError: the lock is not Terraform's.
    """
    from botocore.exceptions import ClientError

    with aws_calls(target):
        try:
            answer = target.client("s3", region).get_object(Bucket=bucket, Key=f"{key}.tflock")
        except ClientError as error:
            if error_code(error) in ("NoSuchKey", "404"):
                return None
            raise
        text = answer["Body"].read(100_000)
    try:
        told = json.loads(text)
        return LockInfo(*(str(told[name]) for name in ("ID", "Who", "Operation", "Created")))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"s3://{bucket}/{key}.tflock is no lock of Terraform's.",
            why=f"{error}.",
            hint="Look at the object; delete it if nobody needs it.",
        ) from error


def remove_state(target: Target, region: str, bucket: str, key: str) -> None:
    """Remove the state at `key`; versions that the bucket keeps stay."""
    with aws_calls(target):
        target.client("s3", region).delete_object(Bucket=bucket, Key=key)
