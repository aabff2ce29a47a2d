"""moto's state as the cloud's other parts need it: what is wanted, and what became of it.

moto is imported lazily by functions: the same code runs with moto and with the fork inside LocalStack.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from typing import Any

from rayform_localstack.api.addresses import AddressPool
from rayform_localstack.api.changes import Changes
from rayform_localstack.api.moto_parts import part

__all__ = ["STATES", "Backends", "registry_login"]

STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
"""EC2's states of an instance, and the codes that it gives with them."""


class Backends:
    """The state that the API describes, and the reports that change it.

    Args:
        account: the account's number.
        region: where databases and repositories of the cloud itself live.
        slot: the cloud's number.
        registry: host and port of the real registry.
        registry_password: what ECR's logins are sealed with.
    """

    def __init__(self, account: str, region: str, slot: int, registry: str, registry_password: str) -> None:
        self.account = account
        self.region = region
        self.registry = registry
        self.registry_password = registry_password
        self.addresses = AddressPool(slot)
        self.changes = Changes()
        self.lock = threading.RLock()
        self.boots: dict[str, dict[str, Any]] = {}
        self.reboots: dict[str, int] = {}
        self.interruptions: dict[str, dict[str, str]] = {}
        self.faults: dict[str, str] = {}

    # What is wanted ------------------------------------------------------------------------------------------

    def _ec2(self) -> Iterator[Any]:
        ec2_backends = part("ec2.models:ec2_backends")

        for account in list(ec2_backends.values()):
            yield from list(account.values())

    def instances(self) -> Iterator[Any]:
        """Yield every instance of every region, the terminated ones too."""
        for backend in self._ec2():
            for reservation in list(backend.reservations.values()):
                yield from list(reservation.instances)

    def instance(self, identifier: str) -> Any:
        """Return one instance, or `None`."""
        return next((i for i in self.instances() if i.id == identifier), None)

    def instance_at(self, private_ip: str) -> Any:
        """Return the instance with this private address that isn't gone, or `None`."""
        return next(
            (i for i in self.instances() if i._state.name != "terminated" and i.private_ip == private_ip),
            None,
        )

    def profile_role(self, instance: Any) -> tuple[Any, Any] | None:
        """Return the instance profile of an instance and its role, or `None`."""
        association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
        if association is None or not association.iam_instance_profile.roles:
            return None
        return association.iam_instance_profile, association.iam_instance_profile.roles[0]

    def public_keys(self, instance: Any) -> list[str]:
        """Return the public halves of the instance's key pair."""
        backend = instance.ec2_backend
        pairs = backend.key_pairs if hasattr(backend, "key_pairs") else backend.keypairs  # the fork is older
        pair = pairs.get(instance.key_name) if instance.key_name else None
        if pair is None:
            return []
        return [_public_key(pair.material_public)]

    def desired(self) -> dict[str, Any]:
        """Return everything that the supervisor must make real, as plain data."""
        with self.lock:
            found = list(self.instances())
            return {
                "version": self.changes.count,
                "instances": [self._describe(i) for i in found if i._state.name != "terminated"],
                "terminated": [i.id for i in found if i._state.name == "terminated"],
                "databases": list(self._databases()),
                "addresses": list(self._elastic_addresses()),
            }

    def _describe(self, instance: Any) -> dict[str, Any]:
        backend = instance.ec2_backend
        vpc = backend.vpcs.get(instance.vpc_id)
        interface = instance.nics[0]
        return {
            "id": instance.id,
            "state": instance._state.name,
            "type": instance.instance_type,
            "image": instance.image_id,
            "private_ip": instance.private_ip,
            "public_ip": instance.public_ip,
            "loopback": self.addresses.take(interface.id),
            "vpc": instance.vpc_id,
            "cidr": vpc.cidr_block if vpc else None,
            "name": _tag(instance, "Name"),
            "abrupt": _reason(instance) == "Server.InternalError",
            "lifecycle": instance.lifecycle or "on-demand",
            "launched": instance.launch_time.timestamp()
            if hasattr(instance.launch_time, "timestamp")
            else None,
            "shutdown_behavior": instance.instance_initiated_shutdown_behavior,
            "reboots": self.reboots.get(instance.id, 0),
            "boot": self.boots.get(instance.id),
            "interruption": self.interruptions.get(instance.id),
            "machine": self.machine(instance),
        }

    def machine(self, instance: Any) -> dict[str, Any]:
        """Return what the instance's type has, by the API's own catalog of types."""
        types = part("ec2.models.instance_types:INSTANCE_TYPES")

        facts = types.get(instance.instance_type, {})
        gpus = (facts.get("GpuInfo") or {}).get("Gpus") or []
        return {
            "cpus": int((facts.get("VCpuInfo") or {}).get("DefaultVCpus", 2)),
            "memory_bytes": int((facts.get("MemoryInfo") or {}).get("SizeInMiB", 4096)) * 2**20,
            "gpus": sum(int(g.get("Count", 0)) for g in gpus),
            "accelerator_type": str(gpus[0]["Name"]) if gpus else None,
        }

    def _databases(self) -> Iterator[dict[str, Any]]:
        rds_backends = part("rds.models:rds_backends")

        for account in list(rds_backends.values()):
            for backend in list(account.values()):
                for database in list(backend.databases.values()):
                    if getattr(database, "private_ip", None):
                        yield self._describe_database(database)

    def _describe_database(self, database: Any) -> dict[str, Any]:
        ec2_backends = part("ec2.models:ec2_backends")

        ec2 = ec2_backends[database.account_id][database.region]
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

    def _elastic_addresses(self) -> Iterator[dict[str, Any]]:
        for backend in self._ec2():
            for address in list(getattr(backend, "addresses", [])):
                instance = address.instance or (address.eni.instance if address.eni else None)
                if address.allocation_id and instance is not None and instance._state.name == "running":
                    yield {
                        "id": address.allocation_id,
                        "public_ip": address.public_ip,
                        "private_ip": instance.private_ip,
                        "instance": instance.id,
                    }

    def database(self, identifier: str) -> Any:
        """Return one database, or `None`."""
        rds_backends = part("rds.models:rds_backends")

        for account in list(rds_backends.values()):
            for backend in list(account.values()):
                if identifier in backend.databases:
                    return backend.databases[identifier]
        return None

    def database_password(self, identifier: str) -> str | None:
        """Return the master password that a database must take: the managed secret's, or the one given."""
        database = self.database(identifier)
        if database is None:
            return None
        secret = getattr(database, "master_user_secret", None)
        if secret is None:
            return str(getattr(database, "master_user_password", None) or "")
        version = secret.secret
        value = version.versions[version.default_version_id]["secret_string"]
        return str(json.loads(value)["password"])

    # What became of it ---------------------------------------------------------------------------------------

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
        """Say that an instance ended by itself (powered off, crashed, reclaimed) and why."""
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
            # Under its name in moto, and in the older fork.
            instance.state_reason = instance._state_reason = reason_class(f"{code}: {message}", code)
            if state == "terminated":
                self._release(instance)
        self._tell_groups(instance)
        self.changes.bump()
        return True

    def _release(self, instance: Any) -> None:
        for interface in instance.nics.values():
            self.addresses.give_back(interface.id)
            interface.subnet.del_subnet_ip(interface.private_ip_address)
        instance._private_ips.clear()
        self.boots.pop(instance.id, None)
        self.interruptions.pop(instance.id, None)

    def _tell_groups(self, instance: Any) -> None:
        """Let auto-scaling groups replace an instance that ended by itself, as they do for one terminated."""
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
    """Return ECR's password for a caller: it names the caller's key, and only this cloud can make it."""
    seal = hmac.new(secret.encode(), access_key.encode(), hashlib.sha256).hexdigest()
    return f"{access_key}.{seal}"


def _reason(instance: Any) -> str:
    reason = getattr(instance, "state_reason", None) or getattr(instance, "_state_reason", None)
    return str(getattr(reason, "code", ""))


def _public_key(material: Any) -> str:
    """Return a public key as OpenSSH writes it; the fork keeps what was sent, which is base64 of that."""
    text = material.decode() if isinstance(material, bytes) else str(material)
    if text.startswith(("ssh-", "ecdsa-", "sk-")):
        return text
    try:
        return base64.b64decode(text).decode()
    except ValueError:
        return text


def _tag(instance: Any, key: str) -> str | None:
    return next((str(t["value"]) for t in instance.get_tags() if t["key"] == key), None)
