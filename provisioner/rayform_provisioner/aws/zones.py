"""Chooses the availability zones of a stack: where its subnets are, and in which of them the head is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rayform_provisioner.aws.clients import AwsClient
from rayform_provisioner.aws.machines import Machine
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.definitions.problems import Problems
from rayform_provisioner.stack_folder import StackRecord

__all__ = ["available_zones", "check_offers", "choose_zones", "slots_of"]

_SLOTS = 8
"""A VPC's range has room for a public and a private subnet in this many zones."""


def available_zones(ec2: AwsClient) -> list[str]:
    """Return the region's zones that this account may use, by name; without local and wavelength zones."""
    answer = ec2.describe_availability_zones(Filters=[{"Name": "state", "Values": ["available"]}])
    return sorted(
        zone["ZoneName"]
        for zone in answer["AvailabilityZones"]
        if zone.get("ZoneType", "availability-zone") == "availability-zone"
    )


def choose_zones(
    definition: StackDefinition,
    available: Sequence[str],
    machines: Sequence[Machine],
    offers: Mapping[str, set[str]],
    record: StackRecord | None,
    problems: Problems,
) -> list[str]:
    """Return the zones of the stack's subnets, the head's first.

    A deployed stack keeps its zones, and its head stays where it is, as long as the definition and the offers allow
    it: neither the order of `zones` nor a zone that AWS adds moves a machine.

    Args:
        definition: what the user asks for.
        available: the region's zones.
        machines: the head and the worker groups.
        offers: instance type to the zones that offer it.
        record: the stack's, if it has one.
        problems: takes zones that don't exist.
    """
    for index, zone in enumerate(definition.zones or []):
        if zone not in available:
            problems.add(
                ("zones", index),
                f"There is no zone '{zone}' for this account.",
                f"There are {', '.join(available)}.",
            )
    deployed = record.zones if record is not None else []
    zones = list(definition.zones or deployed or _best_two(available, machines, offers))
    zones.sort(key=lambda zone: deployed.index(zone) if zone in deployed else len(deployed))
    for_head = offers.get(machines[0].instance_type, set())
    zones.sort(key=lambda zone: zone not in for_head)
    return zones


def _best_two(
    available: Sequence[str], machines: Sequence[Machine], offers: Mapping[str, set[str]]
) -> list[str]:
    """Return two zones: in the first is the head, and both offer as many of the workers' types as possible."""
    head, workers = machines[0], machines[1:]

    def offered(zone: str) -> int:
        return sum(zone in offers.get(worker.instance_type, set()) for worker in workers)

    by_workers = sorted(available, key=lambda zone: -offered(zone))
    by_head = sorted(by_workers, key=lambda zone: zone not in offers.get(head.instance_type, set()))
    first = by_head[:1]
    return first + [zone for zone in by_workers if zone not in first][:1]


def slots_of(zones: Iterable[str], record: StackRecord | None) -> dict[str, int]:
    """Return zone to the number of its subnets in the VPC's range; a zone that has one keeps it.

    A number whose zone leaves the stack is given away last, because its subnet is still there while the new one is
    made.
    """
    deployed = _deployed_slots(record)
    slots = {zone: deployed[zone] for zone in zones if zone in deployed}
    unused = [slot for slot in range(_SLOTS) if slot not in deployed.values()]
    leaving = [slot for zone, slot in deployed.items() if zone not in slots]
    free = iter(unused + leaving)
    return {zone: slots[zone] if zone in slots else next(free) for zone in zones}


def _deployed_slots(record: StackRecord | None) -> dict[str, int]:
    if record is None:
        return {}
    # A record that was written before it had slots: the zones were counted in their order.
    return record.zone_slots or {zone: slot for slot, zone in enumerate(record.zones)}


def check_offers(
    machines: Sequence[Machine],
    zones: Sequence[str],
    offers: Mapping[str, set[str]],
    problems: Problems,
    *,
    where: str = "name these in `zones`",
) -> None:
    """Check that the head's zone offers its instance type, and any zone that of each worker group.

    Args:
        machines: the head and the worker groups.
        zones: the zones of their subnets, the head's first.
        offers: instance type to the zones that offer it.
        problems: takes what is offered nowhere.
        where: how the user chooses other zones.
    """
    for machine in machines:
        offering = offers.get(machine.instance_type, set())
        own = zones[:1] if machine.name == "head" else zones
        if own and not offering & set(own):
            problems.add(
                (*machine.path, "instance_type"),
                f"'{machine.instance_type}' is not offered in {' or '.join(own)}.",
                f"It is in {', '.join(sorted(offering))}: {where}." if offering else "Choose another type.",
            )
