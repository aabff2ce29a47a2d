"""Settings of the orchestrator flavor `ray`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RayOrchestratorConfig"]


class RayOrchestratorConfig(BaseModel):
    """Settings of flavor `ray`.

    Args:
        address: address of the cluster's head, as `ssh://user@host[:port]`; `None` starts a Ray on this machine
            for the run.
        ssh_key: path of the private key for `ssh://`.
        known_hosts: path of the file that the head's host key is checked against.
        region: region of the cloud that the cluster is in, for `rayform stack start` and the like.
        instance_id: ID of the head's instance, for the same commands.
        stack_reference: tag of the cloud resources.
        endpoint_url: URL of the cloud's compute API, for an emulated cloud.
        base_image: image that step images start from if a step names none; by default a slim Python image.
        cpus, gpus: logical CPUs and GPUs of a Ray on this machine; by default those of the machine.
    """

    model_config = ConfigDict(extra="forbid")

    address: str | None = None
    endpoint_url: str | None = None
    base_image: str | None = None
    cpus: float | None = Field(default=None, gt=0)
    gpus: float | None = Field(default=None, ge=0)
    ssh_key: str | None = None
    known_hosts: str | None = None
    region: str | None = None
    instance_id: str | None = None
    stack_reference: str | None = None
