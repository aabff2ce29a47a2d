"""A step as its worker needs it, read from `StepTask.step`.

Plain classes rather than `spec.StepSpec`: the worker is on the way from `python run.py` to the first line of the
first step, and building pydantic's models there would take longer than all the rest of the worker's start.
The scheduler has validated what it sends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["CodeRef", "WorkerOutput", "WorkerStep"]


class CodeRef(NamedTuple):
    """What `spec.SourceRef` is, field by field."""

    module: str
    qualname: str
    file: str | None = None
    pickled: str | None = None

    def __str__(self) -> str:
        return f"{self.module}:{self.qualname}"

    @classmethod
    def read(cls, json: Mapping[str, Any] | None) -> CodeRef | None:
        """Read it from its JSON; `None` stays `None`."""
        if json is None:
            return None
        return cls(json["module"], json["qualname"], json.get("file"), json.get("pickled"))


@dataclass(frozen=True, slots=True)
class WorkerOutput:
    """What a worker needs of `spec.OutputSpec`."""

    name: str
    artifact_name: str
    type: CodeRef | None
    materializer: CodeRef | None
    artifact_type: str | None
    version: str | None
    tags: Sequence[str]
    run_metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WorkerStep:
    """What a worker needs of `spec.StepSpec`."""

    key: str
    name: str
    source: CodeRef
    outputs: tuple[WorkerOutput, ...]
    on_failure: CodeRef | None
    on_success: CodeRef | None

    @classmethod
    def read(cls, json: Mapping[str, Any]) -> WorkerStep:
        """Read it from `StepSpec` as JSON, whole or without defaults."""
        source = CodeRef.read(json["source"])
        assert source is not None
        return cls(
            json["key"],
            json["name"],
            source,
            tuple(
                WorkerOutput(
                    o["name"],
                    o["artifact_name"],
                    CodeRef.read(o.get("type")),
                    CodeRef.read(o.get("materializer")),
                    o.get("artifact_type"),
                    o.get("version"),
                    o.get("tags") or (),
                    o.get("run_metadata") or {},
                )
                for o in json.get("outputs") or ()
            ),
            CodeRef.read(json.get("on_failure")),
            CodeRef.read(json.get("on_success")),
        )
