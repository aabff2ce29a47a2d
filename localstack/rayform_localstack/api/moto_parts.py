"""moto's classes and state: by name, since they are changed at run time, and with the attributes that are used here.

The same code runs with moto and with the older fork inside LocalStack, so everything is imported when it is used.
"""

from __future__ import annotations

import datetime
import importlib
from collections.abc import Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

__all__ = [
    "AddressRow",
    "DatabaseRow",
    "EC2Backend",
    "ECRBackend",
    "InstanceRow",
    "InterfaceRow",
    "PolicyRow",
    "ProfileRow",
    "RepositoryRow",
    "ReservationRow",
    "RoleRow",
    "WithHeaders",
    "ec2_backends",
    "ecr_backends",
    "part",
    "rds_backends",
    "remembering_hosts",
]


class StateRow(Protocol):
    """An instance's state."""

    name: str
    code: int


class SubnetRow(Protocol):
    """A subnet."""

    id: str
    vpc_id: str
    cidr_block: str

    def del_subnet_ip(self, ip: str) -> None: ...

    def get_available_subnet_ip(self, instance: object) -> str: ...


class InterfaceRow(Protocol):
    """A network interface."""

    id: str
    mac_address: str
    private_ip_address: str
    public_ip: str
    public_ip_auto_assign: object
    subnet: SubnetRow
    instance: InstanceRow | None


class RoleRow(Protocol):
    """An IAM role."""

    name: str
    arn: str


class ProfileRow(Protocol):
    """An instance profile."""

    id: str
    arn: str
    roles: Sequence[RoleRow]


class AssociationRow(Protocol):
    """An instance's association with a profile."""

    iam_instance_profile: ProfileRow


class Named(Protocol):
    """Something with a name."""

    name: str


class PlacementRow(Protocol):
    """An instance's placement."""

    zone: str


# 24 attributes: those of moto's own class that are used here.
class InstanceRow(Protocol):
    """An instance of EC2, by moto's own names: most are those of EC2's `DescribeInstances`.

    `ec2_backend` is its region's state, and `nics` are its network interfaces by device index. `_placement`,
    `_private_ips`, `_state`, `_reason` and `_state_reason` are what moto answers from; the supervisor's reports change
    all of them but `_placement`.
    """

    id: str
    ami_launch_index: int
    ec2_backend: EC2Backend
    image_id: str
    instance_initiated_shutdown_behavior: str
    instance_type: str
    key_name: str | None
    launch_time: datetime.datetime | str
    lifecycle: str | None
    nics: Mapping[int, InterfaceRow]
    owner_id: str
    private_ip: str
    public_ip: str | None
    region_name: str
    security_groups: Sequence[Named]
    state_reason: object
    subnet_id: str
    user_data: bytes | str | None
    vpc_id: str
    _placement: PlacementRow
    _private_ips: MutableMapping[str, object]
    _reason: str
    _state: StateRow
    _state_reason: object

    def get_tags(self) -> Sequence[Mapping[str, str]]: ...

    def stop(self) -> object: ...

    def terminate(self) -> object: ...


class KeyPairRow(Protocol):
    """A key pair."""

    material_public: bytes | str


class NetworkRow(Protocol):
    """A VPC."""

    cidr_block: str


class ReservationRow(Protocol):
    """The instances of one launch."""

    instances: Sequence[InstanceRow]


class AddressRow(Protocol):
    """An Elastic IP."""

    allocation_id: str | None
    eni: InterfaceRow | None
    instance: InstanceRow | None
    public_ip: str


class TemplateRow(Protocol):
    """A version of a launch template."""

    data: dict[str, object]


class EC2Backend(Protocol):
    """EC2 in one region."""

    iam_instance_profile_associations: Mapping[str, AssociationRow]
    reservations: Mapping[str, ReservationRow]
    vpcs: Mapping[str, NetworkRow]

    def associate_iam_instance_profile(
        self,
        instance_id: str,
        iam_instance_profile_name: str | None,
        iam_instance_profile_arn: str | None,
    ) -> object: ...

    def get_default_subnets(self) -> Mapping[str, SubnetRow]: ...

    def get_instance_by_id(self, instance_id: str) -> InstanceRow | None: ...

    def get_subnet(self, subnet_id: str | None) -> SubnetRow: ...

    def _get_template_from_args(self, launch_template: object) -> TemplateRow: ...


class DatabaseRow(Protocol):
    """A database of RDS, by moto's own names: those of RDS's `DescribeDBInstances`.

    `private_ip` and `subnet_id` are set by `moto_patches`; `status` changes with the supervisor's reports.
    """

    account_id: str
    db_instance_identifier: str
    db_name: str | None
    engine: str
    master_username: str | None
    port: int
    private_ip: str
    region: str
    status: str
    subnet_id: str


class RDSBackend(Protocol):
    """RDS in one region."""

    databases: Mapping[str, DatabaseRow]


class ImageRow(Protocol):
    """An image of a repository."""

    image_digest: str | None
    image_tags: Sequence[str]


class RepositoryRow(Protocol):
    """A repository of ECR."""

    arn: str
    images: Sequence[ImageRow]
    name: str
    uri: str


class ECRBackend(Protocol):
    """ECR in one region."""

    repositories: Mapping[str, RepositoryRow]

    def put_image(
        self,
        repository_name: str,
        image_manifest: str,
        image_tag: str,
        *,
        image_manifest_mediatype: str,
        digest: str,
    ) -> object: ...


class PolicyVersion(Protocol):
    """One version of a managed policy."""

    document: object
    is_default: bool


class PolicyRow(Protocol):
    """A managed policy of IAM."""

    versions: Sequence[PolicyVersion]


class WithHeaders(Protocol):
    """moto's answer to a request, which has the request's headers."""

    headers: Mapping[str, object]


def part(path: str) -> Any:
    """Return what `module:name` names inside moto (or the fork of it inside LocalStack)."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(f"moto.{module}"), name)


def ec2_backends() -> Mapping[str, Mapping[str, EC2Backend]]:
    """Return EC2's state by account and region."""
    backends: Mapping[str, Mapping[str, EC2Backend]] = part("ec2.models:ec2_backends")
    return backends


def rds_backends() -> Mapping[str, Mapping[str, RDSBackend]]:
    """Return RDS's state by account and region."""
    backends: Mapping[str, Mapping[str, RDSBackend]] = part("rds.models:rds_backends")
    return backends


def ecr_backends() -> Mapping[str, Mapping[str, ECRBackend]]:
    """Return ECR's state by account and region."""
    backends: Mapping[str, Mapping[str, ECRBackend]] = part("ecr.models:ecr_backends")
    return backends


def remembering_hosts(dispatcher: Any) -> Any:
    """Let moto's dispatcher look up once which service a host name stands for.

    By default it lists its own package's folder for every request, under a lock: a fifth of the time of a small
    request to S3.
    """
    dispatcher.get_backend_for_host = lru_cache(maxsize=1024)(dispatcher.get_backend_for_host)
    return dispatcher
