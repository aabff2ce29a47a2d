"""moto's classes, changed where a row in memory isn't enough.

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
import json
import re
import secrets
from typing import Any

from rayform_localstack.api.backends import STATES, Backends, registry_login
from rayform_localstack.api.launch_templates import take_from_template
from rayform_localstack.api.moto_parts import part

__all__ = ["patch_moto"]


def patch_moto(backends: Backends) -> None:
    """Change moto. Call it once, before the first request.

    Args:
        backends: told of what changes, and asked for addresses and for the registry.
    """
    _patch_instances(backends)
    _patch_addresses(backends)
    _patch_launches()
    _patch_databases(backends)
    _patch_registry(backends)


def _patch_instances(backends: Backends) -> None:
    instance_class = part("ec2.models.instances:Instance")

    init, start, stop, terminate = (
        instance_class.__init__,
        instance_class.start,
        instance_class.stop,
        instance_class.terminate,
    )

    def set_state(instance: Any, name: str) -> None:
        instance._state.name, instance._state.code = name, STATES[name]
        backends.changes.bump()

    def new_init(instance: Any, *args: Any, **kwargs: Any) -> None:
        init(instance, *args, **kwargs)
        set_state(instance, "pending")

    def new_start(instance: Any) -> Any:
        with backends.lock:
            before = copy.copy(instance._state)
            if before.name in {"stopped"}:
                start(instance)
                instance._state.name, instance._state.code = before.name, before.code
                set_state(instance, "pending")
            elif before.name not in {"pending", "running"}:
                _refuse_state(instance.id, before.name, "started")
            return before

    def new_stop(instance: Any) -> Any:
        with backends.lock:
            before = copy.copy(instance._state)
            if before.name in {"pending", "running"}:
                stop(instance)
                set_state(instance, "stopping")
            elif before.name not in {"stopping", "stopped"}:
                _refuse_state(instance.id, before.name, "stopped")
            return before

    def new_terminate(instance: Any) -> Any:
        with backends.lock:
            before = copy.copy(instance._state)
            if before.name not in {"shutting-down", "terminated"}:
                terminate(instance)
                set_state(instance, "shutting-down")
            return before

    def new_reboot(instance: Any) -> None:
        with backends.lock:
            if instance._state.name == "running":
                backends.reboots[instance.id] = backends.reboots.get(instance.id, 0) + 1
                backends.changes.bump()

    instance_class.__init__ = new_init
    instance_class.start, instance_class.stop = new_start, new_stop
    instance_class.terminate, instance_class.reboot = new_terminate, new_reboot
    # No name server knows ec2-127-77-…; the address itself is a name that works.
    instance_class.public_dns_name = property(lambda instance: instance.public_ip, lambda *_: None)


def _refuse_state(identifier: str, state: str, verb: str) -> None:
    error_class = part("ec2.exceptions:EC2ClientError")

    raise error_class(
        "IncorrectInstanceState",
        f"The instance '{identifier}' is not in a state from which it can be {verb} (it is {state}).",
    )


def _patch_addresses(backends: Backends) -> None:
    elastic_ip_addresses = part("ec2.models:elastic_ip_addresses")
    interface_class = part("ec2.models.elastic_network_interfaces:NetworkInterface")

    address_class = elastic_ip_addresses.ElasticAddress
    init = address_class.__init__

    def check_auto_public_ip(interface: Any) -> None:
        if str(interface.public_ip_auto_assign or "").lower() == "true":
            interface.public_ip = backends.addresses.take(interface.id)

    def new_init(address: Any, ec2_backend: Any, domain: str, *args: Any, **kwargs: Any) -> None:
        init(address, ec2_backend, domain, *args, **kwargs)
        if address.allocation_id:
            address.public_ip = backends.addresses.take(address.allocation_id)

    interface_class.check_auto_public_ip = check_auto_public_ip
    address_class.__init__ = new_init


def _patch_launches() -> None:
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
            profile = take_from_template(data, kwargs)
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


def _associate(backend: Any, instance_id: str, profile: dict[str, Any]) -> None:
    backend.associate_iam_instance_profile(
        instance_id=instance_id,
        iam_instance_profile_name=profile.get("Name"),
        iam_instance_profile_arn=None if profile.get("Name") else profile.get("Arn"),
    )


def _default_subnet(backend: Any, zone: str | None) -> str | None:
    subnets = backend.get_default_subnets()
    if not subnets:
        return None
    chosen = subnets.get(zone) if zone else None
    return str((chosen or subnets[sorted(subnets)[0]]).id)


def _patch_databases(backends: Backends) -> None:
    database_class = part("rds.models:DBInstance")
    secret_class = part("rds.models:MasterUserSecret")

    init = database_class.__init__

    def new_init(database: Any, *args: Any, **kwargs: Any) -> None:
        init(database, *args, **kwargs)
        if database.engine == "postgres" and not kwargs.get("db_cluster_identifier"):
            database.status = "creating"
            database.private_ip = _database_address(database)
            backends.changes.bump()

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


def _database_address(database: Any) -> str:
    """Reserve an address for a database in its first subnet."""
    ec2_backends = part("ec2.models:ec2_backends")

    backend = ec2_backends[database.account_id][database.region]
    group = getattr(database, "db_subnet_group", None)
    first = group.subnets[0]["SubnetIdentifier"] if group else _default_subnet(backend, None)
    subnet = backend.get_subnet(first)
    database.subnet_id = subnet.id
    address: str = subnet.get_available_subnet_ip(instance=database)
    return address


def _patch_registry(backends: Backends) -> None:
    result_class = part("core.responses:ActionResult")
    repository_class = part("ecr.models:Repository")
    response_class = part("ecr.responses:ECRResponse")

    init = repository_class.__init__

    def new_init(repository: Any, *args: Any, **kwargs: Any) -> None:
        init(repository, *args, **kwargs)
        repository.uri = f"{backends.registry}/{repository.name}"

    def get_authorization_token(response: Any) -> Any:
        found = re.search(r"Credential=([^/]+)/", str(response.headers.get("Authorization", "")))
        password = registry_login(found.group(1) if found else "", backends.registry_password)
        login = base64.b64encode(f"AWS:{password}".encode()).decode()
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=12)
        endpoint = f"http://{backends.registry}"
        return result_class(
            {
                "authorizationData": [
                    {"authorizationToken": login, "expiresAt": expires, "proxyEndpoint": endpoint}
                ]
            }
        )

    repository_class.__init__ = new_init
    response_class.get_authorization_token = get_authorization_token
