"""Terraform's state in a bucket: what it is, who holds its lock, and its end."""

from __future__ import annotations

import json
from typing import Any

from rayform_core.errors import IntegrityError
from rayform_provisioner.aws.calls import aws_calls, error_code
from rayform_provisioner.targets import Target
from rayform_provisioner.terraform.errors import LockInfo

__all__ = ["read_lock", "remove_lock", "remove_state", "state_written"]


def read_lock(target: Target, region: str, bucket: str, key: str) -> LockInfo | None:
    """Return who holds the lock of the state at `key`, or `None` for nobody.

    Source: Terraform's S3 backend, whose lock is the object `KEY.tflock` with JSON in it.

    Raises:
        RemoteError: the bucket did not answer.
        IntegrityError: the lock is not Terraform's.
    """
    answer = _get(target, region, bucket, f"{key}.tflock")
    if answer is None:
        return None
    try:
        told = json.loads(answer[0])
        return LockInfo(*(str(told[name]) for name in ("ID", "Who", "Operation", "Created")))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"s3://{bucket}/{key}.tflock is no lock of Terraform's.",
            why=f"{error}.",
            hint="Look at the object; delete it if nobody needs it.",
        ) from error


def remove_lock(target: Target, region: str, bucket: str, key: str, lock_id: str) -> bool:
    """Remove the lock `lock_id` of the state at `key`; return false where it is gone, or another's by now.

    By hand rather than by `terraform force-unlock`, which wants a whole `init` first, and that wants the lock where
    the state is on its way to another bucket.
    """
    held = read_lock(target, region, bucket, key)
    if held is None or held.id != lock_id:
        return False
    with aws_calls(target):
        target.client("s3", region).delete_object(Bucket=bucket, Key=f"{key}.tflock")
    return True


def state_written(target: Target, region: str, bucket: str, key: str) -> float | None:
    """Return when the state at `key` was last written, in seconds since 1970; `None` where nothing is in it.

    Raises:
        RemoteError: the bucket did not answer.
        IntegrityError: it is no state.
    """
    answer = _get(target, region, bucket, key)
    if answer is None:
        return None
    try:
        state: dict[str, Any] = json.loads(answer[0])
        return answer[1] if state.get("resources") else None
    except (ValueError, AttributeError) as error:
        raise IntegrityError(f"s3://{bucket}/{key} is no state of Terraform's.", why=f"{error}.") from error


def remove_state(target: Target, region: str, bucket: str, key: str) -> None:
    """Remove the state at `key`; versions that the bucket keeps stay."""
    with aws_calls(target):
        target.client("s3", region).delete_object(Bucket=bucket, Key=key)


def _get(target: Target, region: str, bucket: str, key: str) -> tuple[bytes, float] | None:
    """Return an object and when it was written, or `None` for none."""
    from botocore.exceptions import ClientError

    with aws_calls(target):
        try:
            answer = target.client("s3", region).get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error_code(error) in ("NoSuchKey", "404"):
                return None
            raise
        return answer["Body"].read(), answer["LastModified"].timestamp()
