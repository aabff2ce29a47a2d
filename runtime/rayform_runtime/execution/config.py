"""Settings of the orchestrator flavor `local`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LocalOrchestratorConfig"]


class LocalOrchestratorConfig(BaseModel):
    """Settings of flavor `local`.

    Args:
        cpus: logical CPUs that steps share; by default all of this machine's.
        memory: bytes that steps share; by default this machine's.
        gpus: GPUs that steps share; by default those of this machine.
        max_workers: most worker processes at once, whatever the steps need.
    """

    model_config = ConfigDict(extra="forbid")

    cpus: float | None = Field(default=None, gt=0)
    memory: int | None = Field(default=None, gt=0)
    gpus: float | None = Field(default=None, ge=0)
    max_workers: int = Field(default=64, gt=0)
