"""Settings of the orchestrator flavor `local`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LocalOrchestratorConfig"]


class LocalOrchestratorConfig(BaseModel):
    """Settings of flavor `local`.

    Args:
        cpus: logical CPUs that steps share; all of this machine's unless told.
        memory: bytes that steps share; this machine's unless told.
        gpus: GPUs that steps share; those that the machine has unless told.
        max_workers: worker processes at once, whatever the steps ask for.
    """

    model_config = ConfigDict(extra="forbid")

    cpus: float | None = Field(default=None, gt=0)
    memory: int | None = Field(default=None, gt=0)
    gpus: float | None = Field(default=None, ge=0)
    max_workers: int = Field(default=64, gt=0)
