"""One stack: its folder, its cloud, its state, and what the record says about it."""

from __future__ import annotations

from rayform_core.errors import ConflictError, NotFoundError
from rayform_provisioner.clouds import Cloud, Resource, cloud_of
from rayform_provisioner.leftovers import Leftovers
from rayform_provisioner.reporting import Counting, Reporter, Silent
from rayform_provisioner.stack_folder import StackFolder, StackRecord
from rayform_provisioner.stack_state import StackState
from rayform_provisioner.targets import Target
from rayform_provisioner.terraform.settings import TerraformSettings

__all__ = ["Stack"]


class Stack:
    """The parts that every command of one stack works with; none of them changes.

    Args:
        name: the stack's name.
        target: the cloud that it is deployed to.
        reporter: shows progress; by default nothing does.
        settings: which Terraform to use.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        reporter: Reporter | None = None,
        settings: TerraformSettings | None = None,
    ) -> None:
        self.name = name
        self.target = target
        self.cloud: Cloud = cloud_of(target.provider)
        self.reporter = Counting(reporter or Silent())
        self.settings = settings or TerraformSettings()
        self.folder = StackFolder(name)
        self.state = StackState(self.folder, target, self.reporter)
        self.leftovers = Leftovers(self.folder, target, self.state, self.reporter)
        # What the last destroy left in the cloud because somebody else made it.
        self.others_left: list[Resource] = []

    def existing_here(self) -> StackRecord:
        """Return the record of a stack that is in this target.

        In another cloud, a refresh would find nothing and so forget everything. A stack that was only planned is
        nowhere yet, so any cloud will do.

        Raises:
            NotFoundError: the stack was never planned here.
            ConflictError: the stack is in another cloud.
        """
        record = self.folder.existing()
        if record.status != "planned" and record.target != self.target.name:
            raise ConflictError(
                f"Stack '{self.name}' is in the cloud '{record.target}', not '{self.target.name}'.",
                hint=f"Add --target {record.target}.",
            )
        return record

    def deployed(self) -> StackRecord:
        """Return the record of a stack that a deploy has begun to make.

        Raises:
            NotFoundError: the stack was never deployed.
        """
        record = self.folder.existing()
        if record.status == "planned":
            raise NotFoundError("deployed stack", self.name, why="It was planned and never deployed.")
        return record
