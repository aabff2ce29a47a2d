"""Rows to records: the columns of each list and how they are read, in one order."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
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
from rayform_runtime.catalog.metadata import decode, decode_json, encode_json
from rayform_runtime.catalog.sql.database import Database, Row

__all__ = [
    "checked_name",
    "encode_error",
    "encode_tags",
    "encode_visualizations",
    "microseconds",
    "moment",
    "now",
]

RUN_COLUMNS = (
    "r.id, r.name, r.pipeline, r.status, r.stack_name, r.created_at, r.started_at, r.ended_at, r.heartbeat_at, "
    "r.user_name, r.host, r.pid, r.pid_started, r.orchestrator_id, r.model_version_id, r.parameters, r.tags, r.error"
)
RUN_DETAILS = ", r.metadata, d.spec, d.stack, d.code, d.environment"
STEP_COLUMNS = (
    "s.id, s.run_id, s.key, s.name, s.status, s.attempt, s.map_index, s.cache_key, s.cached_from, s.source, "
    "s.code_digest, s.log_uri, s.started_at, s.ended_at, s.parameters, s.resources, s.error, s.metadata"
)
VERSION_COLUMNS = (
    "v.id, v.artifact_id, a.name, v.version, v.number, v.type, v.artifact_type, v.materializer, v.uri, v.digest, "
    "v.size, v.created_at, v.producer_step_run_id, v.producer_run_id, v.output_name, v.external, v.tags"
)
VERSION_DETAILS = ", v.metadata, v.visualizations"
MAX_NAME_CHARACTERS = 255
_MODES = {status.value: status for status in RunStatus}
_STEP_MODES = {status.value: status for status in StepStatus}


def now() -> int:
    """Return the moment in microseconds since 1970."""
    return time.time_ns() // 1000


def microseconds(at: datetime | None) -> int | None:
    """Return a time as the catalog keeps it; one without a zone is taken for UTC."""
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


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def checked_name(name: str, what: str) -> str:
    """Return a name that can be kept and typed.

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
            why=f"It takes 1 to {MAX_NAME_CHARACTERS} characters that can be printed.",
        )
    return name


def encode_tags(tags: Sequence[str]) -> str | None:
    """Return tags as JSON, sorted and each once, or `None` where there are none."""
    if not tags:
        return None
    if isinstance(tags, str):
        raise UsageError(f"Tags are a list, not the text '{tags}'.", hint=f'Write ["{tags}"].')
    return json.dumps(sorted({checked_name(tag, "Tag") for tag in tags}))


def decode_tags(text: str | None) -> tuple[str, ...]:
    """Return the tags in JSON text."""
    return () if text is None else tuple(json.loads(text))


def encode_error(error: StepError | None) -> str | None:
    """Return an error as JSON."""
    if error is None:
        return None
    return encode_json({"type": error.type, "message": error.message, "traceback": error.traceback})


def decode_error(text: str | None) -> StepError | None:
    """Return the error in JSON text."""
    return None if text is None else StepError(**decode_json(text))


def encode_visualizations(found: Sequence[Visualization]) -> str | None:
    """Return visualizations as JSON."""
    return encode_json([[v.name, v.kind, v.path] for v in found]) if found else None


def decode_visualizations(text: str | None) -> tuple[Visualization, ...]:
    """Return the visualizations in JSON text."""
    return () if text is None else tuple(Visualization(*entry) for entry in decode_json(text))


def run_record(row: Row, database: Database) -> Run:
    """Read `RUN_COLUMNS`, and `RUN_DETAILS` where they follow."""
    (
        id,
        name,
        pipeline,
        status,
        stack_name,
        created,
        started,
        ended,
        heartbeat,
        user,
        host,
        pid,
        pid_started,
    ) = row[:13]
    (orchestrator_id, model_version_id, parameters, tags, error) = row[13:18]
    details: dict[str, Any] = {}
    if len(row) > 18:
        metadata, spec, stack, code, environment = row[18:]
        details = {
            "metadata": decode(metadata),
            "spec": decode_json(spec) or {},
            "stack": decode_json(stack) or {},
            "code": decode_json(code) or {},
            "environment": decode_json(environment) or {},
        }
    return Run(
        id=database.get_id(id),
        name=name,
        pipeline=pipeline,
        status=_MODES[status],
        stack_name=stack_name,
        created_at=moment(created),
        started_at=optional_moment(started),
        ended_at=optional_moment(ended),
        heartbeat_at=optional_moment(heartbeat),
        parameters=decode_json(parameters) or {},
        tags=decode_tags(tags),
        user=user,
        host=host,
        pid=pid,
        pid_started=pid_started,
        error=decode_error(error),
        model_version_id=database.get_optional_id(model_version_id),
        orchestrator_id=orchestrator_id,
        **details,
    )


def step_record(
    row: Row, database: Database, inputs: dict[str, list[UUID]], outputs: dict[str, list[UUID]]
) -> StepRun:
    """Read `STEP_COLUMNS`."""
    (id, run_id, key, name, status, attempt, map_index, cache_key, cached_from, source, digest, log_uri) = (
        row[:12]
    )
    (started, ended, parameters, resources, error, metadata) = row[12:]
    return StepRun(
        id=database.get_id(id),
        run_id=database.get_id(run_id),
        key=key,
        name=name,
        status=_STEP_MODES[status],
        attempt=attempt,
        map_index=map_index,
        cache_key=cache_key,
        cached_from=database.get_optional_id(cached_from),
        parameters=decode_json(parameters) or {},
        resources=decode_json(resources) or {},
        source=source,
        code_digest=digest,
        log_uri=log_uri,
        error=decode_error(error),
        started_at=optional_moment(started),
        ended_at=optional_moment(ended),
        inputs=inputs,
        outputs=outputs,
        metadata=decode(metadata),
    )


@lru_cache(maxsize=4096)
def _tags(text: str) -> tuple[str, ...]:
    # The versions of a page have few different sets of tags.
    return tuple(json.loads(text))


def version_record(row: Row, database: Database) -> ArtifactVersion:
    """Read `VERSION_COLUMNS`, and `VERSION_DETAILS` where they follow."""
    get = database.get_id
    step, run = row[12], row[13]
    return ArtifactVersion(
        get(row[0]),
        get(row[1]),
        row[2],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        row[8],
        row[9],
        row[10],
        datetime.fromtimestamp(row[11] / 1e6, UTC),
        None if step is None else get(step),
        None if run is None else get(run),
        row[14],
        bool(row[15]),
        () if row[16] is None else _tags(row[16]),
        decode(row[17]) if len(row) > 17 else {},
        decode_visualizations(row[18]) if len(row) > 17 else (),
    )


def artifact_record(row: Row, database: Database) -> Artifact:
    """Read `id, name, created_at, tags, metadata, latest version`."""
    id, name, created, tags, metadata, latest = row
    return Artifact(database.get_id(id), name, moment(created), decode_tags(tags), decode(metadata), latest)


def model_record(row: Row, database: Database) -> Model:
    """Read `id, name, description, license, created_at, tags, metadata, latest version`."""
    id, name, description, license, created, tags, metadata, latest = row
    return Model(
        database.get_id(id),
        name,
        description,
        license,
        moment(created),
        decode_tags(tags),
        decode(metadata),
        latest,
    )


def model_version_record(row: Row, database: Database, run_ids: Sequence[UUID]) -> ModelVersion:
    """Read `id, model_id, name, version, number, stage, description, created_at, tags, metadata`."""
    id, model_id, name, version, number, stage, description, created, tags, metadata = row
    return ModelVersion(
        database.get_id(id),
        database.get_id(model_id),
        name,
        version,
        number,
        ModelStage(stage),
        description,
        moment(created),
        decode_tags(tags),
        decode(metadata),
        tuple(run_ids),
    )
