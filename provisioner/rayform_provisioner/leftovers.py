"""What an interrupted command left in the cloud and Terraform's state doesn't know: found, imported or removed."""

from __future__ import annotations

from collections.abc import Callable

from rayform_core.errors import RemoteError
from rayform_core.files import write_atomically
from rayform_provisioner.aws.adopt import address_of, state_index
from rayform_provisioner.aws.inventory import Found, inventory, unattached_associations, wait_until
from rayform_provisioner.aws.sweep import sweep
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.reporting import Reporter
from rayform_provisioner.stack_folder import Running, StackFolder, StackRecord
from rayform_provisioner.stack_state import StackState
from rayform_provisioner.targets import Target
from rayform_provisioner.terraform.render import bucket_name, repository_name, to_json
from rayform_provisioner.terraform.runner import Terraform
from rayform_provisioner.terraform.working_folder import ADOPT_FILE

__all__ = ["Leftovers", "LeftoversError", "may_have_left"]

_KEPT_AS = {"aws_s3_bucket": "bucket", "aws_ecr_repository": "registry", "aws_db_instance": "catalog"}
"""Terraform type to the component that a destroy may keep."""


class LeftoversError(RemoteError):
    """After a destroy, something with the stack's tag is still there.

    Args:
        name: the stack.
        found: what is there.
    """

    def __init__(self, name: str, found: list[Found]) -> None:
        self.found = found
        super().__init__(
            f"Stack '{name}' is destroyed, but {len(found)} of its resources are still there.",
            why="".join(f"\n        {item}" for item in found[:50]),
            hint=f"Run `rayform stack destroy {name}` again: it removes what bears the stack's tag.",
        )


def may_have_left(left: Running | None) -> bool:
    """Whether the killed command `left` may have left what the state doesn't know."""
    return left is not None and left.changes


class Leftovers:
    """What of one stack is in the cloud, and what of that its state doesn't know.

    `left`, where a method takes it, is the killed command of this machine, if there was one.

    Args:
        folder: the stack's folder, into which import blocks are written.
        target: the cloud.
        state: the stack's state, whose lock says whether somebody else is at work.
        reporter: returns who is told what goes on, at the moment of telling.
    """

    def __init__(
        self, folder: StackFolder, target: Target, state: StackState, reporter: Callable[[], Reporter]
    ) -> None:
        self._folder = folder
        self._target = target
        self._state = state
        self._reporter = reporter

    def inventory(self, record: StackRecord, definition: StackDefinition) -> list[Found]:
        """Return what of the stack the cloud itself lists."""
        return inventory(
            self._target,
            record.region,
            record.reference,
            bucket=bucket_name(definition, record.reference),
            repository=repository_name(definition, record.reference),
        )

    def recover(
        self, terraform: Terraform, record: StackRecord, definition: StackDefinition, left: Running | None
    ) -> None:
        """After a kill: have what is in the cloud and not in the state imported, and remove what can't be.

        Does nothing where the last command came to its end. The next plan does the import.

        Raises:
            StateLockedError: another machine's command is at work: what the state doesn't know may be its own.
        """
        if not may_have_left(left) and record.status not in ("deploying", "destroying"):
            return
        addresses, ids = self._known(terraform, left)
        orphans = [
            item for item in self.inventory(record, definition) if item.id not in ids and not item.worker
        ]
        orphans += [
            item
            for item in unattached_associations(self._target, record.region, record.reference)
            if item.id not in ids
        ]
        imports: dict[str, str] = {}
        removed: list[Found] = []
        for item in orphans:
            place = address_of(item, definition, record.reference)
            if item.kind == "aws_db_instance":
                self._await_database(record.region, item.name)
            if (
                place is None
                or place[0] in addresses
                or place[0] in imports
                or item.state in ("deleting", "shutting-down")
            ):
                removed.append(item)
            else:
                imports[place[0]] = place[1]
        adopted = set(_adopted_already(definition))
        blocks = [
            {"to": to, "id": identifier} for to, identifier in sorted(imports.items()) if to not in adopted
        ]
        if blocks:
            self._reporter().note(f"{len(blocks)} resources that the state didn't know are imported.")
            write_atomically(self._folder.work / ADOPT_FILE, to_json({"import": blocks}))
        self.remove(record, removed)

    def orphans(
        self,
        terraform: Terraform,
        record: StackRecord,
        definition: StackDefinition,
        keep: list[str],
        left: Running | None,
    ) -> list[Found]:
        """Return what bears the stack's tag, is not kept and not in the state, so that Terraform can't remove it.

        Args:
            terraform: it has the state.
            record: the stack's, with what earlier destroys kept.
            definition: the stack's.
            keep: components whose data this destroy keeps.
            left: see the class.

        Raises:
            StateLockedError: another machine's command is at work: what the state doesn't know may be its own.
        """
        _, ids = self._known(terraform, left)
        return [
            item
            for item in self.inventory(record, definition)
            if item.id not in ids and _KEPT_AS.get(item.kind) not in keep and item.id not in record.kept
        ]

    def remove(self, record: StackRecord, found: list[Found]) -> None:
        """Remove `found`, and tell of each."""
        if found:
            self._reporter().note(f"{len(found)} resources that the state doesn't know are removed.")
            sweep(self._target, record.region, found, lambda item: self._reporter().note(f"Removed {item}."))

    def check_nothing_left(self, record: StackRecord, definition: StackDefinition) -> None:
        """See that the cloud lists nothing more of a stack that was destroyed, but for what was kept on purpose.

        Raises:
            LeftoversError: something is still there.
        """
        left: list[Found] = []

        def nothing() -> bool:
            found = self.inventory(record, definition)
            left[:] = [item for item in found if item.id not in record.kept and item.name not in record.kept]
            return not left

        # AWS lists what is gone for a while; what is stuck is not worth more than a minute and a half.
        if not wait_until(nothing, 3 if self._target.emulated else 90):
            raise LeftoversError(self._folder.name, left)

    def _known(self, terraform: Terraform, left: Running | None) -> tuple[set[str], set[str]]:
        """Return the addresses and the IDs that the state knows, with nobody else at work on it."""
        self._reporter().phase("Looking for what an interrupted command left")
        self._state.refuse_another(left)
        return state_index(terraform.pull_state())

    def _await_database(self, region: str, identifier: str) -> None:
        rds = self._target.client("rds", region)

        def ready() -> bool:
            found = rds.describe_db_instances(DBInstanceIdentifier=identifier)["DBInstances"]
            return all(item["DBInstanceStatus"] in ("available", "stopped", "failed") for item in found)

        wait_until(ready, 1800, pause=2)


def _adopted_already(definition: StackDefinition) -> list[str]:
    """Addresses that the root module imports by itself."""
    adopted = []
    if definition.artifact_store.adopt:
        adopted.append("module.bucket.aws_s3_bucket.this")
    if definition.container_registry.adopt:
        adopted.append("module.registry.aws_ecr_repository.this")
    return adopted
