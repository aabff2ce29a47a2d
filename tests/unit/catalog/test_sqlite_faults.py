"""What can go wrong with a file: each is a clear error, and nothing that was committed is lost."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.catalogs import Scene

from rayform_core.errors import ConflictError, IntegrityError, PrerequisiteError, UsageError
from rayform_runtime.catalog.config import SQLiteConfig
from rayform_runtime.catalog.sql import sqlite
from rayform_runtime.catalog.sql.catalog import SQLCatalog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "catalog.db"


@pytest.fixture
def catalog(path: Path) -> Iterator[SQLCatalog]:
    made = SQLCatalog(SQLiteConfig(path=str(path)), stack_name="test")
    yield made
    made.close()


def test_nobody_else_can_read_the_catalog(catalog: SQLCatalog, path: Path) -> None:
    """The folder is 0700, and the file and those that SQLite puts next to it 0600, whatever the umask."""
    before = os.umask(0)
    try:
        Scene(catalog).saved("a")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_commits_reach_the_disk(catalog: SQLCatalog) -> None:
    """Connections run with a write-ahead log that is synced at each commit, and with foreign keys."""
    pragmas = {
        name: catalog.database.read(lambda s, n=name: s.rows(f"PRAGMA {n}"))[0][0]  # type: ignore[misc]
        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 60_000}


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_left_as_it_is(catalog: SQLCatalog, path: Path, content: bytes) -> None:
    """A file that isn't a catalog is an integrity error and stays untouched."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="damaged, or isn't a catalog"):
        catalog.list_runs()
    assert path.read_bytes() == content


def test_pages_that_rot_are_noticed(catalog: SQLCatalog, path: Path) -> None:
    """Damage inside a table is an integrity error when it is read."""
    scene = Scene(catalog)
    for _ in range(200):
        scene.saved("a", metadata={"x": "y" * 500})
    catalog.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = bytearray(path.read_bytes())
    content[100_000:] = b"\x5a" * (len(content) - 100_000)
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="damaged"):
        for _ in range(3):
            catalog.list_artifact_versions()
            catalog.plan_prune()


def test_a_full_disk_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that finds no room fails whole; what was there stays, and writing works once there is room."""
    catalog = SQLCatalog(SQLiteConfig(path=str(path)), stack_name="test")
    scene = Scene(catalog)
    run = scene.run()
    kept = scene.saved("a")
    pages = catalog.database.read(lambda s: s.rows("PRAGMA page_count"))[0][0]
    catalog.close()
    connect = sqlite.SQLiteDatabase._connect
    with monkeypatch.context() as patch:

        def with_little_room(self: sqlite.SQLiteDatabase) -> sqlite._SQLiteSession:
            session = connect(self)
            session.connection.execute(f"PRAGMA max_page_count={pages + 2}")
            return session

        patch.setattr(sqlite.SQLiteDatabase, "_connect", with_little_room)
        with pytest.raises(PrerequisiteError, match="Free some disk space"):
            scene.step(run, outputs=["b"], metadata={"long": "x" * 60_000})
        assert catalog.get_artifact_version("a") == kept
        catalog.close()
    scene.step(run, outputs=["b"], metadata={"long": "x" * 60_000})
    assert catalog.get_artifact_version("b").number == 1
    catalog.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone who may not write")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Without the right to write, the error names the path and what to do."""
    tmp_path.chmod(0o755)
    sealed = tmp_path / "sealed"
    sealed.mkdir(mode=0o755)
    parents = [parent for parent in tmp_path.parents if not stat.S_IMODE(parent.stat().st_mode) & 0o001]
    for parent in parents:
        parent.chmod(stat.S_IMODE(parent.stat().st_mode) | 0o011)
    os.seteuid(65534)
    try:
        catalog = SQLCatalog(SQLiteConfig(path=str(sealed / "new" / "c.db")), stack_name="test")
        with pytest.raises(PrerequisiteError, match=r"sealed.*Permission denied.*RAYFORM_HOME"):
            catalog.list_runs()
    finally:
        os.seteuid(0)


def test_a_path_through_a_file_is_a_clear_error(tmp_path: Path) -> None:
    """A catalog below something that isn't a folder can't be made."""
    (tmp_path / "file").write_text("")
    catalog = SQLCatalog(SQLiteConfig(path=str(tmp_path / "file" / "c.db")), stack_name="test")
    with pytest.raises(PrerequisiteError):
        catalog.list_runs()


def test_a_relative_path_is_refused() -> None:
    """A catalog must not depend on the folder that a command is called in."""
    with pytest.raises(UsageError, match="relative"):
        SQLCatalog(SQLiteConfig(path="catalog.db"), stack_name="test")


def test_a_file_that_vanishes_is_noticed_before_anything_is_written(catalog: SQLCatalog, path: Path) -> None:
    """Writing into a deleted file would lose the data silently."""
    Scene(catalog).saved("a")
    path.rename(path.with_name("moved.db"))
    with pytest.raises(IntegrityError, match="removed or replaced"):
        Scene(catalog).saved("a")


def test_a_writer_that_never_ends_is_not_waited_for_for_ever(path: Path) -> None:
    """After its patience a writer says that the catalog is busy, not that something is locked."""
    catalog = SQLCatalog(sqlite.SQLiteDatabase(str(path), busy_seconds=0.05), stack_name="test")
    catalog.migrate()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(ConflictError, match="is busy") as caught:
            catalog.create_model("m")
        assert "locked" not in str(caught.value)
        assert catalog.list_models().total == 0  # readers never wait
    finally:
        blocker.rollback()
        blocker.close()
    catalog.create_model("m")
    catalog.close()


def test_an_interrupt_inside_a_transaction_leaves_nothing(catalog: SQLCatalog) -> None:
    """Ctrl-C in the middle of a write rolls it back and the catalog goes on."""
    Scene(catalog).saved("a")

    def interrupted(session: object) -> None:
        session.run("DELETE FROM artifact_versions")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        catalog.database.write(interrupted)
    assert catalog.list_artifact_versions().total == 1
    assert Scene(catalog).saved("a").number == 2


def test_a_file_that_was_half_made_is_shared_with_other_processes(catalog: SQLCatalog, path: Path) -> None:
    """A process that completes a half-made catalog keeps its lock, sees what others write, and loses nothing."""
    path.parent.mkdir()
    maker = sqlite3.connect(path)
    maker.execute("PRAGMA journal_mode=WAL")
    maker.close()
    assert catalog.list_runs().total == 0
    other = """
import sys
sys.path[:0] = sys.argv[3:]
from support.catalogs import Scene
from rayform_runtime.catalog.sql.catalog import SQLCatalog
catalog = SQLCatalog.in_file(sys.argv[1], stack_name="test")
print(catalog.list_runs().total)
Scene(catalog).run(sys.argv[2])
catalog.close()  # as the last one, as far as it can see
"""
    for number in range(2):
        done = subprocess.run(
            [sys.executable, "-c", other, str(path), f"theirs-{number}", *sys.path],
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(done.stdout) == 2 * number
        assert catalog.list_runs().total == 2 * number + 1
        Scene(catalog).run(f"ours-{number}")
        assert path.with_name("catalog.db-wal").exists()
