"""Changes of moto's classes, for what a row in memory can't do.

Every change is one function here, which runs once before the first request:

- an instance is `pending` until its machine runs, `stopping` until it has stopped and `shutting-down` until it is
  gone; the supervisor reports each of these ends;
- public addresses are loopback addresses that really lead to the machine;
- an instance from a launch template takes everything from it (profile, interfaces, market);
- a database is `creating` until PostgreSQL answers, at an address of its own in its subnet, and its managed
  password is random;
- a repository's URL names the cloud's real registry, and ECR's login opens it.
"""

from __future__ import annotations

import base64
import copy
import datetime
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import cast

from rayform_localstack.api.backends import STATES, Backends, registry_login
from rayform_localstack.api.launch_templates import take_from_template
from rayform_localstack.api.moto_parts import (
    AddressRow,
    DatabaseRow,
    EC2Backend,
    InstanceRow,
    InterfaceRow,
    RepositoryRow,
    ReservationRow,
    WithHeaders,
    ec2_backends,
    part,
)

__all__ = ["patch_moto"]


def patch_moto(backends: Backends) -> None:
    """Change moto. Call it once, before the first request.

    Args:
        backends: gets every change, and provides addresses and the registry.
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

    def set_state(instance: InstanceRow, name: str) -> None:
        instance._state.name, instance._state.code = name, STATES[name]
        backends.changes.bump()

    def new_init(instance: InstanceRow, *args: object, **kwargs: object) -> None:
        init(instance, *args, **kwargs)
        set_state(instance, "pending")

    def new_start(instance: InstanceRow) -> object:
        with backends.lock:
            before = copy.copy(instance._state)
            if before.name in {"stopped"}:
                start(instance)
                instance._state.name, instance._state.code = before.name, before.code
                set_state(instance, "pending")
            elif before.name not in {"pending", "running"}:
                _refuse_state(instance.id, before.name, "started")
            return before

    def new_stop(instance: InstanceRow) -> object:
        with backends.lock:
            before = copy.copy(instance._state)
            if before.name in {"pending", "running"}:
                stop(instance)
                set_state(instance, "stopping")
            elif before.name not in {"stopping", "stopped"}:
                _refuse_state(instance.id, before.name, "stopped")
            return before

    def new_terminate(instance: InstanceRow) -> object:
        with backends.lock:
            before = copy.copy(instance._state)
            if before.name not in {"shutting-down", "terminated"}:
                terminate(instance)
                set_state(instance, "shutting-down")
            return before

    def new_reboot(instance: InstanceRow) -> None:
        with backends.lock:
            if instance._state.name == "running":
                backends.reboots[instance.id] = backends.reboots.get(instance.id, 0) + 1
                backends.changes.bump()

    instance_class.__init__ = new_init
    instance_class.start, instance_class.stop = new_start, new_stop
    instance_class.terminate, instance_class.reboot = new_terminate, new_reboot
    # No name server has ec2-127-77-…; the address itself works as a name.
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

    def check_auto_public_ip(interface: InterfaceRow) -> None:
        if str(interface.public_ip_auto_assign or "").lower() == "true":
            interface.public_ip = backends.addresses.take(interface.id)

    def new_init(
        address: AddressRow, ec2_backend: EC2Backend, domain: str, *args: object, **kwargs: object
    ) -> None:
        init(address, ec2_backend, domain, *args, **kwargs)
        if address.allocation_id:
            address.public_ip = backends.addresses.take(address.allocation_id)

    interface_class.check_auto_public_ip = check_auto_public_ip
    address_class.__init__ = new_init


def _patch_launches() -> None:
    backend_class = part("ec2.models.instances:InstanceBackend")

    run_instances = backend_class.run_instances

    def new_run_instances(
        backend: EC2Backend,
        image_id: str,
        count: int,
        user_data: object,
        security_group_names: list[str],
        **kwargs: object,
    ) -> ReservationRow:
        profile = None
        if kwargs.get("launch_template"):
            data = backend._get_template_from_args(kwargs["launch_template"]).data
            profile = take_from_template(data, kwargs)
            user_data = user_data or data.get("UserData")
        nics = cast(Sequence[Mapping[str, object]], kwargs.get("nics") or [])
        if not kwargs.get("subnet_id") and not any(n.get("SubnetId") for n in nics):
            kwargs["subnet_id"] = _default_subnet(backend, kwargs.get("placement"))
        named = kwargs.get("iam_instance_profile_name") or kwargs.get("iam_instance_profile_arn")
        reservation: ReservationRow = run_instances(
            backend, image_id, count, user_data, security_group_names, **kwargs
        )
        for index, instance in enumerate(reservation.instances):
            if named and index > 0:
                # moto's response associates a named profile with the first instance alone.
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


def _associate(backend: EC2Backend, instance_id: str, profile: Mapping[str, object]) -> None:
    name, arn = profile.get("Name"), profile.get("Arn")
    backend.associate_iam_instance_profile(
        instance_id=instance_id,
        iam_instance_profile_name=str(name) if name else None,
        iam_instance_profile_arn=str(arn) if arn and not name else None,
    )


def _default_subnet(backend: EC2Backend, zone: object) -> str | None:
    subnets = backend.get_default_subnets()
    if not subnets:
        return None
    subnet = subnets.get(str(zone)) if zone else None
    return str((subnet or subnets[sorted(subnets)[0]]).id)


def _patch_databases(backends: Backends) -> None:
    database_class = part("rds.models:DBInstance")
    secret_class = part("rds.models:MasterUserSecret")

    init = database_class.__init__

    def new_init(database: DatabaseRow, *args: object, **kwargs: object) -> None:
        init(database, *args, **kwargs)
        if database.engine == "postgres" and not kwargs.get("db_cluster_identifier"):
            database.status = "creating"
            database.private_ip = _database_address(database)
            backends.changes.bump()

    def secret_string(secret: object) -> str:
        return json.dumps(
            {
                "username": getattr(getattr(secret, "resource", None), "master_username", None) or "postgres",
                "password": secrets.token_urlsafe(24),
            }
        )

    address = database_class.address.fget
    database_class.__init__ = new_init
    database_class.address = property(lambda db: getattr(db, "private_ip", None) or address(db))
    secret_class._generate_secret_string = secret_string


def _database_address(database: DatabaseRow) -> str:
    """Reserve an address for a database in its first subnet."""
    backend = ec2_backends()[database.account_id][database.region]
    group = getattr(database, "db_subnet_group", None)
    first = group.subnets[0]["SubnetIdentifier"] if group else _default_subnet(backend, None)
    subnet = backend.get_subnet(first)
    database.subnet_id = subnet.id
    return subnet.get_available_subnet_ip(instance=database)


def _patch_registry(backends: Backends) -> None:
    result_class = part("core.responses:ActionResult")
    repository_class = part("ecr.models:Repository")
    response_class = part("ecr.responses:ECRResponse")

    init = repository_class.__init__

    def new_init(repository: RepositoryRow, *args: object, **kwargs: object) -> None:
        init(repository, *args, **kwargs)
        repository.uri = f"{backends.registry}/{repository.name}"

    def get_authorization_token(response: WithHeaders) -> object:
        match = re.search(r"Credential=([^/]+)/", str(response.headers.get("Authorization", "")))
        password = registry_login(match.group(1) if match else "", backends.registry_password)
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
