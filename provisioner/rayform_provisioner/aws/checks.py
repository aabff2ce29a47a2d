# ruff: noqa: E501  (patterns and sentences read better whole)
"""Checks a definition with AWS's own API before Terraform starts, and decides what the definition leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rayform_core.errors import nearest
from rayform_provisioner.aws.account import (
    SPOT_ROLE,
    check_keys,
    check_state_bucket,
    default_disk_key,
    spot_role_is_missing,
)
from rayform_provisioner.aws.calls import aws_calls, error_code
from rayform_provisioner.aws.clients import AwsClient, client
from rayform_provisioner.aws.existing_network import check_network
from rayform_provisioner.aws.machines import InstanceType, Machine, instance_types, machines, offers
from rayform_provisioner.aws.quotas import quota_warnings
from rayform_provisioner.aws.zones import available_zones, check_offers, choose_zones, slots_of
from rayform_provisioner.clouds import Resolution
from rayform_provisioner.definitions.definition import LoadedDefinition, StackDefinition
from rayform_provisioner.definitions.problems import Problems
from rayform_provisioner.stack_folder import StackRecord
from rayform_provisioner.targets import Target

__all__ = ["check_images", "last_resolution", "pinned_images", "resolve"]

_UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami-id"
_GPU = "/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
_UBUNTU_ARCH = {"x86_64": "amd64", "arm64": "arm64"}


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
    wanted = machines(definition)
    names = sorted({machine.instance_type for machine in wanted})
    problems = Problems(loaded)
    warnings: list[str] = []
    with aws_calls(target), ThreadPoolExecutor(4) as pool:
        available = pool.submit(available_zones, ec2)
        offering = pool.submit(offers, ec2, names)
        keys = pool.submit(check_keys, definition, target, problems)
        state = pool.submit(check_state_bucket, definition, target, problems)
        disk_key = pool.submit(default_disk_key, definition, target)
        spot = pool.submit(spot_role_is_missing, definition, target)
        types = instance_types(ec2, names)
        _check_types(ec2, definition.region, wanted, types, problems)
        existing = definition.network.existing
        known = [machine for machine in wanted if machine.instance_type in types]
        if existing is None:
            zones = choose_zones(definition, available.result(), wanted, offering.result(), record, problems)
            check_offers(known, zones, offering.result(), problems)
        else:
            zones, warnings = check_network(
                ec2, existing, problems, with_database=definition.catalog.existing is None
            )
            check_offers(
                known, zones, offering.result(), problems, where="name subnets in one of these zones"
            )
        keys.result()
        state.result()
        problems.raise_if_any()
        pinned = record.pinned_images if record is not None and not newest_images else {}
        images = _images(definition, target, wanted, types, pinned, problems)
        warnings += _type_warnings(wanted, types)
        warnings += quota_warnings(definition.region, target, wanted, types, problems)
        if spot.result():
            warnings.append(
                f"This account never had a spot machine: the deploy makes EC2's role {SPOT_ROLE}, which stays in the account."
            )
    problems.raise_if_any()
    if not definition.network.allowed_ingress_cidrs and existing is None:
        warnings.append(
            "network.allowed_ingress_cidrs is empty: nobody may open SSH to the head, and no run can start."
        )
    return Resolution(
        record.reference if record else "",
        record.ssh_public_key if record else "",
        tuple(zones),
        images,
        {machine.name: types[machine.instance_type].shape(machine.gpus) for machine in wanted},
        warnings,
        zone_slots=slots_of(zones, record),
        disk_key=disk_key.result(),
    )


def pinned_images(definition: StackDefinition, images: dict[str, str]) -> dict[str, str]:
    """Return `images` by the keys that a record has for them; each key names the type and image of the definition."""
    return {machine.pin: images[machine.name] for machine in machines(definition)}


def last_resolution(record: StackRecord, definition: StackDefinition) -> Resolution:
    """Return what the last deploy decided, from the record alone; before the first deploy, placeholders."""
    by_name = {pin.split(" ", 1)[0]: image for pin, image in record.pinned_images.items()}
    images = {name: by_name.get(name, "ami-00000000") for name in ("head", *definition.compute.workers)}
    zones = record.zones or list(definition.zones or [f"{definition.region}a", f"{definition.region}b"])
    return Resolution(
        record.reference,
        record.ssh_public_key,
        tuple(zones),
        images,
        record.shapes,
        zone_slots=slots_of(zones, record),
        disk_key=record.disk_key,
    )


def _check_types(
    ec2: AwsClient,
    region: str,
    wanted: Sequence[Machine],
    types: dict[str, InstanceType],
    problems: Problems,
) -> None:
    """Check that each machine's instance type exists and has as many GPUs as the definition asks for."""
    for machine in wanted:
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
                f"'{kind.name}' has {_count(kind.gpus) if kind.gpus else 'no GPUs'}, and {machine.gpus} are asked for.",
                _with_gpus(ec2, machine.gpus),
            )
        elif machine.spot and "spot" not in kind.usage_classes:
            problems.add(
                (*machine.path, "spot"), f"AWS sells no spot capacity of '{kind.name}'.", "Leave `spot` out."
            )


def _type_warnings(wanted: Sequence[Machine], types: Mapping[str, InstanceType]) -> list[str]:
    """Warn about what is paid for and not used, and about images that can't run everywhere."""
    warnings = [
        f"Each {machine.instance_type} of '{machine.name}' has {_count(types[machine.instance_type].gpus)}, and `gpus` is 0: no step can use a GPU there."
        for machine in wanted
        if types[machine.instance_type].gpus and not machine.gpus and machine.name != "head"
    ]
    by_architecture: dict[str, list[str]] = {}
    for machine in wanted:
        by_architecture.setdefault(types[machine.instance_type].architecture, []).append(machine.name)
    if len(by_architecture) > 1:
        parts = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in sorted(by_architecture.items()))
        warnings.append(
            f"The machines have different processors ({parts}), and one step image runs only on one of them."
        )
    return warnings


def _count(gpus: int) -> str:
    return "1 GPU" if gpus == 1 else f"{gpus} GPUs"


def _similar(ec2: AwsClient, name: str) -> list[str]:
    family = name.split(".")[0]
    return nearest(name, instance_types(ec2, [f"{family[:2]}*"]))


def _with_gpus(ec2: AwsClient, count: int) -> str:
    types = instance_types(ec2, ["g4dn.*", "g5.*", "g6.*", "p4d.*", "p5.*"])
    smallest_first = sorted(types.values(), key=lambda kind: (kind.gpus, kind.vcpus, kind.name))
    names = [kind.name for kind in smallest_first if kind.gpus >= count][:3]
    return f"{' or '.join(names)} would do." if names else "No instance type has so many."


def _images(
    definition: StackDefinition,
    target: Target,
    wanted: Sequence[Machine],
    types: dict[str, InstanceType],
    pinned: dict[str, str],
    problems: Problems,
) -> dict[str, str]:
    """Choose each machine's image, and check that it exists and runs on the machine's instance type."""
    ec2, ssm = (client(target, service, definition.region) for service in ("ec2", "ssm"))
    chosen: dict[str, str] = {}
    parameters: dict[str, str | None] = {}
    for machine in wanted:
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
    if chosen and _all_exist(ec2, chosen, wanted, problems):
        check_images(ec2, chosen, wanted, types, problems)
    return chosen


def _image_parameter(machine: Machine, architecture: str) -> str:
    """Return the name of the SSM parameter that holds the image's ID."""
    if machine.ami:
        return machine.ami.removeprefix("ssm:")
    if machine.gpus:
        return _GPU.format(arch=architecture)
    return _UBUNTU.format(arch=_UBUNTU_ARCH.get(architecture, architecture))


def check_images(
    ec2: AwsClient,
    chosen: dict[str, str],
    wanted: Sequence[Machine],
    types: dict[str, InstanceType],
    problems: Problems,
) -> None:
    """Check that each image runs on its machine's type, and fits its disk."""
    answer = ec2.describe_images(ImageIds=sorted(set(chosen.values())))
    images = {image["ImageId"]: image for image in answer["Images"]}
    for machine in wanted:
        image = images.get(chosen.get(machine.name, ""))
        if image is None:
            continue
        supported = types[machine.instance_type].architectures
        if image["Architecture"] not in supported:
            problems.add(
                (*machine.path, "ami" if machine.ami else "instance_type"),
                f"Image {image['ImageId']} is for {image['Architecture']}, and '{machine.instance_type}' runs {' or '.join(supported)}.",
                "Choose an image, or an instance type, of the same architecture.",
            )
        size = _root_disk_gb(image)
        if size > machine.disk_gb:
            problems.add(
                (*machine.path, "disk_gb"),
                f"Image {image['ImageId']} needs a disk of {size} GB, and disk_gb is {machine.disk_gb}.",
                f"Write {size} or more.",
            )


def _root_disk_gb(image: Mapping[str, Any]) -> int:
    """Return the size of the disk that an image starts from; 0 if the image doesn't say."""
    root = image.get("RootDeviceName")
    sizes = [
        int(device.get("Ebs", {}).get("VolumeSize") or 0)
        for device in image.get("BlockDeviceMappings", [])
        if device.get("DeviceName") == root
    ]
    return max(sizes, default=0)


def _all_exist(ec2: AwsClient, chosen: dict[str, str], wanted: Sequence[Machine], problems: Problems) -> bool:
    image_ids = sorted(set(chosen.values()))
    existing = {
        image["ImageId"]
        for image in ec2.describe_images(Filters=[{"Name": "image-id", "Values": image_ids}])["Images"]
        if image.get("State", "available") == "available"
    }
    for machine in wanted:
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
