"""Render `tables.py` to the DDL files next to this module: `python -m rayform_runtime.catalog.schema.render`."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from rayform_runtime.catalog.schema import HEAD, VERSION_TABLE
from rayform_runtime.catalog.sql.tables import metadata

__all__ = ["render"]

DIALECTS: dict[str, type[Dialect]] = {"sqlite": sqlite.dialect, "postgresql": postgresql.dialect}


def render(name: str) -> str:
    """Return the DDL of the current schema in this dialect."""
    dialect = DIALECTS[name]()
    statements = [
        f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL, "
        f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num))",
        f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{HEAD}')",
    ]
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        statements += [
            str(CreateIndex(index).compile(dialect=dialect))
            for index in sorted(table.indexes, key=lambda i: str(i.name))
        ]
    lines = [line.rstrip() for s in statements for line in (s.strip() + ";").splitlines()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for dialect_name in DIALECTS:
        (Path(__file__).parent / f"{dialect_name}.sql").write_text(render(dialect_name), encoding="utf-8")
