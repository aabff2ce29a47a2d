"""Migrations run up, check and down on both databases, and by themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from support.catalogs import CatalogMaker, Scene

from rayform_core.errors import IntegrityError
from rayform_runtime.catalog import schema
from rayform_runtime.catalog.config import SQLiteConfig
from rayform_runtime.catalog.migrations import run
from rayform_runtime.catalog.schema.render import DIALECTS, render
from rayform_runtime.catalog.sql.tables import metadata

NEWEST = schema.HEAD
NEXT = f"{int(NEWEST) + 1:04}"
SECOND = '''
"""A revision for tests."""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "{next}", "{newest}", None, None
def upgrade():
    op.add_column("artifacts", sa.Column("extra", sa.Text()))
    op.execute("UPDATE artifacts SET extra = 'migrated'")
    {after}
def downgrade():
    op.drop_column("artifacts", "extra")
'''


def dialect(maker: CatalogMaker) -> str:
    return "sqlite" if isinstance(maker.config, SQLiteConfig) else "postgresql"


def looked_at(maker: CatalogMaker, work: Any) -> Any:
    results: list[Any] = []
    run.connected(dialect(maker), maker.connect, lambda connection: results.append(work(connection)))
    return results[0]


def differences(maker: CatalogMaker) -> list[Any]:
    def compare(connection: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    return looked_at(maker, compare)  # type: ignore[no-any-return]


def _text(value: Any) -> str:
    return str({key: str(item) for key, item in value.items()} if isinstance(value, dict) else value)


def described(maker: CatalogMaker) -> Any:
    """Return the database's description of its tables, sorted."""

    def describe(connection: sa.Connection) -> Any:
        look = sa.inspect(connection)
        return {
            table: (
                [(c["name"], str(c["type"]), c["nullable"]) for c in look.get_columns(table)],
                look.get_pk_constraint(table),
                sorted(sorted((k, _text(v)) for k, v in index.items()) for index in look.get_indexes(table)),
                sorted(look.get_unique_constraints(table), key=lambda u: str(u["name"])),
                sorted(look.get_foreign_keys(table), key=lambda f: str(f["name"])),
            )
            for table in sorted(look.get_table_names())
        }

    return looked_at(maker, describe)


def test_every_migration_runs_up_and_down(empty: CatalogMaker) -> None:
    """From nothing to the newest revision one by one, back to nothing, and up again."""
    for revision in schema.VERSIONS:
        run.migrate(dialect(empty), empty.connect, revision)
    assert differences(empty) == []
    for revision in [*schema.VERSIONS[-2::-1], "base"]:
        run.migrate(dialect(empty), empty.connect, revision)
    assert [table for table in described(empty) if table != schema.VERSION_TABLE] == []
    run.migrate(dialect(empty), empty.connect, "head")
    Scene(empty.open()).saved("a")


def test_a_fresh_catalog_is_what_the_migrations_make(empty: CatalogMaker, tmp_path: Path) -> None:
    """The rendered DDL and the migrations lead to the same tables, indexes and constraints."""
    empty.open().migrate()
    assert differences(empty) == []
    rendered = described(empty)
    other = CatalogMaker(tmp_path / "other", empty.server)
    (tmp_path / "other").mkdir()
    run.migrate(dialect(empty), other.connect, "head")
    assert described(other) == rendered
    other.close()


@pytest.mark.parametrize("name", DIALECTS)
def test_the_rendered_ddl_is_up_to_date(name: str) -> None:
    """The DDL next to `render.py` is what it renders from the tables."""
    assert (Path(schema.__file__).parent / f"{name}.sql").read_text() == render(name)


def test_the_known_versions_are_alembics() -> None:
    """`schema.VERSIONS` lists the revisions in their order."""
    revisions = ScriptDirectory(str(run.SCRIPTS)).walk_revisions()
    assert tuple(revision.revision for revision in revisions)[::-1] == schema.VERSIONS


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Adds a revision to those of this Rayform."""

    def begin(after: str = "pass") -> None:
        scripts = tmp_path / "migrations"
        shutil.copytree(run.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        (scripts / "versions" / f"{NEXT}_next.py").write_text(
            SECOND.format(after=after, next=NEXT, newest=NEWEST)
        )
        monkeypatch.setattr(run, "SCRIPTS", scripts)
        monkeypatch.setattr(schema, "VERSIONS", (*schema.VERSIONS, NEXT))
        monkeypatch.setattr(schema, "HEAD", NEXT)

    return begin


def test_an_old_catalog_is_migrated_when_it_is_opened(empty: CatalogMaker, next_version: Any) -> None:
    """The first use by a newer Rayform migrates and keeps all; SQLite leaves a copy of the file as it was."""
    before = Scene(empty.open()).saved("a", metadata={"n": 1})
    next_version()
    catalog = empty.open()
    assert catalog.get_artifact_version("a") == before
    with empty.connect() as connection:
        assert connection.execute("SELECT extra FROM artifacts").fetchall() == [("migrated",)]
    if isinstance(empty.config, SQLiteConfig):
        copy = Path(empty.config.path + f".before-{NEXT}")
        assert copy.stat().st_mode & 0o777 == 0o600
    assert empty.open().get_artifact_version("a") == before


@pytest.mark.parametrize("version", schema.VERSIONS[:-1])
def test_a_catalog_of_each_older_version_is_migrated(empty: CatalogMaker, version: str) -> None:
    """A catalog that an older Rayform made is of use to this one at its first opening."""
    run.migrate(dialect(empty), empty.connect, version)
    saved = Scene(empty.open()).saved("a", metadata={"n": 1})
    assert empty.open().get_artifact_version("a") == saved


def test_a_migration_that_fails_changes_nothing(empty: CatalogMaker, next_version: Any) -> None:
    """An error half-way leaves the catalog at its old version with all that was in it."""
    before = Scene(empty.open()).saved("a")
    next_version("raise RuntimeError('half-way')")
    with pytest.raises(RuntimeError, match="half-way"):
        empty.open().migrate()
    with empty.connect() as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(NEWEST,)]
        assert connection.execute("SELECT name FROM artifacts").fetchall() == [("a",)]
    assert before.version == "1"


def test_a_catalog_from_a_newer_version_is_left_alone(empty: CatalogMaker) -> None:
    """A schema that this Rayform doesn't know is an integrity error that says to upgrade."""
    empty.open().migrate()
    with empty.connect() as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(IntegrityError, match="newer version of Rayform.*9999.*Upgrade"):
        empty.open().list_runs()


def test_foreign_tables_are_left_alone(empty: CatalogMaker) -> None:
    """A database with tables of another program is refused, not filled."""
    with empty.connect() as connection:
        connection.execute("CREATE TABLE accounts (id INTEGER)")
    with pytest.raises(IntegrityError, match="aren't Rayform's"):
        empty.open().migrate()
    assert list(described(empty)) == ["accounts"]


def test_using_a_current_catalog_loads_neither_sqlalchemy_nor_alembic(tmp_path: Path) -> None:
    """Creating, writing and listing do without them: importing them takes longer than a command may."""
    code = (
        "import sys; from rayform_runtime.catalog.sql.catalog import SQLCatalog; "
        "from rayform_runtime.catalog.config import SQLiteConfig; "
        f"c = SQLCatalog(SQLiteConfig(path={str(tmp_path / 'c.db')!r}), stack_name='s'); "
        "c.create_model('m'); assert c.list_models().total == 1; c.close(); "
        "print({'sqlalchemy', 'alembic', 'psycopg', 'boto3'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
