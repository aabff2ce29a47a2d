"""The changes of a deployed stack's definition that no cloud can make, and the upgrades that need care."""

from __future__ import annotations

from rayform_provisioner.definitions.definition import LoadedDefinition, StackDefinition
from rayform_provisioner.definitions.problems import Problems

__all__ = ["major_upgrade", "refuse_impossible"]


def refuse_impossible(before: StackDefinition, loaded: LoadedDefinition) -> None:
    """Refuse what RDS can't do to a database that exists: shrink its disk, or go back to an older version.

    Terraform would plan nothing for the one, and fail in the middle of the apply for the other.

    Args:
        before: the definition that was applied last.
        loaded: the new one.

    Raises:
        DefinitionError: with the place of each.
    """
    problems = Problems(loaded)
    old, new = before.catalog, loaded.definition.catalog
    if old.existing is None and new.existing is None:
        if new.storage_gb < old.storage_gb:
            problems.add(
                ("catalog", "storage_gb"),
                f"The catalog's disk has {old.storage_gb} GB, and RDS can't make a disk smaller.",
                f"Write {old.storage_gb} or more.",
            )
        if _version(new.postgres_version) < _version(old.postgres_version)[: _parts(new.postgres_version)]:
            problems.add(
                ("catalog", "postgres_version"),
                f"The catalog runs PostgreSQL {old.postgres_version}, and RDS can't go back to {new.postgres_version}.",
                f'Write "{old.postgres_version}", or a newer version.',
            )
    problems.raise_if_any()


def major_upgrade(before: StackDefinition, after: StackDefinition) -> tuple[str, str] | None:
    """Return the old and the new major version of PostgreSQL if a deploy would upgrade the catalog; else `None`.

    Example:
        >>> major_upgrade(definition_with_16, definition_with_17)  # doctest: +SKIP
        ('16', '17')
    """
    if before.catalog.existing is not None or after.catalog.existing is not None:
        return None
    old, new = (part.catalog.postgres_version.split(".")[0] for part in (before, after))
    return (old, new) if int(new) > int(old) else None


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _parts(text: str) -> int:
    return len(text.split("."))
