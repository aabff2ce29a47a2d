"""Which schema this version of Rayform needs, and the DDL that creates a catalog in one go.

`sqlite.sql` and `postgresql.sql` are rendered from `catalog/sql/tables.py` by
`python -m rayform_runtime.catalog.schema.render`. A test compares them with the tables and with the result of the
migrations.
"""

from __future__ import annotations

from enum import Enum, auto
from pathlib import Path

from rayform_core.errors import IntegrityError

__all__ = ["ADVISORY_LOCK", "HEAD", "READ_VERSION", "VERSIONS", "VERSION_TABLE", "State", "ddl", "judge"]

VERSIONS = ("0001", "0002", "0003")
"""All revisions in `catalog/migrations/versions`, oldest first."""
HEAD = VERSIONS[-1]
VERSION_TABLE = "alembic_version"
READ_VERSION = "SELECT version_num FROM alembic_version"
ADVISORY_LOCK = 0x7261796672
"""Key of the lock that lets one process at a time create or migrate a PostgreSQL catalog."""


class State(Enum):
    """How a database's schema compares with the one that this version of Rayform needs."""

    EMPTY = auto()
    CURRENT = auto()
    OLD = auto()


def judge(version: str | None, *, empty: bool, where: str) -> State:
    """Return the state of a database at this version.

    Raises:
        IntegrityError: a newer Rayform wrote it, or another program did.
    """
    if version == HEAD:
        return State.CURRENT
    if version in VERSIONS:
        return State.OLD
    if version is not None:
        raise IntegrityError(
            f"{where} was written by a newer version of Rayform.",
            why=f"Its schema is '{version}'; this version knows schemas up to '{HEAD}'.",
            hint="Upgrade Rayform: pip install --upgrade rayform. Nothing was changed.",
        )
    if not empty:
        raise IntegrityError(
            f"{where} holds tables that aren't Rayform's.",
            hint="Give the catalog a file or database of its own. Nothing was changed.",
        )
    return State.EMPTY


def ddl(dialect: str) -> list[str]:
    """Return the statements that create the current schema, with its version, in an empty database."""
    text = (Path(__file__).parent / f"{dialect}.sql").read_text(encoding="utf-8")
    return [statement for part in text.split(";\n") if (statement := part.strip())]
