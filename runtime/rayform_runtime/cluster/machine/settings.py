"""The settings of a cluster's machine: `/etc/rayform/stack.json`, written when it boots.

The provisioner renders them (`system/bootstrap/stack.json` in the bucket); user data writes them here, with the
machine's own part under `node`. A running head takes over what a deploy changes in them (`new_settings.py`). They
hold no secret: the machine's role reads the Ray token from Secrets Manager.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rayform_core.errors import IntegrityError, PrerequisiteError
from rayform_runtime.cluster.machine.node_groups import NodeGroup

__all__ = ["Autostop", "MachineSettings", "WorkerGroupSettings"]


class _Part(BaseModel):
    # A newer provisioner may write more than this version reads.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Autostop(_Part):
    """When the head stops itself."""

    enabled: bool = True
    idle_minutes: float = 60

    @property
    def idle_seconds(self) -> float | None:
        """After how many idle seconds the head stops; `None` if it never does."""
        return self.idle_minutes * 60 if self.enabled else None


class HeadSettings(_Part):
    """The head's instance type, and what it offers to Ray."""

    instance_type: str = ""
    subnet_id: str | None = None
    cpus: float | None = None
    memory_mb: int | None = None
    gpus: float = 0


class WorkerGroupSettings(_Part):
    """One group of workers, as Ray's autoscaler starts them.

    Args:
        launch_template: name of the template that its machines start from.
        instance_type: type of its machines.
        subnet_ids, security_group_ids: where the network puts them.
        instance_profile: profile with their role.
        image_id: image that they boot.
        min, max: how many machines it has.
        spot: whether they are spot machines.
        cpus, memory_mb, gpus: what one machine has; `None` if the definition doesn't say.
        accelerator_type: kind of its GPUs.
        resources: resources of the user's own that one machine offers, by name.
        idle_timeout_minutes: after how many idle minutes a machine ends.
    """

    launch_template: str
    instance_type: str = ""
    subnet_ids: list[str] = Field(default_factory=list)
    security_group_ids: list[str] = Field(default_factory=list)
    instance_profile: str | None = None
    image_id: str | None = None
    min: int = 0
    max: int = 1
    spot: bool = False
    cpus: float | None = None
    memory_mb: int | None = None
    gpus: float = 0
    accelerator_type: str | None = None
    resources: dict[str, float] = Field(default_factory=dict)
    idle_timeout_minutes: float = 5

    def ray_resources(self) -> dict[str, float]:
        """Return the resources of one node of the group, by Ray's names."""
        offered: dict[str, float] = {"CPU": self.cpus if self.cpus is not None else 1}
        if self.gpus:
            offered["GPU"] = self.gpus
        if self.memory_mb:
            # The part of a machine's memory that is left to steps after Ray's object store (30 %) and the system.
            offered["memory"] = float(int(self.memory_mb * 2**20 * 0.6))
        if self.accelerator_type:
            offered[f"accelerator_type:{self.accelerator_type}"] = 1.0
        return {**offered, **self.resources}


class NodeSettings(_Part):
    """The machine's role: the head, or a worker of a group."""

    role: str = "head"
    group: str | None = None
    head_private_ip: str | None = None


class MachineSettings(_Part):
    """The stack, as its machines see it.

    Args:
        name: the stack's name.
        reference: name of its cloud resources, and tag of its machines.
        region: region of the cloud.
        bucket, prefix: the stack's bucket, and the folder of its artifacts there.
        ray_version, python_version: what every machine runs.
        ray_token_secret: the secret that holds the Ray token.
        registry: the container registry; `None` if steps run without images.
        endpoints: URL by service, for an emulated cloud.
        tags: tags of everything that the stack starts.
        autostop: when the head stops itself.
        head: what the head offers.
        worker_groups: the groups by name.
        node: the machine's own part, which user data adds.
    """

    name: str
    reference: str
    region: str
    bucket: str
    prefix: str = "artifacts"
    ray_version: str
    python_version: str
    ray_token_secret: str
    registry: str | None = None
    endpoints: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)
    autostop: Autostop = Autostop()
    head: HeadSettings = HeadSettings()
    worker_groups: dict[str, WorkerGroupSettings] = Field(default_factory=dict)
    node: NodeSettings = NodeSettings()

    @staticmethod
    def path() -> Path:
        """Return the file's path; `RAYFORM_STACK_SETTINGS` names another file."""
        return Path(os.environ.get("RAYFORM_STACK_SETTINGS", "/etc/rayform/stack.json"))

    @classmethod
    def read(cls) -> MachineSettings:
        """Read this machine's settings.

        Raises:
            PrerequisiteError: this machine doesn't belong to a cluster.
            IntegrityError: the file isn't valid.
        """
        path = cls.path()
        try:
            return cls.model_validate(json.loads(path.read_text()))
        except FileNotFoundError as error:
            raise PrerequisiteError(
                f"'{path}' is missing: this machine doesn't belong to a Rayform cluster.",
                hint="A cluster's machine writes the file when it boots: read /var/log/rayform-boot.log.",
            ) from error
        except (ValueError, ValidationError) as error:
            raise IntegrityError(f"'{path}' doesn't hold valid settings.", why=f"{error}") from error

    @classmethod
    def read_if_present(cls) -> MachineSettings | None:
        """Read this machine's settings, or return `None` on a machine that has none."""
        return cls.read() if cls.path().exists() else None

    def groups(self) -> list[NodeGroup]:
        """Return the worker groups that the autoscaler can grow."""
        return [
            NodeGroup(name, group.instance_type, group.ray_resources(), group.min, group.max)
            for name, group in sorted(self.worker_groups.items())
        ]

    def client(self, service: str) -> Any:
        """Return a boto3 client with the machine's own rights."""
        import boto3

        make: Any = boto3.client  # the stubs know each service by its literal name alone
        return make(service, region_name=self.region, endpoint_url=self.endpoints.get(service))

    def environment(self) -> dict[str, str]:
        """Return the variables that give every AWS client on the machine the right region and endpoints."""
        variables = {"AWS_DEFAULT_REGION": self.region, "AWS_REGION": self.region}
        for service, url in self.endpoints.items():
            variables[f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"] = url
        return variables
