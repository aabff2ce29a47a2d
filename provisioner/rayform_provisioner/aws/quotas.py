"""Compares the machines of a definition with the account's EC2 quotas, which count vCPUs by kind of family.

Source: "Amazon EC2 instance type quotas" and "Spot Instance quotas" in EC2's user guide; the codes are those that
`aws service-quotas list-service-quotas --service-code ec2` lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rayform_provisioner.aws.clients import client
from rayform_provisioner.aws.machines import InstanceType, Machine
from rayform_provisioner.definitions.problems import Problems
from rayform_provisioner.targets import Target

__all__ = ["quota_of", "quota_warnings"]


class _Codes(NamedTuple):
    """The codes of one kind of family's quotas; `None` if AWS sells none that way."""

    on_demand: str
    spot: str | None


_STANDARD = _Codes("L-1216C47A", "L-34B43A08")
_GRAPHICS = _Codes("L-DB2E81BA", "L-3819A6DF")

_BY_LETTERS = {
    **dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), _STANDARD),
    **dict.fromkeys(("g", "gr", "vt"), _GRAPHICS),
    "dl": _Codes("L-6E869C2A", "L-85EED4F7"),
    "f": _Codes("L-74FC7D96", "L-88CF9481"),
    "hpc": _Codes("L-F7808C92", None),
    "inf": _Codes("L-1945791B", "L-B5D1601B"),
    "p": _Codes("L-417A185B", "L-7212CCBC"),
    "trn": _Codes("L-2C3B7624", "L-6B0D517C"),
    "u": _Codes("L-43DA4232", None),
    "x": _Codes("L-7295265B", "L-E3A00192"),
}
"""The letters that an instance type starts with, before its generation, to its quotas."""


def quota_of(instance_type: str, *, spot: bool) -> str | None:
    """Return the code of the quota that counts `instance_type`; `None` for a family that this table lacks.

    Example:
        >>> quota_of("trn1.2xlarge", spot=False)
        'L-2C3B7624'
    """
    letters = re.match(r"[a-z]+", instance_type)
    codes = _BY_LETTERS.get(letters.group()) if letters else None
    if codes is None:
        return None
    # P5 has a spot quota of its own.
    if spot and instance_type.startswith("p5"):
        return "L-C4BD4855"
    return codes.spot if spot else codes.on_demand


def quota_warnings(
    region: str,
    target: Target,
    machines: Sequence[Machine],
    types: Mapping[str, InstanceType],
    problems: Problems,
) -> list[str]:
    """Report a quota too small for a single machine as a problem, and one too small for all of them as a warning."""
    from botocore.exceptions import BotoCoreError, ClientError

    if target.emulated and "servicequotas" not in target.endpoints:
        return []
    quotas = client(target, "servicequotas", region)
    warnings = []
    by_quota: dict[str, list[Machine]] = {}
    for machine in machines:
        code = quota_of(machine.instance_type, spot=machine.spot)
        if code is None:
            warnings.append(
                f"'{machine.instance_type}' counts against a quota that Rayform doesn't know; it was not checked."
            )
        else:
            by_quota.setdefault(code, []).append(machine)
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
