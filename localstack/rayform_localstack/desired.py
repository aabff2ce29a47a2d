"""What the API process wants to be real: the JSON that the supervisor acts on and the command line shows."""

from __future__ import annotations

from typing import NotRequired, TypedDict

__all__ = ["Address", "BootReport", "Database", "Desired", "Instance", "Interruption", "MachineFacts"]


class MachineFacts(TypedDict):
    """The hardware of an instance's type."""

    cpus: int
    memory_bytes: int
    gpus: int
    accelerator_type: str | None


class BootReport(TypedDict, total=False):
    """How an instance's boot goes, as its machine reports it.

    `phase` is `user-data` or `done`; `code` is the exit code of its scripts, `seconds` what they took, `error` why
    they could not run, `again` whether the instance has booted before, `at` when the report came.
    """

    phase: str
    code: int
    seconds: float
    error: str
    again: bool
    at: float


class Interruption(TypedDict):
    """The notice of a spot interruption: when it was given (`notice`), and when it takes effect (`time`)."""

    action: str
    time: str
    notice: str


# 18 fields: one JSON object of the control endpoint, which supervisor and command line read.
class Instance(TypedDict):
    """An instance that isn't terminated.

    `id`, `state`, `type`, `image`, `name`, `vpc`, `private_ip`, `public_ip`, `lifecycle` (`spot` or `on-demand`) and
    `shutdown_behavior` are EC2's. `cidr` are the VPC's addresses, `loopback` is this machine's address for the
    instance's SSH port, `abrupt` says whether it ends without a shutdown, `launched` when it was launched, `reboots`
    how often it was rebooted through the API. `boot` is its last report, `interruption` the notice of its spot
    interruption, and `machine` its hardware.
    """

    id: str
    state: str
    type: str
    image: str
    private_ip: str
    public_ip: str | None
    loopback: str
    vpc: str
    cidr: str
    name: str | None
    abrupt: bool
    lifecycle: str
    launched: float | None
    shutdown_behavior: str
    reboots: int
    boot: BootReport | None
    interruption: Interruption | None
    machine: MachineFacts


class Database(TypedDict):
    """A database.

    `id`, `status`, `vpc`, `private_ip`, `port` and `name` are RDS's. `cidr` are the VPC's addresses, `master` is the
    database's user, `fault` says why it could not start.
    """

    id: str
    status: str
    private_ip: str
    port: int
    vpc: str
    cidr: str
    master: str | None
    name: str
    fault: str | None


class Address(TypedDict):
    """An Elastic IP that a running instance has."""

    id: str
    public_ip: str
    private_ip: str
    instance: str


class Desired(TypedDict):
    """Everything that must be real; `version` counts the API's changes, `terminated` has IDs of instances."""

    version: int
    instances: list[Instance]
    terminated: NotRequired[list[str]]
    databases: list[Database]
    addresses: list[Address]
