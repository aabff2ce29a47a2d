"""The interface between Rayform and a cloud: the functions of a cloud, and their arguments and return values.

`aws/cloud.py` is the first implementation, and `cloud_of` the only place that imports one. A second cloud brings a
package like `aws/`, a branch in `cloud_of`, Terraform modules, and its own root module and definition keys:
`terraform/render.py` and `definitions/definition.py` describe AWS alone so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from rayform_core.errors import NotFoundError, PrerequisiteError
from rayform_core.wheel import wheel_name

if TYPE_CHECKING:
    from rayform_provisioner.definitions.costs import CostEstimate
    from rayform_provisioner.definitions.definition import LoadedDefinition, StackDefinition
    from rayform_provisioner.health import StackHealth
    from rayform_provisioner.stack_folder import StackFolder, StackRecord
    from rayform_provisioner.targets import Target

__all__ = [
    "BucketObject",
    "Cloud",
    "ImportAddress",
    "LockInfo",
    "MissingCredentialsError",
    "Resolution",
    "Resource",
    "Shape",
    "StateIndex",
    "StoredObject",
    "cloud_of",
]


class MissingCredentialsError(PrerequisiteError):
    """This machine has no keys for the cloud.

    Args:
        message, why, hint: see `RayformError`.
        log_in: how to get keys, without the other targets that `hint` may offer.
    """

    def __init__(
        self, message: str, *, why: str | None = None, hint: str | None = None, log_in: str | None = None
    ) -> None:
        super().__init__(message, why=why, hint=hint)
        self.log_in = log_in


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that the cloud itself lists.

    Args:
        kind: the Terraform type.
        id: its ID, as Terraform's state has it.
        name: its readable name, from its `Name` tag if it has one.
        state: its state, if it has one.
        worker: whether Ray's autoscaler started it.
        others: whether somebody else made it, such as a snapshot that copied the stack's tag. Rayform never removes it.
    """

    kind: str
    id: str
    name: str = ""
    state: str = ""
    worker: bool = False
    others: bool = False

    def __str__(self) -> str:
        about = ", ".join(part for part in (self.name, self.state) if part and part != self.id)
        return f"{self.kind.removeprefix('aws_')} {self.id}" + (f" ({about})" if about else "")


class ImportAddress(NamedTuple):
    """Where Terraform imports a resource: its address in the root module, and the ID that the import takes."""

    address: str
    id: str


class StateIndex(NamedTuple):
    """The addresses and the IDs of the managed resources in a state."""

    addresses: set[str]
    ids: set[str]


class BucketObject(NamedTuple):
    """The place of an object in a bucket."""

    region: str
    bucket: str
    key: str


class StoredObject(NamedTuple):
    """An object's content, and when it was last written (seconds since 1970)."""

    content: bytes
    modified: float


@dataclass(frozen=True, slots=True)
class LockInfo:
    """Who holds the lock of a state."""

    id: str = ""
    who: str = ""
    operation: str = ""
    created: str = ""


Shape: TypeAlias = dict[str, int | str]
"""What an instance type has; the autoscaler plans with it: `cpus`, `memory_mb`, `gpus`, and the name of the GPU as
`accelerator_type` if `gpus` is not 0."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a definition leaves open: decided once, at the first deploy, and kept by later ones.

    Args:
        reference: the stack's unique reference; empty if the stack has no record yet.
        ssh_public_key: the key that opens SSH on the head; empty if the stack has no record yet.
        zones: availability zones, the head's first.
        images: `head` and each worker group to the ID of its machine image.
        shapes: `head` and each worker group to what its instance type has.
        warnings: what the user should know, although it stops nothing.
        wheel: file name of Rayform's wheel in the working folder's `bootstrap/`.
        zone_slots: zone to the number of its subnets in the VPC's range.
        disk_key: the customer's key that encrypts each new disk of the account, if the cloud's own doesn't.
    """

    reference: str
    ssh_public_key: str
    zones: tuple[str, ...]
    images: dict[str, str]
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    wheel: str = field(default_factory=wheel_name)
    zone_slots: Mapping[str, int] = field(default_factory=dict)
    disk_key: str | None = None


class Cloud(Protocol):
    """What Rayform needs of a cloud. A module of functions implements it, such as `aws/cloud.py`.

    Every function that asks the cloud takes the target, which says where the cloud's API answers, and raises
    `RemoteError` if it does not answer and `MissingCredentialsError` if this machine has no keys.
    """

    # -- Before a deploy: what the definition leaves open, and what it costs.

    def resolve(
        self,
        loaded: LoadedDefinition,
        target: Target,
        record: StackRecord | None = None,
        *,
        newest_images: bool = False,
    ) -> Resolution:
        """Check the definition with the cloud, and decide what it leaves open.

        Raises:
            DefinitionError: the cloud can't serve the definition.
        """
        ...

    def last_resolution(self, record: StackRecord, definition: StackDefinition) -> Resolution:
        """Return what the last deploy decided, from the record alone."""
        ...

    def pinned_images(self, definition: StackDefinition, images: dict[str, str]) -> dict[str, str]:
        """Return what a record must keep so that the next `resolve` decides for the same images."""
        ...

    def estimate(self, definition: StackDefinition) -> CostEstimate:
        """Estimate what a stack of this definition costs."""
        ...

    def prepare_account(self, target: Target, definition: StackDefinition) -> list[str]:
        """Make what the account itself needs for a stack of this definition; return a sentence about each."""
        ...

    # -- A deployed stack.

    def health(
        self, target: Target, region: str, outputs: Mapping[str, Any], definition: StackDefinition
    ) -> StackHealth:
        """Return the health of the stack with these outputs, and what it costs as it runs now."""
        ...

    def registration(
        self, outputs: Mapping[str, Any], definition: StackDefinition, folder: StackFolder, target: Target
    ) -> dict[str, Any]:
        """Return the components of a deployed stack, for `rayform.stacks.register_deployed`."""
        ...

    # -- What the cloud lists, and what Terraform's state knows.

    def inventory(
        self, target: Target, region: str, reference: str, *, bucket: str, repository: str
    ) -> list[Resource]:
        """Return every resource of the stack that the cloud lists."""
        ...

    def untagged(self, target: Target, region: str, reference: str) -> list[Resource]:
        """Return what hangs on the stack's resources and can't have a tag, so that `inventory` misses it."""
        ...

    def import_address(
        self, resource: Resource, definition: StackDefinition, reference: str
    ) -> ImportAddress | None:
        """Return where Terraform imports `resource`, or `None` if the root module has no place for it."""
        ...

    def state_index(self, state: Mapping[str, Any]) -> StateIndex:
        """Return what a raw state knows, with IDs as `inventory` gives them."""
        ...

    def wait_for_import(self, target: Target, region: str, resource: Resource) -> None:
        """Wait until Terraform can import `resource`; most can be imported at once."""

    def sweep(
        self,
        target: Target,
        region: str,
        resources: list[Resource],
        on_removed: Callable[[Resource], None] | None = None,
    ) -> list[tuple[Resource, str]]:
        """Remove `resources`, and return those that can't be removed, each with the reason."""
        ...

    # -- The stack's data.

    def bucket_holding(self, target: Target, region: str, bucket: str) -> str:
        """Describe how much user data is in `bucket`; empty if there is none."""
        ...

    def registry_holding(self, target: Target, region: str, repository: str) -> str:
        """Describe how many images are in `repository`; empty if there are none."""
        ...

    def end_instances(self, target: Target, region: str, reference: str) -> list[Resource]:
        """Terminate every machine of the stack, and return them once they are gone."""
        ...

    def snapshot_database(self, target: Target, region: str, identifier: str, snapshot: str) -> None:
        """Take a snapshot of the database, and wait until it can be restored."""

    def begin_end_of_database(
        self, target: Target, region: str, identifier: str, *, protected: bool = False
    ) -> None:
        """Order the end of the database, lifting its protection first, and don't wait for it."""

    def empty_bucket(self, target: Target, region: str, bucket: str) -> int:
        """Delete everything in `bucket`, and return the number of objects."""
        ...

    def empty_repository(self, target: Target, region: str, repository: str) -> int:
        """Delete every image in `repository`, and return their number."""
        ...

    def read_object(self, target: Target, place: BucketObject) -> StoredObject | None:
        """Return the object at `place`, or `None` if there is none."""
        ...

    # -- Terraform's state in a bucket.

    def read_lock(self, target: Target, place: BucketObject) -> LockInfo | None:
        """Return who holds the lock of the state at `place`, or `None` if nobody does."""
        ...

    def remove_lock(self, target: Target, place: BucketObject, lock_id: str) -> bool:
        """Remove the lock `lock_id` of the state at `place`; return false if it is gone or another's by now."""
        ...

    def state_written(self, target: Target, place: BucketObject) -> float | None:
        """Return when the state at `place` was last written; `None` if it holds no resources."""
        ...

    def remove_state(self, target: Target, place: BucketObject) -> None:
        """Remove the state at `place`."""


def cloud_of(provider: str) -> Cloud:
    """Return the cloud that a definition's or a target's `provider` names; imports it on the first call.

    Raises:
        NotFoundError: Rayform knows no such cloud.
    """
    if provider == "aws":
        from rayform_provisioner.aws import cloud

        return cloud
    raise NotFoundError("cloud", provider, known=["aws"])
