"""moto's state as the cloud's other parts need it: what must be real, and reports about what is."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator

from rayform_localstack.api.addresses import AddressPool
from rayform_localstack.api.changes import Changes
from rayform_localstack.api.moto_parts import (
    AddressRow,
    DatabaseRow,
    EC2Backend,
    InstanceRow,
    ProfileRow,
    RoleRow,
    ec2_backends,
    part,
    rds_backends,
)
from rayform_localstack.desired import (
    Address,
    BootReport,
    Database,
    Desired,
    Instance,
    Interruption,
    MachineFacts,
)

__all__ = ["STATES", "Backends", "registry_login"]

STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
"""EC2's states of an instance, and their codes."""


class Backends:
    """The state that the API describes, and the reports that change it.

    Args:
        account: the account's number.
        region: region of the cloud's own databases and repositories.
        slot: the cloud's number.
        registry: host and port of the real registry.
        registry_password: key that seals ECR's logins.
    """

    def __init__(self, account: str, region: str, slot: int, registry: str, registry_password: str) -> None:
        self.account = account
        """The account's number; never changes."""
        self.region = region
        """Region of the cloud's own databases and repositories; never changes."""
        self.registry = registry
        """Host and port of the real registry; never changes."""
        self.registry_password = registry_password
        """Key that seals ECR's logins; never changes."""
        self.addresses = AddressPool(slot)
        """Loopback addresses; each interface and Elastic IP takes one, an instance that ends gives its own back."""
        self.changes = Changes()
        """Counts changes of what must be real, for the supervisor that waits for the next one."""
        self.lock = threading.RLock()
        """Held while moto's rows change."""
        self.boots: dict[str, BootReport] = {}
        """The last boot report of each instance; dropped when the instance is terminated."""
        self.reboots: dict[str, int] = {}
        """How often each instance was rebooted through the API."""
        self.interruptions: dict[str, Interruption] = {}
        """The spot interruptions that were ordered, by instance; dropped when the instance is terminated."""
        self.faults: dict[str, str] = {}
        """Why databases could not start; set and dropped by the supervisor's reports."""

    # What must be real ---------------------------------------------------------------------------------------

    def _ec2(self) -> Iterator[EC2Backend]:
        for account in list(ec2_backends().values()):
            yield from list(account.values())

    def instances(self) -> Iterator[InstanceRow]:
        """Yield every instance of every region, terminated ones included."""
        for backend in self._ec2():
            for reservation in list(backend.reservations.values()):
                yield from list(reservation.instances)

    def instance(self, identifier: str) -> InstanceRow | None:
        """Return one instance, or `None`."""
        return next((i for i in self.instances() if i.id == identifier), None)

    def instance_at(self, private_ip: str) -> InstanceRow | None:
        """Return the instance with this private address that isn't terminated, or `None`."""
        return next(
            (i for i in self.instances() if i._state.name != "terminated" and i.private_ip == private_ip),
            None,
        )

    def profile_role(self, instance: InstanceRow) -> tuple[ProfileRow, RoleRow] | None:
        """Return the instance profile of an instance and its role, or `None`."""
        association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
        if association is None or not association.iam_instance_profile.roles:
            return None
        return association.iam_instance_profile, association.iam_instance_profile.roles[0]

    def public_keys(self, instance: InstanceRow) -> list[str]:
        """Return the public keys of the instance's key pair."""
        backend = instance.ec2_backend
        pairs = getattr(backend, "key_pairs", None) or getattr(backend, "keypairs", {})  # the fork is older
        pair = pairs.get(instance.key_name) if instance.key_name else None
        if pair is None:
            return []
        return [_public_key(pair.material_public)]

    def desired(self) -> Desired:
        """Return everything that the supervisor must make real, as plain data."""
        with self.lock:
            instances = list(self.instances())
            return {
                "version": self.changes.count,
                "instances": [self._describe(i) for i in instances if i._state.name != "terminated"],
                "terminated": [i.id for i in instances if i._state.name == "terminated"],
                "databases": list(self._databases()),
                "addresses": list(self._elastic_addresses()),
            }

    def _describe(self, instance: InstanceRow) -> Instance:
        vpc = instance.ec2_backend.vpcs.get(instance.vpc_id)
        interface = instance.nics[0]
        launched = instance.launch_time
        return {
            "id": instance.id,
            "state": instance._state.name,
            "type": instance.instance_type,
            "image": instance.image_id,
            "private_ip": instance.private_ip,
            "public_ip": instance.public_ip,
            "loopback": self.addresses.take(interface.id),
            "vpc": instance.vpc_id,
            "cidr": vpc.cidr_block if vpc else "",
            "name": _tag(instance, "Name"),
            "abrupt": _reason(instance) == "Server.InternalError",
            "lifecycle": instance.lifecycle or "on-demand",
            "launched": launched.timestamp() if isinstance(launched, datetime.datetime) else None,
            "shutdown_behavior": instance.instance_initiated_shutdown_behavior,
            "reboots": self.reboots.get(instance.id, 0),
            "boot": self.boots.get(instance.id),
            "interruption": self.interruptions.get(instance.id),
            "machine": self.machine(instance),
        }

    def machine(self, instance: InstanceRow) -> MachineFacts:
        """Return the hardware of the instance's type, by the API's own catalog of types."""
        types = part("ec2.models.instance_types:INSTANCE_TYPES")

        facts = types.get(instance.instance_type, {})
        gpus = (facts.get("GpuInfo") or {}).get("Gpus") or []
        return {
            "cpus": int((facts.get("VCpuInfo") or {}).get("DefaultVCpus", 2)),
            "memory_bytes": int((facts.get("MemoryInfo") or {}).get("SizeInMiB", 4096)) * 2**20,
            "gpus": sum(int(g.get("Count", 0)) for g in gpus),
            "accelerator_type": str(gpus[0]["Name"]) if gpus else None,
        }

    def _databases(self) -> Iterator[Database]:
        for account in list(rds_backends().values()):
            for backend in list(account.values()):
                for database in list(backend.databases.values()):
                    if getattr(database, "private_ip", None):
                        yield self._describe_database(database)

    def _describe_database(self, database: DatabaseRow) -> Database:
        ec2 = ec2_backends()[database.account_id][database.region]
        subnet = ec2.get_subnet(database.subnet_id)
        return {
            "id": database.db_instance_identifier,
            "status": database.status,
            "private_ip": database.private_ip,
            "port": int(database.port),
            "vpc": subnet.vpc_id,
            "cidr": ec2.vpcs[subnet.vpc_id].cidr_block,
            "master": database.master_username,
            "name": database.db_name or "postgres",
            "fault": self.faults.get(f"database:{database.db_instance_identifier}"),
        }

    def _elastic_addresses(self) -> Iterator[Address]:
        for backend in self._ec2():
            addresses: list[AddressRow] = list(getattr(backend, "addresses", []))
            for address in addresses:
                instance = address.instance or (address.eni.instance if address.eni else None)
                if address.allocation_id and instance is not None and instance._state.name == "running":
                    yield {
                        "id": address.allocation_id,
                        "public_ip": address.public_ip,
                        "private_ip": instance.private_ip,
                        "instance": instance.id,
                    }

    def database(self, identifier: str) -> DatabaseRow | None:
        """Return one database, or `None`."""
        for account in list(rds_backends().values()):
            for backend in list(account.values()):
                if identifier in backend.databases:
                    return backend.databases[identifier]
        return None

    def database_password(self, identifier: str) -> str | None:
        """Return a database's master password: the managed secret's, or the one that its creation named."""
        database = self.database(identifier)
        if database is None:
            return None
        secret = getattr(database, "master_user_secret", None)
        if secret is None:
            return str(getattr(database, "master_user_password", None) or "")
        version = secret.secret
        value = version.versions[version.default_version_id]["secret_string"]
        return str(json.loads(value)["password"])

    # Reports about what is -----------------------------------------------------------------------------------

    def report_instance(self, identifier: str, state: str, expected: list[str]) -> bool:
        """Set an instance's state if it still is one of `expected`; return whether it was."""
        with self.lock:
            instance = self.instance(identifier)
            if instance is None or instance._state.name not in expected:
                return False
            instance._state.name, instance._state.code = state, STATES[state]
            if state == "terminated":
                self._release(instance)
        self.changes.bump()
        return True

    def end_instance(self, identifier: str, state: str, code: str, message: str) -> bool:
        """Record that an instance ended by itself (powered off, crashed, reclaimed), and why."""
        reason_class = part("ec2.models.instances:StateReason")

        with self.lock:
            instance = self.instance(identifier)
            if instance is None or instance._state.name in {"terminated", "shutting-down"}:
                return False
            if state in {"terminated", "shutting-down"}:
                instance.terminate()
            else:
                instance.stop()
            instance._state.name, instance._state.code = state, STATES[state]
            instance._reason = message
            # moto's name for it, and the older fork's.
            instance.state_reason = instance._state_reason = reason_class(f"{code}: {message}", code)
            if state == "terminated":
                self._release(instance)
        self._notify_groups(instance)
        self.changes.bump()
        return True

    def _release(self, instance: InstanceRow) -> None:
        for interface in instance.nics.values():
            self.addresses.give_back(interface.id)
            interface.subnet.del_subnet_ip(interface.private_ip_address)
        instance._private_ips.clear()
        self.boots.pop(instance.id, None)
        self.interruptions.pop(instance.id, None)

    def _notify_groups(self, instance: InstanceRow) -> None:
        """Let auto-scaling groups replace an instance that ended by itself, like one that the API terminated."""
        autoscaling_backends = part("autoscaling.models:autoscaling_backends")

        if instance._state.name in {"terminated", "shutting-down"}:
            backend = autoscaling_backends[instance.owner_id][instance.region_name]
            backend.notify_terminate_instances([instance.id])

    def report_database(self, identifier: str, status: str, fault: str | None = None) -> bool:
        """Set a database's status; return whether there is one."""
        with self.lock:
            database = self.database(identifier)
            if database is None:
                return False
            database.status = status
            key = f"database:{identifier}"
            if fault:
                self.faults[key] = fault
            else:
                self.faults.pop(key, None)
        self.changes.bump()
        return True


def registry_login(access_key: str, secret: str) -> str:
    """Return ECR's password for a caller. It names the caller's key, and only this cloud can make it."""
    seal = hmac.new(secret.encode(), access_key.encode(), hashlib.sha256).hexdigest()
    return f"{access_key}.{seal}"


def _reason(instance: InstanceRow) -> str:
    reason = getattr(instance, "state_reason", None) or getattr(instance, "_state_reason", None)
    return str(getattr(reason, "code", ""))


def _public_key(material: bytes | str) -> str:
    """Return a public key as OpenSSH writes it; the fork keeps it base64-encoded, as the API's client sent it."""
    text = material.decode() if isinstance(material, bytes) else str(material)
    if text.startswith(("ssh-", "ecdsa-", "sk-")):
        return text
    try:
        return base64.b64decode(text).decode()
    except ValueError:
        return text


def _tag(instance: InstanceRow, key: str) -> str | None:
    return next((str(t["value"]) for t in instance.get_tags() if t["key"] == key), None)
