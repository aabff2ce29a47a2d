# ruff: noqa: E501  (patterns and sentences read better whole)
"""Checks a definition with AWS's own API before Terraform starts, and decides what the definition leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from rayform_core.errors import nearest
from rayform_provisioner.aws.calls import aws_calls, error_code
from rayform_provisioner.aws.clients import AwsClient, client
from rayform_provisioner.clouds import Resolution, Shape
from rayform_provisioner.definitions.definition import LoadedDefinition, StackDefinition
from rayform_provisioner.definitions.located import DefinitionError, Problem
from rayform_provisioner.stack_folder import StackRecord
from rayform_provisioner.targets import Target

__all__ = ["last_resolution", "pinned_images", "resolve"]

_UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami-id"
_GPU = "/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
_UBUNTU_ARCH = {"x86_64": "amd64", "arm64": "arm64"}

# Quotas count vCPUs by kind of family: (on demand, spot).
_QUOTAS = {
    "standard": ("L-1216C47A", "L-34B43A08"),
    "g": ("L-DB2E81BA", "L-3819A6DF"),
    "p": ("L-417A185B", "L-7212CCBC"),
}


def resolve(
    loaded: LoadedDefinition,
    target: Target,
    record: StackRecord | None = None,
    *,
    newest_images: bool = False,
) -> Resolution:
    """Check instance types, GPUs, zones, images and quotas, and choose zones and images.

    Args:
        loaded: the definition.
        target: the cloud.
        record: the stack's, if it has one. The machine images that it pins are kept, because a newer image would
            replace machines that nobody asked to replace.
        newest_images: choose the newest images instead of the pinned ones.

    Raises:
        DefinitionError: AWS can't serve the definition; the error says where in the file, and what AWS can serve.
        RemoteError: AWS didn't answer.
    """
    definition = loaded.definition
    ec2 = client(target, "ec2", definition.region)
    machines = _machines(definition)
    names = sorted({machine.instance_type for machine in machines})
    problems = _Problems(loaded)
    with aws_calls(target), ThreadPoolExecutor(3) as pool:
        available = pool.submit(_zones, ec2)
        types = _instance_types(ec2, names)
        zones = _choose_zones(definition, available.result(), problems)
        offers = pool.submit(_offers, ec2, names)
        _check_types(ec2, definition.region, machines, types, problems)
        _check_offers(machines, types, zones, offers, problems)
        problems.raise_if_any()
        pinned = record.pinned_images if record is not None and not newest_images else {}
        images = _images(definition, target, machines, types, pinned, problems)
        warnings = _quota_warnings(definition, target, machines, types, problems)
    problems.raise_if_any()
    if not definition.network.allowed_ingress_cidrs and definition.network.existing is None:
        warnings.append(
            "network.allowed_ingress_cidrs is empty: nobody may open SSH to the head, and no run can start."
        )
    return Resolution(
        record.reference if record else "",
        record.ssh_public_key if record else "",
        tuple(zones),
        images,
        {machine.name: types[machine.instance_type].shape(machine.gpus) for machine in machines},
        warnings,
    )


def pinned_images(definition: StackDefinition, images: dict[str, str]) -> dict[str, str]:
    """Return `images` by the keys that a record has for them; each key names the type and image of the definition."""
    return {machine.pin: images[machine.name] for machine in _machines(definition)}


def last_resolution(record: StackRecord, definition: StackDefinition) -> Resolution:
    """Return what the last deploy decided, from the record alone; before the first deploy, placeholders."""
    by_name = {pin.split(" ", 1)[0]: image for pin, image in record.pinned_images.items()}
    images = {name: by_name.get(name, "ami-00000000") for name in ("head", *definition.compute.workers)}
    zones = record.zones or list(definition.zones or [f"{definition.region}a", f"{definition.region}b"])
    return Resolution(record.reference, record.ssh_public_key, tuple(zones), images, record.shapes)


class _Problems:
    """Collects the problems of a definition, each with its place in the file."""

    def __init__(self, loaded: LoadedDefinition) -> None:
        self._loaded = loaded
        self._problems: list[Problem] = []

    def add(self, path: tuple[str | int, ...], message: str, hint: str) -> None:
        """Note that the value at `path` is wrong."""
        place = self._loaded.located.mark(path)
        self._problems.append(Problem(".".join(map(str, path)), place, message, hint))

    def raise_if_any(self) -> None:
        """Raise a `DefinitionError` with every problem so far, in the file's order."""
        if self._problems:
            in_order = sorted(self._problems, key=lambda p: (p.mark.line, p.mark.column))
            raise DefinitionError(self._loaded.source, in_order)


@dataclass(frozen=True, slots=True)
class _Machine:
    """The head, or the machines of one worker group: what the definition asks for, and where in the file."""

    name: str
    path: tuple[str | int, ...]
    instance_type: str
    ami: str | None
    gpus: int
    count: int
    spot: bool

    @property
    def pin(self) -> str:
        """The key of its image in the record: another instance type or image in the definition is another key."""
        return f"{self.name} {self.instance_type} {self.ami or 'default'}{' gpu' if self.gpus else ''}"


def _machines(definition: StackDefinition) -> list[_Machine]:
    head = definition.compute.head
    machines = [_Machine("head", ("compute", "head"), head.instance_type, head.ami, 0, 1, False)]
    for name, group in sorted(definition.compute.workers.items()):
        path = ("compute", "workers", name)
        machines.append(
            _Machine(name, path, group.instance_type, group.ami, group.gpus, group.max, group.spot)
        )
    return machines


@dataclass(frozen=True, slots=True)
class _InstanceType:
    """What EC2 says about an instance type."""

    name: str
    vcpus: int
    memory_mb: int
    gpus: int
    gpu_name: str
    architectures: tuple[str, ...]

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


def _instance_types(ec2: AwsClient, patterns: Sequence[str]) -> dict[str, _InstanceType]:
    """Return name to instance type, for the types that match one of `patterns`, such as `g5.*`."""
    answer = ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": list(patterns)}])
    types = {}
    for item in answer["InstanceTypes"]:
        gpus = item.get("GpuInfo", {}).get("Gpus", [])
        types[item["InstanceType"]] = _InstanceType(
            item["InstanceType"],
            int(item["VCpuInfo"]["DefaultVCpus"]),
            int(item["MemoryInfo"]["SizeInMiB"]),
            sum(int(gpu.get("Count", 0)) for gpu in gpus),
            str(gpus[0]["Name"]) if gpus else "",
            tuple(item["ProcessorInfo"]["SupportedArchitectures"]),
        )
    return types


def _zones(ec2: AwsClient) -> list[str]:
    answer = ec2.describe_availability_zones(Filters=[{"Name": "state", "Values": ["available"]}])
    return sorted(
        zone["ZoneName"]
        for zone in answer["AvailabilityZones"]
        if zone.get("ZoneType", "availability-zone") == "availability-zone"
    )


def _choose_zones(definition: StackDefinition, available: list[str], problems: _Problems) -> list[str]:
    if definition.zones is None:
        return available[:2]
    for index, zone in enumerate(definition.zones):
        if zone not in available:
            problems.add(
                ("zones", index),
                f"There is no zone '{zone}' for this account.",
                f"There are {', '.join(available)}.",
            )
    return list(definition.zones)


def _check_types(
    ec2: AwsClient,
    region: str,
    machines: list[_Machine],
    types: dict[str, _InstanceType],
    problems: _Problems,
) -> None:
    """Check that each machine's instance type exists and has as many GPUs as the definition asks for."""
    for machine in machines:
        kind = types.get(machine.instance_type)
        if kind is None:
            close = _similar(ec2, machine.instance_type)
            problems.add(
                (*machine.path, "instance_type"),
                f"There is no instance type '{machine.instance_type}' in {region}.",
                f"Did you mean {' or '.join(map(repr, close))}?" if close else "See EC2's list of types.",
            )
        elif machine.gpus > kind.gpus:
            problems.add(
                (*machine.path, "gpus"),
                f"'{kind.name}' has {kind.gpus or 'no'} GPU{'' if kind.gpus == 1 else 's'}, and {machine.gpus} are asked for.",
                _with_gpus(ec2, machine.gpus),
            )


def _check_offers(
    machines: list[_Machine],
    types: dict[str, _InstanceType],
    zones: list[str],
    offers: Future[dict[str, set[str]]],
    problems: _Problems,
) -> None:
    """Check that at least one of `zones` offers each machine's instance type."""
    for machine in machines:
        if machine.instance_type not in types or not zones:
            continue
        offering = offers.result().get(machine.instance_type, set())
        if not offering & set(zones):
            problems.add(
                (*machine.path, "instance_type"),
                f"'{machine.instance_type}' is not offered in {' or '.join(zones)}.",
                f"It is in {', '.join(sorted(offering))}: name these in `zones`."
                if offering
                else "Choose another type.",
            )


def _offers(ec2: AwsClient, names: list[str]) -> dict[str, set[str]]:
    """Return instance type to the zones that offer it."""
    answer = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": names}]
    )
    offers: dict[str, set[str]] = {}
    for item in answer["InstanceTypeOfferings"]:
        offers.setdefault(item["InstanceType"], set()).add(item["Location"])
    return offers


def _similar(ec2: AwsClient, name: str) -> list[str]:
    family = name.split(".")[0]
    return nearest(name, _instance_types(ec2, [f"{family[:2]}*"]))


def _with_gpus(ec2: AwsClient, count: int) -> str:
    types = _instance_types(ec2, ["g4dn.*", "g5.*", "g6.*", "p4d.*", "p5.*"])
    smallest_first = sorted(types.values(), key=lambda kind: (kind.gpus, kind.vcpus, kind.name))
    names = [kind.name for kind in smallest_first if kind.gpus >= count][:3]
    return f"{' or '.join(names)} would do." if names else "No instance type has so many."


def _images(
    definition: StackDefinition,
    target: Target,
    machines: list[_Machine],
    types: dict[str, _InstanceType],
    pinned: dict[str, str],
    problems: _Problems,
) -> dict[str, str]:
    """Choose each machine's image, and check that it exists and runs on the machine's instance type."""
    ec2, ssm = (client(target, service, definition.region) for service in ("ec2", "ssm"))
    chosen: dict[str, str] = {}
    parameters: dict[str, str | None] = {}
    for machine in machines:
        if machine.pin in pinned:
            chosen[machine.name] = pinned[machine.pin]
            continue
        if machine.ami and machine.ami.startswith("ami-"):
            chosen[machine.name] = machine.ami
            continue
        architecture = types[machine.instance_type].architecture
        name = _image_parameter(machine, architecture)
        if name not in parameters:
            parameters[name] = _parameter(ssm, name)
        image = parameters[name]
        if image is None and target.emulated and not machine.ami:
            # Emulators have few public parameters, and any image will do because they don't boot it.
            image = _any_image(ec2, architecture)
        if image is None:
            problems.add(
                (*machine.path, "ami"),
                f"The parameter '{name}' holds no machine image in {definition.region}.",
                "Name an AMI's ID.",
            )
            continue
        chosen[machine.name] = image
    if chosen and _all_exist(ec2, chosen, machines, problems):
        _check_architectures(ec2, chosen, machines, types, problems)
    return chosen


def _image_parameter(machine: _Machine, architecture: str) -> str:
    """Return the name of the SSM parameter that holds the image's ID."""
    if machine.ami:
        return machine.ami.removeprefix("ssm:")
    if machine.gpus:
        return _GPU.format(arch=architecture)
    return _UBUNTU.format(arch=_UBUNTU_ARCH.get(architecture, architecture))


def _check_architectures(
    ec2: AwsClient,
    chosen: dict[str, str],
    machines: list[_Machine],
    types: dict[str, _InstanceType],
    problems: _Problems,
) -> None:
    answer = ec2.describe_images(ImageIds=sorted(set(chosen.values())))
    architectures = {image["ImageId"]: image["Architecture"] for image in answer["Images"]}
    for machine in machines:
        image = chosen.get(machine.name, "")
        supported = types[machine.instance_type].architectures
        if image in architectures and architectures[image] not in supported:
            problems.add(
                (*machine.path, "ami" if machine.ami else "instance_type"),
                f"Image {image} is for {architectures[image]}, and '{machine.instance_type}' runs {' or '.join(supported)}.",
                "Choose an image, or an instance type, of the same architecture.",
            )


def _all_exist(ec2: AwsClient, chosen: dict[str, str], machines: list[_Machine], problems: _Problems) -> bool:
    image_ids = sorted(set(chosen.values()))
    existing = {
        image["ImageId"]
        for image in ec2.describe_images(Filters=[{"Name": "image-id", "Values": image_ids}])["Images"]
        if image.get("State", "available") == "available"
    }
    for machine in machines:
        if machine.name in chosen and chosen[machine.name] not in existing:
            problems.add(
                (*machine.path, "ami"),
                f"There is no machine image '{chosen[machine.name]}'.",
                "Check its ID and region.",
            )
    return set(image_ids) <= existing


def _parameter(ssm: AwsClient, name: str) -> str | None:
    from botocore.exceptions import ClientError

    try:
        return str(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except ClientError as error:
        if error_code(error) == "ParameterNotFound":
            return None
        raise


def _any_image(ec2: AwsClient, architecture: str) -> str | None:
    answer = ec2.describe_images(Filters=[{"Name": "architecture", "Values": [architecture]}])
    images = [i for i in answer["Images"] if i["ImageId"].startswith("ami-") and _is_hex(i["ImageId"][4:])]
    ubuntu_first = sorted(images, key=lambda i: ("ubuntu" not in i.get("Name", "").lower(), i["ImageId"]))
    return ubuntu_first[0]["ImageId"] if ubuntu_first else None


def _is_hex(text: str) -> bool:
    return bool(text) and all(letter in "0123456789abcdef" for letter in text)


def _quota_warnings(
    definition: StackDefinition,
    target: Target,
    machines: list[_Machine],
    types: dict[str, _InstanceType],
    problems: _Problems,
) -> list[str]:
    """Report a quota too small for a single machine as a problem, and one too small for all of them as a warning."""
    from botocore.exceptions import BotoCoreError, ClientError

    if target.emulated and "servicequotas" not in target.endpoints:
        return []
    quotas = client(target, "servicequotas", definition.region)
    warnings = []
    by_quota: dict[str, list[_Machine]] = {}
    for machine in machines:
        letter = machine.instance_type[0]
        family = letter if letter in "gp" else "standard"
        by_quota.setdefault(_QUOTAS[family][machine.spot], []).append(machine)
    for code, group in by_quota.items():
        try:
            limit = float(quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"])
        except (ClientError, BotoCoreError) as error:
            if not target.emulated:
                warnings.append(
                    f"EC2's quota {code} can't be read ({type(error).__name__}); it was not checked."
                )
            continue
        for machine in group:
            vcpus = types[machine.instance_type].vcpus
            if machine.count and vcpus > limit:
                problems.add(
                    (*machine.path, "instance_type"),
                    f"One '{machine.instance_type}' has {vcpus} vCPUs, and this account's quota {code} is {limit:g}.",
                    "Ask AWS to raise the quota, or choose a smaller type.",
                )
        total = sum(types[machine.instance_type].vcpus * machine.count for machine in group)
        if total > limit:
            names = ", ".join(machine.name for machine in group)
            warnings.append(
                f"{names} at their maximum need {total} vCPUs, and this account's quota {code} is {limit:g}."
            )
    return warnings
