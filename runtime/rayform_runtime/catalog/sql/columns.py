"""The columns of each table, once: inserts, column lists of queries, and the names by which rows are read.

`tables.py` describes the same tables to SQLAlchemy, which is too slow to import for a command. A test compares the two.
`entities.py` describes the facts that the columns hold.
"""

# Without `from __future__ import annotations`: a `NamedTuple` compiles each annotation that is text, and a command that
# reads the catalog waits for all of them.
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from rayform_runtime.catalog.sql.database import Row, Session, StoredId, marks

__all__ = [
    "ARTIFACTS",
    "ARTIFACT_VERSIONS",
    "CACHED_OUTPUTS",
    "MODELS",
    "MODEL_VERSIONS",
    "MODEL_VERSION_ARTIFACTS",
    "MODEL_VERSION_RUNS",
    "RUNS",
    "RUN_CALLS",
    "RUN_DETAILS",
    "STAGE_CHANGES",
    "STEP_INPUTS",
    "STEP_RUNS",
    "TAGS",
    "ArtifactRow",
    "ArtifactVersionRow",
    "CachedOutputRow",
    "ModelRow",
    "ModelVersionArtifactRow",
    "ModelVersionRow",
    "ModelVersionRunRow",
    "RunCallRow",
    "RunDetailsRow",
    "RunRow",
    "StageChangeRow",
    "StepInputRow",
    "StepRunRow",
    "Table",
    "TagRow",
    "execute",
]

R = TypeVar("R", bound=NamedTuple)


# One attribute for each column of the table, and one for the newest version.
class ModelRow(NamedTuple):
    """A row of `models`."""

    id: StoredId
    name: str
    description: str | None
    license: str | None
    created_at: int
    last_number: int
    last_sequence: int
    tags: str | None
    metadata: str | None
    latest_version: str | None = None


# One attribute for each column of the table, and one for the model's name.
class ModelVersionRow(NamedTuple):
    """A row of `model_versions`."""

    id: StoredId
    model_id: StoredId
    sequence: int
    version: str
    number: int | None
    stage: str
    description: str | None
    created_at: int
    tags: str | None
    metadata: str | None
    model_name: str = ""


class StageChangeRow(NamedTuple):
    """A row of `stage_changes`."""

    id: StoredId
    model_id: StoredId
    model_version_id: StoredId
    version: str
    old_stage: str
    new_stage: str
    at: int
    user_name: str | None


# One attribute for each column of the table: more than 15.
class RunRow(NamedTuple):
    """A row of `runs`, and of `run_details` next to it."""

    id: StoredId
    name: str
    pipeline: str
    status: str
    stack_name: str
    created_at: int
    started_at: int | None
    ended_at: int | None
    heartbeat_at: int | None
    stop_requested: bool
    user_name: str | None
    host: str | None
    pid: int | None
    pid_started: float | None
    orchestrator_id: str | None
    model_version_id: StoredId | None
    parameters: str | None
    tags: str | None
    error: str | None
    metadata: str | None
    spec: str | None = None
    stack: str | None = None
    code: str | None = None
    environment: str | None = None


class RunDetailsRow(NamedTuple):
    """A row of `run_details`."""

    run_id: StoredId
    spec: str | None
    stack: str | None
    code: str | None
    environment: str | None


# One attribute for each column of the table: more than 15.
class StepRunRow(NamedTuple):
    """A row of `step_runs`."""

    id: StoredId
    run_id: StoredId
    key: str
    map_index: int | None
    name: str
    status: str
    attempt: int
    cache_key: str | None
    cached_from: StoredId | None
    output_count: int
    source: str | None
    code_digest: str | None
    log_uri: str | None
    started_at: int | None
    ended_at: int | None
    parameters: str | None
    resources: str | None
    error: str | None
    metadata: str | None
    reuse: str | None


class ArtifactRow(NamedTuple):
    """A row of `artifacts`."""

    id: StoredId
    name: str
    created_at: int
    last_number: int
    last_sequence: int
    tags: str | None
    metadata: str | None
    latest_version: str | None = None


# One attribute for each column of the table: more than 15.
class ArtifactVersionRow(NamedTuple):
    """A row of `artifact_versions`."""

    id: StoredId
    artifact_id: StoredId
    sequence: int
    version: str
    number: int | None
    type: str
    artifact_type: str
    materializer: str
    uri: str
    digest: str
    size: int
    created_at: int
    producer_step_run_id: StoredId | None
    producer_run_id: StoredId | None
    output_name: str | None
    output_position: int
    external: bool
    tags: str | None
    metadata: str | None
    visualizations: str | None
    artifact_name: str = ""


class StepInputRow(NamedTuple):
    """A row of `step_inputs`."""

    step_run_id: StoredId
    position: int
    name: str
    artifact_version_id: StoredId


class CachedOutputRow(NamedTuple):
    """A row of `cached_outputs`."""

    step_run_id: StoredId
    position: int
    name: str | None
    artifact_version_id: StoredId


class ModelVersionArtifactRow(NamedTuple):
    """A row of `model_version_artifacts`."""

    model_version_id: StoredId
    artifact_version_id: StoredId


class ModelVersionRunRow(NamedTuple):
    """A row of `model_version_runs`."""

    model_version_id: StoredId
    run_id: StoredId


class RunCallRow(NamedTuple):
    """A row of `run_calls`."""

    run_id: StoredId
    position: int
    call: str


class TagRow(NamedTuple):
    """A row of `tags`."""

    subject: str
    tag: str
    subject_id: StoredId


class Table(Generic[R]):
    """A table's name, its alias in queries, and the type of its rows.

    Args:
        name: the table.
        alias: what queries call it; `columns` and `joined` rely on it.
        row: the type of its rows: its columns, and after them the names in `joined`.
        joined: what queries read of other tables along with a row: SQL by name.

    Example:
        >>> TAGS.insert
        'INSERT INTO tags (subject, tag, subject_id) VALUES (?, ?, ?)'
    """

    def __init__(self, name: str, alias: str, row: type[R], joined: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._alias = alias
        self._joined = joined or {}
        self.names = row._fields[: len(row._fields) - len(self._joined)]
        """The columns."""
        self.insert = f"INSERT INTO {name} ({', '.join(self.names)}) VALUES ({marks(len(self.names))})"
        """Inserts a row."""
        self.read: Callable[[Iterable[object]], R] = partial(tuple.__new__, row)
        """Returns a row of a query that listed `columns()` with its names: `_make` at half the time."""

    def columns(self, *, without: Collection[str] = ()) -> str:
        """Return what a `SELECT` lists so that `read` can name it; those in `without` are read as `NULL`."""
        sql = {name: f"{self._alias}.{name}" for name in self.names} | dict(self._joined)
        return ", ".join("NULL" if name in without else text for name, text in sql.items())

    def write(self, session: Session, rows: Sequence[R]) -> None:
        """Insert rows; one that exists is refused."""
        execute(session, self.insert, self.values(rows))

    def write_new(self, session: Session, rows: Sequence[R]) -> int:
        """Insert the rows that don't exist yet, and return how many were inserted."""
        return execute(session, f"{self.insert} ON CONFLICT DO NOTHING", self.values(rows))

    def values(self, rows: Sequence[R]) -> Sequence[Row]:
        """Return the values of `insert` for each row: what is joined isn't among them.

        They are plain tuples, whose items SQLite's driver reads faster than those of named ones.
        """
        count = len(self.names)
        return [row[:count] for row in rows]


def execute(session: Session, sql: str, rows: Sequence[Row]) -> int:
    """Execute a statement once for each row, and return how many rows it changed."""
    if not rows:
        return 0
    # A batch of one costs more than a statement.
    return session.run(sql, rows[0]) if len(rows) == 1 else session.many(sql, rows)


MODELS = Table(
    "models",
    "m",
    ModelRow,
    {
        "latest_version": "(SELECT l.version FROM model_versions l WHERE l.model_id = m.id "
        "ORDER BY l.sequence DESC LIMIT 1)"
    },
)
MODEL_VERSIONS = Table("model_versions", "v", ModelVersionRow, {"model_name": "m.name"})
STAGE_CHANGES = Table("stage_changes", "c", StageChangeRow)
RUNS = Table(
    "runs",
    "r",
    RunRow,
    {"spec": "d.spec", "stack": "d.stack", "code": "d.code", "environment": "d.environment"},
)
RUN_CALLS = Table("run_calls", "k", RunCallRow)
RUN_DETAILS = Table("run_details", "d", RunDetailsRow)
STEP_RUNS = Table("step_runs", "s", StepRunRow)
ARTIFACTS = Table(
    "artifacts",
    "a",
    ArtifactRow,
    {
        "latest_version": "(SELECT l.version FROM artifact_versions l WHERE l.artifact_id = a.id "
        "ORDER BY l.sequence DESC LIMIT 1)"
    },
)
ARTIFACT_VERSIONS = Table("artifact_versions", "v", ArtifactVersionRow, {"artifact_name": "a.name"})
STEP_INPUTS = Table("step_inputs", "i", StepInputRow)
CACHED_OUTPUTS = Table("cached_outputs", "c", CachedOutputRow)
MODEL_VERSION_ARTIFACTS = Table("model_version_artifacts", "l", ModelVersionArtifactRow)
MODEL_VERSION_RUNS = Table("model_version_runs", "l", ModelVersionRunRow)
TAGS = Table("tags", "t", TagRow)
