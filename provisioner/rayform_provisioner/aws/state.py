"""Terraform's state in an S3 bucket: when it was written, who holds its lock, and its removal."""

from __future__ import annotations

import json

from rayform_core.errors import IntegrityError
from rayform_provisioner.aws.calls import aws_calls, error_code
from rayform_provisioner.aws.clients import client
from rayform_provisioner.clouds import BucketObject, LockInfo, StoredObject
from rayform_provisioner.targets import Target

__all__ = ["read_lock", "read_object", "remove_lock", "remove_state", "state_written"]


def read_lock(target: Target, place: BucketObject) -> LockInfo | None:
    """Return who holds the lock of the state at `place`, or `None` if nobody does.

    Source: Terraform's S3 backend, whose lock is the object `KEY.tflock` with JSON in it.

    Raises:
        RemoteError: the bucket did not answer.
        IntegrityError: the lock was not written by Terraform.
    """
    lock = read_object(target, _lock_of(place))
    if lock is None:
        return None
    try:
        holder = json.loads(lock.content)
        return LockInfo(*(str(holder[name]) for name in ("ID", "Who", "Operation", "Created")))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"s3://{place.bucket}/{place.key}.tflock is not a lock of Terraform's.",
            why=f"{error}.",
            hint="Look at the object; delete it if nobody needs it.",
        ) from error


def remove_lock(target: Target, place: BucketObject, lock_id: str) -> bool:
    """Remove the lock `lock_id` of the state at `place`; return false if it is gone or another's by now.

    This deletes the object itself. `terraform force-unlock` would need a whole `init` first, and while a state moves
    to another bucket, that `init` needs the very lock.
    """
    holder = read_lock(target, place)
    if holder is None or holder.id != lock_id:
        return False
    _delete(target, _lock_of(place))
    return True


def state_written(target: Target, place: BucketObject) -> float | None:
    """Return when the state at `place` was last written, in seconds since 1970; `None` if it holds no resources.

    Raises:
        RemoteError: the bucket did not answer.
        IntegrityError: the object is not a state.
    """
    state = read_object(target, place)
    if state is None:
        return None
    try:
        return state.modified if json.loads(state.content).get("resources") else None
    except (ValueError, AttributeError) as error:
        raise IntegrityError(
            f"s3://{place.bucket}/{place.key} is not a state of Terraform's.", why=f"{error}."
        ) from error


def remove_state(target: Target, place: BucketObject) -> None:
    """Remove the state at `place`; if the bucket keeps old versions, those stay."""
    _delete(target, place)


def read_object(target: Target, place: BucketObject) -> StoredObject | None:
    """Return the object at `place`, or `None` if there is none."""
    from botocore.exceptions import ClientError

    with aws_calls(target):
        try:
            answer = client(target, "s3", place.region).get_object(Bucket=place.bucket, Key=place.key)
        except ClientError as error:
            if error_code(error) in ("NoSuchKey", "404"):
                return None
            raise
        return StoredObject(answer["Body"].read(), answer["LastModified"].timestamp())


def _delete(target: Target, place: BucketObject) -> None:
    with aws_calls(target):
        client(target, "s3", place.region).delete_object(Bucket=place.bucket, Key=place.key)


def _lock_of(state: BucketObject) -> BucketObject:
    return state._replace(key=f"{state.key}.tflock")
