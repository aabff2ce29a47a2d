"""Keys of objects below a store's root: relative POSIX paths that can't leave it."""

from __future__ import annotations

from uuid import UUID

from rayform_core.errors import UsageError

__all__ = ["VERSIONS", "is_safe_key", "safe_key", "version_id", "version_key"]

VERSIONS = "versions"
"""Folder below the root that holds one folder for each artifact version."""

_LONGEST = 1024  # bytes; the limit of S3 and GCS


def is_safe_key(key: str) -> bool:
    """Whether `key` is a relative POSIX path of plain names, short enough for every store."""
    if not key or "\\" in key or not key.isprintable() or "\ufffd" in key:
        return False
    if len(key) > _LONGEST or any(part in ("", ".", "..") for part in key.split("/")):
        return False
    try:
        parts = key.encode().split(b"/")
    except UnicodeEncodeError:
        return False
    return sum(map(len, parts)) + len(parts) <= _LONGEST and all(len(part) <= 255 for part in parts)


def safe_key(key: str) -> str:
    """Return `key` as it is.

    Raises:
        UsageError: `key` isn't a relative POSIX path of plain names.

    Example:
        >>> safe_key("logs/run/step.log")
        'logs/run/step.log'
    """
    if not is_safe_key(key):
        raise UsageError(
            f"{key[:200]!r} is not a valid key of an artifact store.",
            why="A key is a relative path with '/' between names, of at most "
            f"{_LONGEST} bytes. '.', '..', empty names, backslashes and control characters aren't allowed.",
            hint="Pass a path below the store's root.",
        )
    return key


def version_key(id: UUID) -> str:
    """Return the key of an artifact version's folder."""
    return f"{VERSIONS}/{id}"


def version_id(root: str, uri: str) -> UUID:
    """Return the version that an artifact URI names in the store at `root`.

    Raises:
        UsageError: the URI lies in another store, or names no version.
    """
    prefix = f"{root}/{VERSIONS}/"
    if uri.startswith(prefix):
        try:
            version = UUID(uri[len(prefix) :])
        except ValueError:
            pass
        else:
            if str(version) == uri[len(prefix) :]:
                return version
    raise UsageError(
        f"'{uri[:300]}' is not an artifact of the store '{root}'.",
        why=f"The store's artifacts have URIs of the form '{prefix}<UUID>'.",
        hint="Activate the stack that made the artifact.",
    )
