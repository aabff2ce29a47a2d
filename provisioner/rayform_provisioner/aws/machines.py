"""The machines of a definition, and what EC2 says about their instance types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rayform_provisioner.aws.clients import AwsClient
from rayform_provisioner.clouds import Shape
from rayform_provisioner.definitions.definition import StackDefinition

__all__ = ["InstanceType", "Machine", "instance_types", "machines", "offers"]


@dataclass(frozen=True, slots=True)
class Machine:
    """The head, or the machines of one worker group: what the definition asks for, and where in the file."""

    name: str
    path: tuple[str | int, ...]
    instance_type: str
    ami: str | None
    gpus: int
    count: int
    spot: bool
    disk_gb: int

    @property
    def pin(self) -> str:
        """The key of its image in the record: another instance type or image in the definition is another key."""
        return f"{self.name} {self.instance_type} {self.ami or 'default'}{' gpu' if self.gpus else ''}"


def machines(definition: StackDefinition) -> list[Machine]:
    """Return the head, then the worker groups by name."""
    head = definition.compute.head
    every = [Machine("head", ("compute", "head"), head.instance_type, head.ami, 0, 1, False, head.disk_gb)]
    for name, group in sorted(definition.compute.workers.items()):
        path = ("compute", "workers", name)
        every.append(
            Machine(
                name,
                path,
                group.instance_type,
                group.ami,
                group.gpus,
                group.max,
                group.spot,
                group.disk_gb,
            )
        )
    return every


@dataclass(frozen=True, slots=True)
class InstanceType:
    """What EC2 says about an instance type."""

    name: str
    vcpus: int
    memory_mb: int
    gpus: int
    gpu_name: str
    architectures: tuple[str, ...]
    usage_classes: tuple[str, ...]
    """How AWS sells it: `on-demand`, `spot`."""

    @property
    def architecture(self) -> str:
        """The architecture of the images that Rayform chooses for it."""
        return "x86_64" if "x86_64" in self.architectures else self.architectures[0]

    def shape(self, gpus: int) -> Shape:
        """Return the resources that the autoscaler plans with if steps may use `gpus` GPUs of a machine."""
        shape: Shape = {"cpus": self.vcpus, "memory_mb": self.memory_mb, "gpus": gpus}
        if gpus:
            shape["accelerator_type"] = self.gpu_name
        return shape


def instance_types(ec2: AwsClient, patterns: Sequence[str]) -> dict[str, InstanceType]:
    """Return name to instance type, for the types that match one of `patterns`, such as `g5.*`."""
    answer = ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": list(patterns)}])
    types = {}
    for item in answer["InstanceTypes"]:
        gpus = item.get("GpuInfo", {}).get("Gpus", [])
        types[item["InstanceType"]] = InstanceType(
            item["InstanceType"],
            int(item["VCpuInfo"]["DefaultVCpus"]),
            int(item["MemoryInfo"]["SizeInMiB"]),
            sum(int(gpu.get("Count", 0)) for gpu in gpus),
            str(gpus[0]["Name"]) if gpus else "",
            tuple(item["ProcessorInfo"]["SupportedArchitectures"]),
            tuple(item.get("SupportedUsageClasses", ("on-demand", "spot"))),
        )
    return types


def offers(ec2: AwsClient, names: list[str]) -> dict[str, set[str]]:
    """Return instance type to the zones that offer it."""
    answer = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": names}]
    )
    zones: dict[str, set[str]] = {}
    for item in answer["InstanceTypeOfferings"]:
        zones.setdefault(item["InstanceType"], set()).add(item["Location"])
    return zones
