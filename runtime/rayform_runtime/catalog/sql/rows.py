"""Entities from rows, and the values of columns that aren't plain: times, tags, errors, visualizations."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from rayform_core.errors import UsageError
from rayform_runtime.catalog.entities import (
    Artifact,
    ArtifactVersion,
    Model,
    ModelStage,
    ModelVersion,
    Run,
    RunStatus,
    StepError,
    StepRun,
    StepStatus,
    Visualization,
)
from rayform_runtime.catalog.metadata import decode, decode_json, decode_object, encode, encode_json
from rayform_runtime.catalog.reuse import Reuse
from rayform_runtime.catalog.sql.columns import (
    ARTIFACT_VERSIONS,
    ARTIFACTS,
    MODEL_VERSIONS,
    MODELS,
    RUNS,
    STEP_RUNS,
)
from rayform_runtime.catalog.sql.database import Database

__all__ = [
    "checked_name",
    "decode_reuse",
    "decode_tags",
    "encode_error",
    "encode_reuse",
    "encode_tags",
    "encode_visualizations",
    "microseconds",
    "moment",
    "now",
    "optional_moment",
    "read_artifact",
    "read_artifact_version",
    "read_model",
    "read_model_version",
    "read_run",
    "read_step_run",
]

MAX_NAME_CHARACTERS = 255
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A look-up takes a third of the time of `RunStatus(value)`.
_RUN_STATUSES = {status.value: status for status in RunStatus}
_STEP_STATUSES = {status.value: status for status in StepStatus}


def now() -> int:
    """Return the current time in microseconds since 1970."""
    return time.time_ns() // 1000


def microseconds(at: datetime | None) -> int | None:
    """Return a time as the catalog keeps it; one without a zone counts as UTC."""
    if at is None:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(stored: int) -> datetime:
    """Return a stored time; floats hold it to a quarter of a microsecond until the year 2100."""
    return datetime.fromtimestamp(stored / 1e6, UTC)


def optional_moment(stored: int | None) -> datetime | None:
    """Return a stored time, or `None`."""
    return None if stored is None else datetime.fromtimestamp(stored / 1e6, UTC)


def checked_name(name: str, what: str) -> str:
    """Return a name that can be stored and typed.

    Raises:
        UsageError: it is empty, too long, or holds control characters.
    """
    if (
        not isinstance(name, str)
        or not name.strip()
        or len(name) > MAX_NAME_CHARACTERS
        or not name.isprintable()
    ):
        raise UsageError(
            f"{what} {name!r:.80} can't be used.",
            why=f"A name has 1 to {MAX_NAME_CHARACTERS} printable characters.",
        )
    return name


def encode_tags(tags: Sequence[str]) -> str | None:
    """Return tags as JSON, sorted and each once, or `None` if there are none."""
    if not tags:
        return None
    if isinstance(tags, str):
        raise UsageError(f"Tags are a list, not the text '{tags}'.", hint=f'Write ["{tags}"].')
    return json.dumps(sorted({checked_name(tag, "Tag") for tag in tags}))


@lru_cache(maxsize=4096)
def _tags(text: str) -> tuple[str, ...]:
    # The versions of a page have few different sets of tags.
    return tuple(json.loads(text))


def decode_tags(text: str | None) -> tuple[str, ...]:
    """Return the tags in JSON text."""
    return () if text is None else _tags(text)


def encode_error(error: StepError | None) -> str | None:
    """Return an error as JSON."""
    if error is None:
        return None
    return encode_json({"type": error.type, "message": error.message, "traceback": error.traceback})


def decode_error(text: str | None) -> StepError | None:
    """Return the error in JSON text."""
    return None if text is None else StepError(**decode_json(text))


def encode_visualizations(visualizations: Sequence[Visualization]) -> str | None:
    """Return visualizations as JSON."""
    pictures = [[v.name, v.kind, v.path, *([v.digest] if v.digest else [])] for v in visualizations]
    return encode_json(pictures) if pictures else None


def decode_visualizations(text: str | None) -> tuple[Visualization, ...]:
    """Return the visualizations in JSON text."""
    if text is None:
        return ()
    entries = decode_json(text)
    is_ours = isinstance(entries, list) and all(
        isinstance(entry, list) and len(entry) in (3, 4) and all(isinstance(part, str) for part in entry)
        for entry in entries
    )
    return tuple(Visualization(*entry) for entry in entries) if is_ours else ()


def read_run(columns: Iterable[object], database: Database) -> Run:
    """Read the columns of `RUNS`."""
    row = RUNS.read(columns)
    return Run(
        id=database.get_id(row.id),
        name=row.name,
        pipeline=row.pipeline,
        status=_RUN_STATUSES[row.status],
        stack_name=row.stack_name,
        created_at=moment(row.created_at),
        started_at=optional_moment(row.started_at),
        ended_at=optional_moment(row.ended_at),
        heartbeat_at=optional_moment(row.heartbeat_at),
        parameters=decode_object(row.parameters),
        tags=decode_tags(row.tags),
        user=row.user_name,
        host=row.host,
        pid=row.pid,
        pid_started=row.pid_started,
        error=decode_error(row.error),
        model_version_id=database.get_optional_id(row.model_version_id),
        orchestrator_id=row.orchestrator_id,
        spec=decode_object(row.spec),
        stack=decode_object(row.stack),
        code=decode_object(row.code),
        environment=decode_object(row.environment),
        metadata=decode(row.metadata),
    )


def encode_reuse(reuse: Reuse | None) -> str | None:
    """Return what the column `reuse` keeps."""
    if reuse is None:
        return None
    return encode_json(
        {
            "places": list(reuse.places),
            "code": dict(reuse.code),
            "model_metadata": encode(reuse.model_metadata),
        }
    )


def decode_reuse(text: str | None) -> Reuse | None:
    """Read the column `reuse`."""
    if text is None:
        return None
    document = json.loads(text)
    return Reuse(document["places"], document["code"], decode(document["model_metadata"]))


def read_step_run(
    columns: Iterable[object],
    database: Database,
    inputs: dict[str, list[UUID]],
    outputs: dict[str, list[UUID]],
) -> StepRun:
    """Read the columns of `STEP_RUNS`."""
    row = STEP_RUNS.read(columns)
    return StepRun(
        id=database.get_id(row.id),
        run_id=database.get_id(row.run_id),
        key=row.key,
        name=row.name,
        status=_STEP_STATUSES[row.status],
        attempt=row.attempt,
        map_index=row.map_index,
        cache_key=row.cache_key,
        cached_from=database.get_optional_id(row.cached_from),
        parameters=decode_object(row.parameters),
        resources=decode_object(row.resources),
        source=row.source,
        code_digest=row.code_digest,
        log_uri=row.log_uri,
        error=decode_error(row.error),
        started_at=optional_moment(row.started_at),
        ended_at=optional_moment(row.ended_at),
        inputs=inputs,
        outputs=outputs,
        metadata=decode(row.metadata),
    )


def read_artifact_version(columns: Iterable[object], database: Database) -> ArtifactVersion:
    """Read the columns of `ARTIFACT_VERSIONS`."""
    row = ARTIFACT_VERSIONS.read(columns)
    get = database.get_id
    step, run = row.producer_step_run_id, row.producer_run_id
    # By position and without calls: lists read thousands of versions.
    return ArtifactVersion(
        get(row.id),
        get(row.artifact_id),
        row.artifact_name,
        row.version,
        row.number,
        row.type,
        row.artifact_type,
        row.materializer,
        row.uri,
        row.digest,
        row.size,
        datetime.fromtimestamp(row.created_at / 1e6, UTC),
        None if step is None else get(step),
        None if run is None else get(run),
        row.output_name,
        bool(row.external),
        () if row.tags is None else _tags(row.tags),
        decode(row.metadata),
        () if row.visualizations is None else decode_visualizations(row.visualizations),
    )


def read_artifact(columns: Iterable[object], database: Database) -> Artifact:
    """Read the columns of `ARTIFACTS`."""
    row = ARTIFACTS.read(columns)
    return Artifact(
        id=database.get_id(row.id),
        name=row.name,
        created_at=moment(row.created_at),
        tags=decode_tags(row.tags),
        metadata=decode(row.metadata),
        latest_version=row.latest_version,
    )


def read_model(columns: Iterable[object], database: Database) -> Model:
    """Read the columns of `MODELS`."""
    row = MODELS.read(columns)
    return Model(
        id=database.get_id(row.id),
        name=row.name,
        description=row.description,
        license=row.license,
        created_at=moment(row.created_at),
        tags=decode_tags(row.tags),
        metadata=decode(row.metadata),
        latest_version=row.latest_version,
    )


def read_model_version(
    columns: Iterable[object], database: Database, run_ids: Iterable[UUID]
) -> ModelVersion:
    """Read the columns of `MODEL_VERSIONS`."""
    row = MODEL_VERSIONS.read(columns)
    return ModelVersion(
        id=database.get_id(row.id),
        model_id=database.get_id(row.model_id),
        name=row.model_name,
        version=row.version,
        number=row.number,
        stage=ModelStage(row.stage),
        description=row.description,
        created_at=moment(row.created_at),
        tags=decode_tags(row.tags),
        metadata=decode(row.metadata),
        run_ids=tuple(run_ids),
    )
