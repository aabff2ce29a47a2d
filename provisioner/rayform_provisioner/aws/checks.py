# ruff: noqa: E501  (patterns and sentences read better whole)
"""Checks a definition with the cloud's own API before Terraform starts, and settles what it leaves open."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from rayform_core.errors import nearest
from rayform_provisioner.aws.calls import aws_calls, error_code
from rayform_provisioner.definitions.definition import LoadedDefinition, StackDefinition
from rayform_provisioner.definitions.located import DefinitionError, Problem
from rayform_provisioner.stack_folder import StackRecord
from rayform_provisioner.targets import Target

__all__ = ["Settled", "pins", "settle", "settled_before"]

_UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami-id"
_GPU = "/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
_UBUNTU_ARCH = {"x86_64": "amd64", "arm64": "arm64"}

# Quotas count vCPUs by kind of family: (on demand, spot).
_QUOTAS = {
    "standard": ("L-1216C47A", "L-34B43A08"),
    "g": ("L-DB2E81BA", "L-3819A6DF"),
    "p": ("L-417A185B", "L-7212CCBC"),
}


@dataclass(slots=True)
class Settled:
    """What the cloud said.

    Args:
        zones: availability zones to use.
        amis: `head` and each worker group to an AMI's ID.
        shapes: the same to `cpus`, `memory_mb`, `gpus`, `accelerator_type`.
        warnings: what a person should know, and which stops nothing.
    """

    zones: tuple[str, ...]
    amis: dict[str, str]
    shapes: dict[str, dict[str, Any]]
    warnings: list[str] = field(default_factory=list)


def settle(loaded: LoadedDefinition, target: Target, pinned: dict[str, str] | None = None) -> Settled:
    """Check instance types, GPUs, zones, images and quotas, and choose zones and images.

    Args:
        loaded: the definition.
        target: the cloud.
        pinned: images that an earlier deploy chose, `NAME INSTANCE_TYPE ASKED` to AMI: kept, since a newer one
            would replace machines that nobody asked to replace.

    Raises:
        DefinitionError: the cloud can't serve it; says where in the file, and what it can.
        RemoteError: the cloud didn't answer.
    """
    definition = loaded.definition
    ec2 = target.client("ec2", definition.region)
    machines = _machines(definition)
    problems: list[Problem] = []

    def problem(path: tuple[str | int, ...], message: str, hint: str) -> None:
        problems.append(Problem(".".join(map(str, path)), loaded.located.mark(path), message, hint))

    with aws_calls(target), ThreadPoolExecutor(3) as pool:
        zones_there = pool.submit(_zones, ec2)
        types = _instance_types(ec2, sorted({m.instance_type for m in machines}))
        zones = _choose_zones(definition, zones_there.result(), problem)
        offered = pool.submit(_offered, ec2, sorted({m.instance_type for m in machines}), zones)
        for machine in machines:
            found = types.get(machine.instance_type)
            if found is None:
                close = _like(ec2, machine.instance_type)
                problem(
                    (*machine.path, "instance_type"),
                    f"There is no instance type '{machine.instance_type}' in {definition.region}.",
                    f"Did you mean {' or '.join(repr(c) for c in close)}?"
                    if close
                    else "See EC2's list of types.",
                )
                continue
            has = _gpu_count(found)
            if machine.gpus > has:
                problem(
                    (*machine.path, "gpus"),
                    f"'{machine.instance_type}' has {has or 'no'} GPU{'' if has == 1 else 's'}, and {machine.gpus} are asked for.",
                    _with_gpus(ec2, machine.gpus),
                )
        shapes = {
            m.name: _shape(types[m.instance_type], m.gpus) for m in machines if m.instance_type in types
        }
        for machine in machines:
            if machine.instance_type in types and zones:
                where = offered.result().get(machine.instance_type, set())
                if where is not None and not where & set(zones):
                    problem(
                        (*machine.path, "instance_type"),
                        f"'{machine.instance_type}' is not offered in {' or '.join(zones)}.",
                        f"It is in {', '.join(sorted(where))}: name these in `zones`."
                        if where
                        else "Choose another type.",
                    )
        if problems:
            raise DefinitionError(loaded.source, problems)
        amis, warnings = _images(definition, target, machines, types, pinned or {}, problem)
        warnings += _quota_warnings(definition, target, machines, types, problem)
    if problems:
        raise DefinitionError(loaded.source, sorted(problems, key=lambda p: (p.mark.line, p.mark.column)))
    if not definition.network.allowed_ingress_cidrs and definition.network.existing is None:
        warnings.append(
            "network.allowed_ingress_cidrs is empty: nobody may open SSH to the head, and no run can start."
        )
    return Settled(tuple(zones), amis, shapes, warnings)


@dataclass(frozen=True, slots=True)
class _Machine:
    name: str
    path: tuple[str | int, ...]
    instance_type: str
    ami: str | None
    gpus: int
    count: int
    spot: bool

    @property
    def pin(self) -> str:
        return f"{self.name} {self.instance_type} {self.ami or 'default'}{' gpu' if self.gpus else ''}"


def _machines(definition: StackDefinition) -> list[_Machine]:
    head = definition.compute.head
    found = [_Machine("head", ("compute", "head"), head.instance_type, head.ami, 0, 1, False)]
    for name, group in sorted(definition.compute.workers.items()):
        path = ("compute", "workers", name)
        found.append(_Machine(name, path, group.instance_type, group.ami, group.gpus, group.max, group.spot))
    return found


def pins(definition: StackDefinition, amis: dict[str, str]) -> dict[str, str]:
    """Return what `settle` should be given as `pinned` the next time."""
    return {machine.pin: amis[machine.name] for machine in _machines(definition)}


def settled_before(record: StackRecord, definition: StackDefinition) -> Settled:
    """Return what the last deploy settled, without asking the cloud anew."""
    by_name = {pin.split(" ", 1)[0]: ami for pin, ami in record.pinned_images.items()}
    amis = {name: by_name.get(name, "ami-00000000") for name in ("head", *definition.compute.workers)}
    zones = record.zones or list(definition.zones or [f"{definition.region}a", f"{definition.region}b"])
    return Settled(tuple(zones), amis, record.shapes)


def _zones(ec2: Any) -> list[str]:
    answer = ec2.describe_availability_zones(Filters=[{"Name": "state", "Values": ["available"]}])
    return sorted(
        zone["ZoneName"]
        for zone in answer["AvailabilityZones"]
        if zone.get("ZoneType", "availability-zone") == "availability-zone"
    )


def _choose_zones(definition: StackDefinition, there: list[str], problem: Any) -> list[str]:
    if definition.zones is None:
        return there[:2]
    for index, zone in enumerate(definition.zones):
        if zone not in there:
            problem(
                ("zones", index),
                f"There is no zone '{zone}' for this account.",
                f"There are {', '.join(there)}.",
            )
    return list(definition.zones)


def _instance_types(ec2: Any, names: list[str]) -> dict[str, dict[str, Any]]:
    answer = ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": names}])
    return {item["InstanceType"]: item for item in answer["InstanceTypes"]}


def _offered(ec2: Any, names: list[str], zones: list[str]) -> dict[str, set[str]]:
    answer = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": names}]
    )
    found: dict[str, set[str]] = {}
    for item in answer["InstanceTypeOfferings"]:
        found.setdefault(item["InstanceType"], set()).add(item["Location"])
    return found


def _like(ec2: Any, name: str) -> list[str]:
    family = name.split(".")[0]
    answer = ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": [f"{family[:2]}*"]}])
    return nearest(name, [item["InstanceType"] for item in answer["InstanceTypes"]])


def _with_gpus(ec2: Any, count: int) -> str:
    answer = ec2.describe_instance_types(
        Filters=[{"Name": "instance-type", "Values": ["g4dn.*", "g5.*", "g6.*", "p4d.*", "p5.*"]}]
    )
    fitting = sorted(
        (_gpu_count(i), i["VCpuInfo"]["DefaultVCpus"], i["InstanceType"]) for i in answer["InstanceTypes"]
    )
    names = [name for gpus, _, name in fitting if gpus >= count][:3]
    return f"{' or '.join(names)} would do." if names else "No instance type has so many."


def _gpu_count(found: dict[str, Any]) -> int:
    return sum(int(gpu.get("Count", 0)) for gpu in found.get("GpuInfo", {}).get("Gpus", []))


def _shape(found: dict[str, Any], gpus: int) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "cpus": int(found["VCpuInfo"]["DefaultVCpus"]),
        "memory_mb": int(found["MemoryInfo"]["SizeInMiB"]),
        "gpus": gpus,
    }
    if gpus:
        shape["accelerator_type"] = str(found["GpuInfo"]["Gpus"][0]["Name"])
    return shape


def _images(
    definition: StackDefinition,
    target: Target,
    machines: list[_Machine],
    types: dict[str, dict[str, Any]],
    pinned: dict[str, str],
    problem: Any,
) -> tuple[dict[str, str], list[str]]:
    ec2, ssm = target.client("ec2", definition.region), target.client("ssm", definition.region)
    warnings: list[str] = []
    chosen: dict[str, str] = {}
    parameters: dict[str, str | None] = {}
    for machine in machines:
        arch = _architecture(types[machine.instance_type])
        if machine.pin in pinned:
            chosen[machine.name] = pinned[machine.pin]
            continue
        if machine.ami and machine.ami.startswith("ami-"):
            chosen[machine.name] = machine.ami
            continue
        template = _GPU if machine.gpus else _UBUNTU
        parameter = (
            machine.ami[4:]
            if machine.ami
            else template.format(arch=arch if machine.gpus else _UBUNTU_ARCH.get(arch, arch))
        )
        if parameter not in parameters:
            parameters[parameter] = _parameter(ssm, parameter)
        found = parameters[parameter]
        if found is None and target.emulated and not machine.ami:
            # Emulators know few public parameters; the image's ID is but a name to them.
            found = _any_image(ec2, arch)
        if found is None:
            problem(
                (*machine.path, "ami"),
                f"The parameter '{parameter}' holds no machine image in {definition.region}.",
                "Name an AMI's ID.",
            )
            continue
        chosen[machine.name] = found
    images = (
        {
            image["ImageId"]: image
            for image in ec2.describe_images(ImageIds=sorted(set(chosen.values())))["Images"]
        }
        if chosen and _all_there(ec2, chosen, machines, problem)
        else {}
    )
    for machine in machines:
        image = images.get(chosen.get(machine.name, ""))
        if image is None:
            continue
        able = types[machine.instance_type]["ProcessorInfo"]["SupportedArchitectures"]
        if image["Architecture"] not in able:
            problem(
                (*machine.path, "ami" if machine.ami else "instance_type"),
                f"Image {image['ImageId']} is for {image['Architecture']}, and '{machine.instance_type}' runs {' or '.join(able)}.",
                "Choose an image, or an instance type, of the same architecture.",
            )
    return chosen, warnings


def _all_there(ec2: Any, chosen: dict[str, str], machines: list[_Machine], problem: Any) -> bool:
    asked = sorted(set(chosen.values()))
    there = {
        image["ImageId"]
        for image in ec2.describe_images(Filters=[{"Name": "image-id", "Values": asked}])["Images"]
        if image.get("State", "available") == "available"
    }
    for machine in machines:
        if machine.name in chosen and chosen[machine.name] not in there:
            problem(
                (*machine.path, "ami"),
                f"There is no machine image '{chosen[machine.name]}'.",
                "Check its ID and region.",
            )
    return set(asked) <= there


def _architecture(found: dict[str, Any]) -> str:
    able = found["ProcessorInfo"]["SupportedArchitectures"]
    return "x86_64" if "x86_64" in able else str(able[0])


def _parameter(ssm: Any, name: str) -> str | None:
    from botocore.exceptions import ClientError

    try:
        return str(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except ClientError as error:
        if error_code(error) == "ParameterNotFound":
            return None
        raise


def _any_image(ec2: Any, arch: str) -> str | None:
    answer = ec2.describe_images(Filters=[{"Name": "architecture", "Values": [arch]}])
    images = [i for i in answer["Images"] if i["ImageId"].startswith("ami-") and _is_hex(i["ImageId"][4:])]
    best = sorted(images, key=lambda i: ("ubuntu" not in i.get("Name", "").lower(), i["ImageId"]))
    return best[0]["ImageId"] if best else None


def _is_hex(text: str) -> bool:
    return bool(text) and all(letter in "0123456789abcdef" for letter in text)


def _quota_warnings(
    definition: StackDefinition,
    target: Target,
    machines: list[_Machine],
    types: dict[str, dict[str, Any]],
    problem: Any,
) -> list[str]:
    """A quota that can't serve one machine is an error; one that can't serve all of them is a warning."""
    from botocore.exceptions import BotoCoreError, ClientError

    if target.emulated and "servicequotas" not in target.endpoints:
        return []
    client = target.client("servicequotas", definition.region)
    warnings = []
    needs: dict[str, list[_Machine]] = {}
    for machine in machines:
        letter = machine.instance_type[0]
        kind = letter if letter in "gp" else "standard"
        needs.setdefault(_QUOTAS[kind][machine.spot], []).append(machine)
    for code, asking in needs.items():
        try:
            limit = float(client.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"])
        except (ClientError, BotoCoreError) as error:
            if not target.emulated:
                warnings.append(
                    f"EC2's quota {code} can't be read ({type(error).__name__}); it was not checked."
                )
            continue
        total = 0
        for machine in asking:
            vcpus = int(types[machine.instance_type]["VCpuInfo"]["DefaultVCpus"])
            total += vcpus * machine.count
            if machine.count and vcpus > limit:
                problem(
                    (*machine.path, "instance_type"),
                    f"One '{machine.instance_type}' has {vcpus} vCPUs, and this account's quota {code} is {limit:g}.",
                    "Ask AWS to raise the quota, or choose a smaller type.",
                )
        if total > limit:
            names = ", ".join(machine.name for machine in asking)
            warnings.append(
                f"{names} at their maximum need {total} vCPUs, and this account's quota {code} is {limit:g}."
            )
    return warnings


__all__ += ["pins"]
