"""Resources that an interrupted command left in the cloud and Terraform's state doesn't know: imported or removed."""

from __future__ import annotations

from rayform_core.errors import RemoteError
from rayform_core.files import write_atomically
from rayform_provisioner.clouds import Resource, StateIndex, cloud_of
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.polling import wait_until
from rayform_provisioner.reporting import Reporter
from rayform_provisioner.stack_folder import Running, StackFolder, StackRecord
from rayform_provisioner.stack_state import StackState
from rayform_provisioner.targets import Target
from rayform_provisioner.terraform.render import adoptions, bucket_name, repository_name, to_json
from rayform_provisioner.terraform.runner import Terraform
from rayform_provisioner.terraform.working_folder import ADOPT_FILE

__all__ = ["Leftovers", "LeftoversError", "may_have_left"]

_KEPT_AS = {"aws_s3_bucket": "bucket", "aws_ecr_repository": "registry", "aws_db_instance": "catalog"}
"""Terraform type to the component that a destroy may keep; a second cloud adds its types."""


class LeftoversError(RemoteError):
    """After a destroy, resources with the stack's tag are still there.

    Args:
        name: the stack.
        resources: the resources that are still there.
    """

    def __init__(self, name: str, resources: list[Resource]) -> None:
        self.resources = resources
        super().__init__(
            f"Stack '{name}' is destroyed, but {len(resources)} of its resources are still there.",
            why="".join(f"\n        {item}" for item in resources[:50]),
            hint=f"Run `rayform stack destroy {name}` again: it removes everything with the stack's tag.",
        )


def may_have_left(left: Running | None) -> bool:
    """Whether the killed command `left` may have left resources that the state doesn't know."""
    return left is not None and left.changes


class Leftovers:
    """The resources of one stack that are in the cloud, and those of them that its state doesn't know.

    `left`, in a method's arguments, is the mark of a killed command of this machine, if there was one.

    Args:
        folder: the stack's folder, into which import blocks are written.
        target: the cloud.
        state: the stack's state, whose lock shows whether another command is running.
        reporter: shows progress.
    """

    def __init__(self, folder: StackFolder, target: Target, state: StackState, reporter: Reporter) -> None:
        self._folder = folder
        self._target = target
        self._cloud = cloud_of(target.provider)
        self._state = state
        self._reporter = reporter

    def inventory(self, record: StackRecord, definition: StackDefinition) -> list[Resource]:
        """Return the stack's resources that the cloud itself lists."""
        return self._cloud.inventory(
            self._target,
            record.region,
            record.reference,
            bucket=bucket_name(definition, record.reference),
            repository=repository_name(definition, record.reference),
        )

    def recover(
        self, terraform: Terraform, record: StackRecord, definition: StackDefinition, left: Running | None
    ) -> None:
        """After a kill, import what is in the cloud and not in the state; remove what can't be imported.

        Does nothing if the last command ended by itself. The next plan does the import.

        Raises:
            StateLockedError: another machine's command is running: what the state doesn't know may be its own.
        """
        if not may_have_left(left) and record.status not in ("deploying", "destroying"):
            return
        index = self._state_index(terraform, left)
        listed = [item for item in self.inventory(record, definition) if not item.worker and not item.others]
        listed += self._cloud.untagged(self._target, record.region, record.reference)
        imports: dict[str, str] = {}
        to_remove: list[Resource] = []
        for item in listed:
            if item.id in index.ids:
                continue
            self._cloud.wait_for_import(self._target, record.region, item)
            place = self._cloud.import_address(item, definition, record.reference)
            ending = item.state in ("deleting", "shutting-down")
            if place is None or place.address in index.addresses or place.address in imports or ending:
                to_remove.append(item)
            else:
                imports[place.address] = place.id
        for block in adoptions(definition):
            imports.pop(block["to"], None)  # the root module imports these itself
        if imports:
            self._reporter.note(f"{len(imports)} resources that the state didn't know are imported.")
            blocks = [{"to": address, "id": identifier} for address, identifier in sorted(imports.items())]
            write_atomically(self._folder.work / ADOPT_FILE, to_json({"import": blocks}))
        self.remove(record, to_remove)

    def orphans(
        self,
        terraform: Terraform,
        record: StackRecord,
        definition: StackDefinition,
        keep: list[str],
        left: Running | None,
    ) -> list[Resource]:
        """Return what has the stack's tag, is not kept and is not in the state, so that Terraform can't remove it.

        Args:
            terraform: reads the state.
            record: the stack's record, with what earlier destroys kept.
            definition: the stack's definition.
            keep: components whose data this destroy keeps.
            left: see the class.

        Raises:
            StateLockedError: another machine's command is running: what the state doesn't know may be its own.
        """
        index = self._state_index(terraform, left)
        return [
            item
            for item in self.inventory(record, definition)
            if item.id not in index.ids
            and not item.others
            and _KEPT_AS.get(item.kind) not in keep
            and item.id not in record.kept
        ]

    def remove(self, record: StackRecord, resources: list[Resource]) -> None:
        """Remove `resources`, and report each."""
        if resources:
            self._reporter.note(f"{len(resources)} resources that the state doesn't know are removed.")
            self._cloud.sweep(
                self._target,
                record.region,
                resources,
                lambda item: self._reporter.note(f"Removed {item}."),
            )

    def check_nothing_left(self, record: StackRecord, definition: StackDefinition) -> list[Resource]:
        """Check that the cloud lists nothing of a destroyed stack except what was kept on purpose.

        Return what has the stack's tag and somebody else made, such as a snapshot of its database: that is theirs.

        Raises:
            LeftoversError: something is still there.
        """
        remaining: list[Resource] = []
        others: list[Resource] = []

        def nothing_is_left() -> bool:
            listed = self.inventory(record, definition)
            unexpected = [i for i in listed if i.id not in record.kept and i.name not in record.kept]
            others[:] = [i for i in unexpected if i.others]
            remaining[:] = [i for i in unexpected if not i.others]
            return not remaining

        # A cloud still lists deleted resources for a while; more than 90 seconds means that one is stuck.
        if not wait_until(nothing_is_left, 3 if self._target.emulated else 90):
            raise LeftoversError(self._folder.name, remaining)
        return others

    def _state_index(self, terraform: Terraform, left: Running | None) -> StateIndex:
        """Return what the state knows, after making sure that no other command is running on it."""
        self._reporter.phase("Looking for what an interrupted command left")
        self._state.refuse_another(left)
        return self._cloud.state_index(terraform.pull_state())
