"""moto's backends, changed where a row in memory isn't enough.

Every change is one function here, applied once before the first request:

- an instance is `pending` until its machine runs, `stopping` until it stands still and `shutting-down` until it is
  gone; the supervisor reports each of these ends;
- public addresses are loopback addresses that really lead to the machine;
- an instance from a launch template takes everything from it (profile, interfaces, market);
- a database is `creating` until PostgreSQL answers, at an address of its own in its subnet, and its managed
  password is random;
- a repository's URL names the cloud's real registry, and ECR's login opens it.

moto is imported lazily by functions: the same code runs with moto and with the fork inside LocalStack.
"""

from __future__ import annotations

import base64
import copy
import datetime
import hashlib
import hmac
import json
import re
import secrets
import threading
from collections.abc import Iterator
from typing import Any

from rayform_localstack.api.addresses import AddressPool
from rayform_localstack.api.changes import Changes
from rayform_localstack.api.moto_parts import part

__all__ = ["Backends", "registry_login"]

STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


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

    # Applied once ------------------------------------------------------------------------------------------

    def patch(self) -> None:
        """Change moto. Call it once, before the first request."""
        self._patch_instances()
        self._patch_addresses()
        self._patch_launches()
        self._patch_databases()
        self._patch_registry()

    def _patch_instances(self) -> None:
        instance_class = part("ec2.models.instances:Instance")

        outer = self
        init, start, stop, terminate = (
            instance_class.__init__,
            instance_class.start,
            instance_class.stop,
            instance_class.terminate,
        )

        def set_state(instance: Any, name: str) -> None:
            instance._state.name, instance._state.code = name, STATES[name]
            outer.changes.bump()

        def new_init(instance: Any, *args: Any, **kwargs: Any) -> None:
            init(instance, *args, **kwargs)
            set_state(instance, "pending")

        def new_start(instance: Any) -> Any:
            with outer.lock:
                before = copy.copy(instance._state)
                if before.name in {"stopped"}:
                    start(instance)
                    instance._state.name, instance._state.code = before.name, before.code
                    set_state(instance, "pending")
                elif before.name not in {"pending", "running"}:
                    _refuse_state(instance.id, before.name, "started")
                return before

        def new_stop(instance: Any) -> Any:
            with outer.lock:
                before = copy.copy(instance._state)
                if before.name in {"pending", "running"}:
                    stop(instance)
                    set_state(instance, "stopping")
                elif before.name not in {"stopping", "stopped"}:
                    _refuse_state(instance.id, before.name, "stopped")
                return before

        def new_terminate(instance: Any) -> Any:
            with outer.lock:
                before = copy.copy(instance._state)
                if before.name not in {"shutting-down", "terminated"}:
                    terminate(instance)
                    set_state(instance, "shutting-down")
                return before

        def new_reboot(instance: Any) -> None:
            with outer.lock:
                if instance._state.name == "running":
                    outer.reboots[instance.id] = outer.reboots.get(instance.id, 0) + 1
                    outer.changes.bump()

        instance_class.__init__ = new_init
        instance_class.start, instance_class.stop = new_start, new_stop
        instance_class.terminate, instance_class.reboot = new_terminate, new_reboot
        # No name server knows ec2-127-77-…; the address itself is a name that works.
        instance_class.public_dns_name = property(lambda instance: instance.public_ip, lambda *_: None)

    def _patch_addresses(self) -> None:
        elastic_ip_addresses = part("ec2.models:elastic_ip_addresses")
        interface_class = part("ec2.models.elastic_network_interfaces:NetworkInterface")

        outer = self
        address_class = elastic_ip_addresses.ElasticAddress
        init = address_class.__init__

        def check_auto_public_ip(interface: Any) -> None:
            if str(interface.public_ip_auto_assign or "").lower() == "true":
                interface.public_ip = outer.addresses.take(interface.id)

        def new_init(address: Any, ec2_backend: Any, domain: str, *args: Any, **kwargs: Any) -> None:
            init(address, ec2_backend, domain, *args, **kwargs)
            if address.allocation_id:
                address.public_ip = outer.addresses.take(address.allocation_id)

        interface_class.check_auto_public_ip = check_auto_public_ip
        address_class.__init__ = new_init

    def _patch_launches(self) -> None:
        backend_class = part("ec2.models.instances:InstanceBackend")

        run_instances = backend_class.run_instances

        def new_run_instances(
            backend: Any,
            image_id: str,
            count: int,
            user_data: Any,
            security_group_names: list[str],
            **kwargs: Any,
        ) -> Any:
            profile = None
            if kwargs.get("launch_template"):
                data = backend._get_template_from_args(kwargs["launch_template"]).data
                profile = _take_from_template(data, kwargs)
                user_data = user_data or data.get("UserData")
            nics = kwargs.get("nics") or []
            if not kwargs.get("subnet_id") and not any(n.get("SubnetId") for n in nics):
                kwargs["subnet_id"] = _default_subnet(backend, kwargs.get("placement"))
            named = kwargs.get("iam_instance_profile_name") or kwargs.get("iam_instance_profile_arn")
            reservation = run_instances(backend, image_id, count, user_data, security_group_names, **kwargs)
            for index, instance in enumerate(reservation.instances):
                if named and index > 0:
                    # moto's response associates the profile that was named with the first instance alone.
                    _associate(
                        backend,
                        instance.id,
                        {
                            "Name": kwargs.get("iam_instance_profile_name"),
                            "Arn": kwargs.get("iam_instance_profile_arn"),
                        },
                    )
                elif profile and not named:
                    _associate(backend, instance.id, profile)
            return reservation

        backend_class.run_instances = new_run_instances

    def _patch_databases(self) -> None:
        database_class = part("rds.models:DBInstance")
        secret_class = part("rds.models:MasterUserSecret")

        outer = self
        init = database_class.__init__

        def new_init(database: Any, *args: Any, **kwargs: Any) -> None:
            init(database, *args, **kwargs)
            if database.engine == "postgres" and not kwargs.get("db_cluster_identifier"):
                database.status = "creating"
                database.private_ip = outer._database_address(database)
                outer.changes.bump()

        def secret_string(secret: Any) -> str:
            return json.dumps(
                {
                    "username": getattr(secret.resource, "master_username", None) or "postgres",
                    "password": secrets.token_urlsafe(24),
                }
            )

        address = database_class.address.fget
        database_class.__init__ = new_init
        database_class.address = property(lambda db: getattr(db, "private_ip", None) or address(db))
        secret_class._generate_secret_string = secret_string

    def _database_address(self, database: Any) -> str:
        """Reserve an address for a database in its first subnet."""
        ec2_backends = part("ec2.models:ec2_backends")

        backend = ec2_backends[database.account_id][database.region]
        group = getattr(database, "db_subnet_group", None)
        first = group.subnets[0]["SubnetIdentifier"] if group else _default_subnet(backend, None)
        subnet = backend.get_subnet(first)
        database.subnet_id = subnet.id
        address: str = subnet.get_available_subnet_ip(instance=database)
        return address

    def _patch_registry(self) -> None:
        result_class = part("core.responses:ActionResult")
        repository_class = part("ecr.models:Repository")
        response_class = part("ecr.responses:ECRResponse")

        outer = self
        init = repository_class.__init__

        def new_init(repository: Any, *args: Any, **kwargs: Any) -> None:
            init(repository, *args, **kwargs)
            repository.uri = f"{outer.registry}/{repository.name}"

        def get_authorization_token(response: Any) -> Any:
            found = re.search(r"Credential=([^/]+)/", str(response.headers.get("Authorization", "")))
            password = registry_login(found.group(1) if found else "", outer.registry_password)
            login = base64.b64encode(f"AWS:{password}".encode()).decode()
            expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=12)
            endpoint = f"http://{outer.registry}"
            return result_class(
                {
                    "authorizationData": [
                        {"authorizationToken": login, "expiresAt": expires, "proxyEndpoint": endpoint}
                    ]
                }
            )

        repository_class.__init__ = new_init
        response_class.get_authorization_token = get_authorization_token

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


def _refuse_state(identifier: str, state: str, verb: str) -> None:
    error_class = part("ec2.exceptions:EC2ClientError")

    raise error_class(
        "IncorrectInstanceState",
        f"The instance '{identifier}' is not in a state from which it can be {verb} (it is {state}).",
    )


def _default_subnet(backend: Any, zone: str | None) -> str | None:
    subnets = backend.get_default_subnets()
    if not subnets:
        return None
    chosen = subnets.get(zone) if zone else None
    return str((chosen or subnets[sorted(subnets)[0]]).id)


def _associate(backend: Any, instance_id: str, profile: dict[str, Any]) -> None:
    backend.associate_iam_instance_profile(
        instance_id=instance_id,
        iam_instance_profile_name=profile.get("Name"),
        iam_instance_profile_arn=None if profile.get("Name") else profile.get("Arn"),
    )


def _take_from_template(data: dict[str, Any], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Fill in what moto leaves out of a launch template; return its instance profile."""
    interfaces = [dict(i) for i in _template_list(data, "NetworkInterface")]
    if interfaces and not kwargs.get("nics"):
        first = interfaces[0]
        groups = _template_list(first, "SecurityGroupId") or _listed(first.get("Groups"))
        if groups and not kwargs.get("security_group_ids"):
            kwargs["security_group_ids"] = groups
        public = first.get("AssociatePublicIpAddress")
        if public is not None and kwargs.get("associate_public_ip") in {None, ""}:
            kwargs["associate_public_ip"] = str(public).lower() == "true"
        if first.get("SubnetId") and not kwargs.get("subnet_id"):
            kwargs["subnet_id"] = first["SubnetId"]
    devices = _template_list(data, "BlockDeviceMapping")
    if devices and not kwargs.get("block_device_mappings"):
        # Left to itself, moto gives the instance a default root volume too, which outlives it unattached.
        kwargs["block_device_mappings"] = devices
    if data.get("InstanceType") and kwargs.get("is_instance_type_default"):
        kwargs.update(instance_type=data["InstanceType"], is_instance_type_default=False)
    if data.get("KeyName") and not kwargs.get("key_name"):
        kwargs["key_name"] = data["KeyName"]
    groups = _template_list(data, "SecurityGroupId")
    if groups and not kwargs.get("security_group_ids"):
        kwargs["security_group_ids"] = groups
    market = data.get("InstanceMarketOptions") or {}
    if market.get("MarketType") and not kwargs.get("instance_market_options"):
        kwargs["instance_market_options"] = market["MarketType"]
    if data.get("MetadataOptions") and not kwargs.get("metadata_options"):
        kwargs["metadata_options"] = data["MetadataOptions"]
    if data.get("InstanceInitiatedShutdownBehavior") and not kwargs.get(
        "instance_initiated_shutdown_behavior"
    ):
        kwargs["instance_initiated_shutdown_behavior"] = data["InstanceInitiatedShutdownBehavior"]
    profile = data.get("IamInstanceProfile") or None
    return dict(profile) if profile else None


def _template_list(data: dict[str, Any], singular: str) -> list[Any]:
    """Return a template's list: moto's names are EC2's plurals, those of the moto in LocalStack its singulars."""
    return _listed(data.get(f"{singular}s") or data.get(singular))


def _listed(value: Any) -> list[Any]:
    if not value:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [value[key] for key in sorted(value)] if all(str(k).isdigit() for k in value) else [value]
    return [value]
