"""Plan, deploy, inspect and destroy a stack.

Every command may be killed at any moment. The reference is written down before the first call to the cloud and is in
the tags of every resource, and Terraform saves its state as it goes. The next command ends the processes that still
run, removes the killed command's lock, and imports or removes the resources that the state doesn't know.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_core.files import write_atomically
from rayform_provisioner.clouds import LockInfo, Resolution
from rayform_provisioner.command import Command, Plan
from rayform_provisioner.definitions.changes import major_upgrade
from rayform_provisioner.definitions.definition import LoadedDefinition, load_definition
from rayform_provisioner.host_keys import learn_host_keys
from rayform_provisioner.stack import Stack
from rayform_provisioner.stack_data import holdings_of, kept_components, kept_names, take_data
from rayform_provisioner.stack_folder import StackRecord, now
from rayform_provisioner.terraform.errors import ErrorKind, TerraformError
from rayform_provisioner.terraform.plans import PlanSummary
from rayform_provisioner.terraform.runner import Finished
from rayform_provisioner.terraform.working_folder import ADOPT_FILE, fill

__all__ = ["Lifecycle"]

_NOT_FOR_A_REFRESH = (ErrorKind.CREDENTIALS, ErrorKind.PERMISSION, ErrorKind.NETWORK, ErrorKind.PROVIDER)
"""Failures that reading the cloud again can't fix."""


class Lifecycle(Stack):
    """A stack, and the commands that plan, deploy, inspect and destroy it. See `Stack` for its arguments."""

    # -- Plan and deploy

    def plan(self, loaded: LoadedDefinition, *, upgrade_images: bool = False) -> PlanSummary:
        """Return what a deploy of `loaded` would do; changes nothing.

        Raises:
            ConflictError: another command holds the stack.
            DefinitionError: the cloud can't serve the definition.
            TerraformError: the plan failed.
        """
        with Command.holding(self, "rayform stack plan", changes=False) as command:
            record, resolution = command.prepare(loaded, newest_images=upgrade_images)
            command.recover(record, loaded.definition)
            plan = command.plan(record, loaded.definition, resolution)
            command.end()
            self._upgrade_of(loaded, plan.summary)
            return plan.summary

    def deploy(
        self,
        loaded: LoadedDefinition,
        confirm: Callable[[PlanSummary], bool],
        *,
        upgrade_images: bool = False,
        replace_data: bool = False,
    ) -> dict[str, Any] | None:
        """Make the cloud what `loaded` says, and return the outputs; `None` if `confirm` returned false.

        Idempotent; may be interrupted and run again. Blocks until the cloud is done.

        Args:
            loaded: the definition.
            confirm: receives the plan; if it returns true, that very plan is applied.
            upgrade_images: take the newest machine images rather than those of the last deploy.
            replace_data: allow a plan that takes data away.

        Raises:
            ConflictError: another command holds the stack, or the plan would take data away.
            DefinitionError: the cloud can't serve the definition.
            TerraformError: a resource failed.
        """
        with Command.holding(self, "rayform stack deploy") as command:
            record, resolution = command.prepare(loaded, newest_images=upgrade_images)
            command.recover(record, loaded.definition)
            plan = command.plan(record, loaded.definition, resolution)
            if plan.summary.data_at_risk and not replace_data:
                raise ConflictError(
                    "This change would take data away.",
                    why="; ".join(plan.summary.data_at_risk) + ".",
                    hint="Nothing was changed. Keep a copy of the data and add --replace-data, or undo the change.",
                )
            snapshot = self._upgrade_of(loaded, plan.summary)
            if not confirm(plan.summary):
                command.end()
                return None
            record.status = "deploying"
            record.zones, record.shapes = list(resolution.zones), dict(resolution.shapes)
            record.zone_slots, record.disk_key = dict(resolution.zone_slots), resolution.disk_key
            record.pinned_images = self.cloud.pinned_images(loaded.definition, resolution.images)
            self.folder.save(record)
            write_atomically(self.folder.definition_file, loaded.text)
            with command.recorded("deploy", record):
                for sentence in self.cloud.prepare_account(self.target, loaded.definition):
                    self.reporter.note(sentence)
                if snapshot is not None:
                    self.reporter.phase("Taking a snapshot of the catalog")
                    database = f"{record.reference}-catalog"
                    self.cloud.snapshot_database(self.target, record.region, database, snapshot)
                outputs = None
                if plan.summary.changes or plan.summary.outputs_changed:
                    outputs = self._apply(command, plan, record, loaded, resolution, confirm).outputs
                plan.file.unlink(missing_ok=True)
                (self.folder.work / ADOPT_FILE).unlink(missing_ok=True)
                record.outputs = command.terraform.outputs() if outputs is None else outputs
                record.status, record.deployed, record.kept = "deployed", now(), []
                self.folder.save(record)
            return record.outputs

    def _upgrade_of(self, loaded: LoadedDefinition, summary: PlanSummary) -> str | None:
        """Return the name of the snapshot to take before `loaded` is deployed, and announce it in the plan.

        `None` unless the deploy upgrades the catalog's PostgreSQL to another major version, which can't be undone.

        Raises:
            DefinitionError: the catalog can't become what `loaded` says.
        """
        record = self.folder.record()
        if record is None or not record.outputs or not self.folder.definition_file.exists():
            return None
        before = load_definition(self.folder.definition_file, applied=True).definition
        versions = major_upgrade(before, loaded.definition)
        if versions is None:
            return None
        snapshot = f"{record.reference}-catalog-before-{versions[1]}"
        summary.warnings.append(
            f"PostgreSQL is upgraded from {versions[0]} to {versions[1]}: the catalog is away for some minutes, and "
            f"the only way back is the snapshot {snapshot}, which is taken first and which you may delete later"
        )
        return snapshot

    def _apply(
        self,
        command: Command,
        plan: Plan,
        record: StackRecord,
        loaded: LoadedDefinition,
        resolution: Resolution,
        confirm: Callable[[PlanSummary], bool],
    ) -> Finished:
        """Apply `plan`; plan once more if a killed command made something after `recover` had looked."""
        self.reporter.phase("Applying the plan")
        try:
            return command.apply(plan.file)
        except TerraformError as error:
            late = command.continues_a_kill and error.kind is ErrorKind.EXISTS
            if not late or self.state.leaves_unsure(error):
                raise
            # The killed command had sent a call that reached the cloud only now.
            self.reporter.note("The interrupted command made something late; looking again.")
            command.recover(record, loaded.definition)
            plan = command.plan(record, loaded.definition, resolution)
            if plan.summary.data_at_risk or not confirm(plan.summary):
                raise
            return command.apply(plan.file)

    def export(self, loaded: LoadedDefinition, directory: Path) -> list[Path]:
        """Write a root module that runs with bare Terraform into the new folder `directory`; return its files.

        Raises:
            ConflictError: the folder exists and is not empty.
        """
        if directory.exists() and any(directory.iterdir()):
            raise ConflictError(f"The folder '{directory}' is not empty.", hint="Name a new one.")
        record = self.folder.begin(loaded.definition.region, self.target.name)
        resolution = self.cloud.resolve(loaded, self.target, record)
        fill(directory, loaded.definition, resolution, self.target)
        return sorted(path for path in directory.rglob("*") if path.is_file())

    # -- Inspect

    def registration(self) -> dict[str, Any]:
        """Return the deployed stack's components, for `rayform.stacks.register_deployed`."""
        definition = load_definition(self.folder.definition_file, applied=True).definition
        return self.cloud.registration(self.deployed().outputs, definition, self.folder, self.target)

    def learn_host_keys(self, timeout: float = 600) -> bool:
        """Wait until the head has published its SSH host keys, and pin them; return whether it did."""
        if timeout > 0:
            self.reporter.phase("Waiting for the head to boot")
        return learn_host_keys(self.target, self.folder, self.deployed().outputs, timeout)

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the last deploy or refresh.

        Raises:
            NotFoundError: no deploy has ended yet.
        """
        record = self.deployed()
        if not record.outputs:
            raise NotFoundError(
                "deployed stack",
                self.name,
                why="Its first deploy is not finished.",
                hint=f"`rayform stack status {self.name}` says how to go on.",
            )
        return record.outputs

    def drift(self) -> PlanSummary:
        """Compare the deployed stack with its definition, resource by resource; changes nothing."""
        self.existing_here()
        record = self.deployed()
        definition = load_definition(self.folder.definition_file, applied=True).definition
        with Command.holding(self, "rayform stack status", changes=False) as command:
            resolution = command.prepare_as_deployed(record, definition)
            plan = command.plan(record, definition, resolution)
            plan.file.unlink(missing_ok=True)
            command.end()
            return plan.summary

    def refresh(self) -> dict[str, Any]:
        """Read the cloud's present state into Terraform's and return the outputs; changes nothing in the cloud."""
        self.existing_here()
        record = self.deployed()
        definition = load_definition(self.folder.definition_file, applied=True).definition
        with Command.holding(self, "rayform stack refresh", changes=False) as command:
            command.prepare_as_deployed(record, definition)
            with command.recorded("refresh", record, recovers=False):
                plan = command.plan_refresh()
                outputs = command.apply(plan).outputs
                plan.unlink(missing_ok=True)
                record.outputs = command.terraform.outputs() if outputs is None else outputs
                self.folder.save(record)
            return record.outputs

    # -- Destroy

    def destroy(
        self,
        confirm: Callable[[PlanSummary], bool],
        *,
        delete_data: bool = False,
        keep_data: bool = False,
    ) -> list[str] | None:
        """Remove the stack, and return what was kept on purpose; `None` if `confirm` returned false.

        Idempotent; may be interrupted and run again. Blocks until the cloud is done.

        Args:
            confirm: receives the plan, with the data that the stack holds.
            delete_data: delete the data as well.
            keep_data: keep the bucket, the registry and a snapshot of the catalog, each if it holds data.

        Raises:
            UsageError: both flags are set.
            ConflictError: the stack holds data, and neither flag is set; nothing was touched.
            LeftoversError: something is still there.
        """
        if delete_data and keep_data:
            raise UsageError("--delete-data and --keep-data exclude each other.")
        with Command.holding(self, "rayform stack destroy") as command:
            record = self.existing_here()
            if not self.folder.definition_file.exists():  # only planned
                self.folder.forget()
                return []
            definition = load_definition(self.folder.definition_file, applied=True).definition
            interrupted = command.continues_a_kill or record.status != "deployed"
            command.prepare_as_deployed(record, definition)
            holdings = holdings_of(self.target, record, definition)
            keep = kept_components(record, definition, holdings, delete_data=delete_data, keep_data=keep_data)
            orphans = command.orphans(record, definition, keep) if interrupted else []
            # After a complete deploy the state knows everything, and reading it all again would only cost time.
            plan = command.plan_destroy(record, definition, keep, holdings, refresh=interrupted)
            plan.summary.warnings += [
                f"{item} is not in Terraform's state, and is removed as well" for item in orphans
            ]
            if not confirm(plan.summary):
                command.end()
                return None
            record.status = "destroying"
            record.kept = kept_names(record, definition, keep)
            self.folder.save(record)
            with command.recorded("destroy", record):
                take_data(self.target, record, definition, holdings, keep, self.reporter)
                self.leftovers.remove(record, orphans)
                self.reporter.phase("Destroying")
                try:
                    command.apply(plan.file)
                except TerraformError as error:
                    if interrupted or self.state.leaves_unsure(error) or error.kind in _NOT_FOR_A_REFRESH:
                        raise
                    self.reporter.note(f"{error.message} Reading what is there, and trying again.")
                    plan = command.plan_destroy(record, definition, keep, holdings, refresh=True)
                    command.apply(plan.file)
                self.reporter.phase("Asking the cloud what is left")
                self.others_left = self.leftovers.check_nothing_left(record, definition)
                self.state.remove(record, definition)
            self.folder.forget()
            return record.kept

    # -- Locks and keys

    def lock_holder(self) -> LockInfo | None:
        """Return who holds the lock of a state in a bucket; `None` if nobody does or the state is on this machine.

        Raises:
            NotFoundError: the stack was never planned here.
            RemoteError: the bucket did not answer.
        """
        self.existing_here()
        return self.state.lock_holder()

    def unlock(self, holder: LockInfo) -> None:
        """Remove the lock of `holder`, which the user knows to be dead; the next command looks for what it left.

        Raises:
            ConflictError: a command of this machine holds the stack, or the lock is another's by now.
        """
        self.existing_here()
        with Command.holding(self, "rayform stack unlock"):
            self.state.take_lock(holder)
            # The mark stays, because the lock's holder may have made resources that the state doesn't know.

    def replace_key(self) -> None:
        """Make a new SSH key for a stack whose key is lost or stolen; the next deploy puts it to use.

        A machine takes its keys at its first boot, so that deploy replaces the head, which holds no data.

        Raises:
            NotFoundError: the stack was never planned here.
            ConflictError: a command of this machine holds the stack.
        """
        self.folder.existing()
        with self.folder.locked("rayform stack new-key"):
            self.folder.replace_key()
