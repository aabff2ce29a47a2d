"""What can go wrong with a bucket in any cloud, as errors that say what to do."""

from __future__ import annotations

from rayform_core.errors import ConflictError, NotFoundError, PrerequisiteError, RemoteError

__all__ = [
    "access_denied",
    "busy",
    "changed_in_transit",
    "missing_bucket",
    "missing_credentials",
    "missing_object",
    "no_answer",
    "object_exists",
    "refused",
]


def missing_bucket(bucket: str, *, settings: str, why: str | None = None) -> NotFoundError:
    """Build the error for a bucket that doesn't exist; `settings` names those that say where it is."""
    return NotFoundError(
        "bucket",
        bucket,
        why=why,
        hint=f"Check the store's {settings}, or create the bucket with `rayform stack deploy`.",
    )


def missing_object(bucket: str, key: str) -> NotFoundError:
    """Build the error for a key that the bucket doesn't have."""
    return NotFoundError("object", key, why=f"Bucket '{bucket}' has no object with this key.")


def object_exists(bucket: str, key: str) -> ConflictError:
    """Build the error for a write that must not replace an object and would."""
    return ConflictError(f"'{key}' exists already in bucket '{bucket}'.")


def missing_credentials(bucket: str, cloud: str, *, why: str, hint: str) -> PrerequisiteError:
    """Build the error for a cloud that this machine has no credentials for."""
    return PrerequisiteError(
        f"Bucket '{bucket}' can't be reached without {cloud} credentials.", why=why, hint=hint
    )


def access_denied(bucket: str, key: str, *, why: str, hint: str) -> RemoteError:
    """Build the error for credentials that may not do this; `hint` names the permissions."""
    return RemoteError(
        f"Access to bucket '{bucket}' is denied" + (f" for '{key}'." if key else "."), why=why, hint=hint
    )


def busy(bucket: str, *, why: str) -> RemoteError:
    """Build the error for a bucket that turned every try away because of load."""
    return RemoteError(
        f"Bucket '{bucket}' is too busy.",
        why=why,
        hint="Rayform tried several times. Wait a little, then run again.",
    )


def refused(bucket: str, key: str, *, why: str) -> RemoteError:
    """Build the error for an answer that has no error of its own here."""
    return RemoteError(
        f"Bucket '{bucket}' refused" + (f" '{key}'." if key else " the request."),
        why=why,
        hint="Rayform has already tried again if that could help.",
    )


def no_answer(bucket: str, key: str, error: BaseException) -> RemoteError:
    """Build the error for a connection that failed, or broke off."""
    return RemoteError(
        f"Bucket '{bucket}' did not answer as it should" + (f" on '{key}'." if key else "."),
        why=f"{type(error).__name__}: {error}.",
        hint="Rayform tried several times. Check the network and the store's `endpoint_url`, then run again.",
    )


def changed_in_transit(bucket: str, key: str, *, why: str) -> RemoteError:
    """Build the error for data that differs from what was sent."""
    return RemoteError(
        f"The data of '{key}' changed on its way to or from bucket '{bucket}'.",
        why=why,
        hint="Run again. If it happens again, look for a faulty proxy or a failing disk on the way.",
    )
