"""Plan, deploy, inspect and destroy a stack.

Every command may be killed at any moment: the reference is written down before the first call to the cloud and
tags everything, Terraform's state is saved as it goes, and the next command ends what still runs, takes away
the dead holder's lock, and imports or removes what the state doesn't know.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rayform_core.errors import ConflictError, NotFoundError, RayformError, UsageError
from rayform_core.files import write_atomically
from rayform_provisioner.aws.calls import MissingCredentialsError
from rayform_provisioner.aws.checks import Settled, pins, settle, settled_before
from rayform_provisioner.definitions.costs import estimate
from rayform_provisioner.definitions.definition import LoadedDefinition, StackDefinition, load_definition
from rayform_provisioner.host_keys import learn_host_keys
from rayform_provisioner.leftovers import Leftovers, may_have_left
from rayform_provisioner.registration import registration
from rayform_provisioner.reporting import Counting, Reporter, Silent
from rayform_provisioner.stack_data import holdings_of, kept_components, kept_names, take_data
from rayform_provisioner.stack_folder import (
    HistoryEntry,
    Running,
    StackFolder,
    StackRecord,
    now,
    whoami,
)
from rayform_provisioner.stack_state import StackState
from rayform_provisioner.targets import Target
from rayform_provisioner.terraform.errors import ErrorKind, LockInfo, TerraformError
from rayform_provisioner.terraform.plans import (
    Change,
    PlanSummary,
    plain_changes,
    planned_changes,
    read_changes,
    read_drift,
)
from rayform_provisioner.terraform.render import render_keeping
from rayform_provisioner.terraform.runner import Finished, Terraform
from rayform_provisioner.terraform.settings import TerraformSettings
from rayform_provisioner.terraform.working_folder import ADOPT_FILE, fill, resolved_of, write_root

__all__ = ["Lifecycle"]

_NOT_FOR_A_REFRESH = (ErrorKind.CREDENTIALS, ErrorKind.PERMISSION, ErrorKind.NETWORK, ErrorKind.PROVIDER)
"""Failures that reading the cloud anew can't mend."""


class Lifecycle:
    """The life of one stack.

    Args:
        name: the stack.
        target: the cloud.
        reporter: told what goes on.
        settings: which Terraform.
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
        self.reporter: Reporter = reporter or Silent()
        self.settings = settings or TerraformSettings()
        self.folder = StackFolder(name)
        # The reporter changes while a command counts.
        self.state = StackState(self.folder, target, lambda text: self.reporter.note(text))
        self.leftovers = Leftovers(self.folder, target, self.state, lambda: self.reporter)

    # -- plan and deploy

    def plan(self, loaded: LoadedDefinition, *, upgrade_images: bool = False) -> PlanSummary:
        """Return what a deploy of `loaded` would do; changes nothing.

        Raises:
            ConflictError: another command holds the stack.
            DefinitionError: the cloud can't serve the definition.
            TerraformError: the plan failed.
        """
        with self._held("rayform stack plan", changes=False) as (left, running):
            record, settled, terraform = self._ready(loaded, left, running, upgrade_images)
            self.leftovers.recover(terraform, record, loaded.definition, left)
            summary, _ = self._planned(terraform, record, loaded.definition, settled, left)
            if not may_have_left(left):
                self.folder.mark_ended()
            return summary

    def deploy(
        self,
        loaded: LoadedDefinition,
        confirm: Callable[[PlanSummary], bool],
        *,
        upgrade_images: bool = False,
        replace_data: bool = False,
    ) -> dict[str, Any] | None:
        """Make the cloud what `loaded` says, and return the outputs; `None` where `confirm` said no.

        Idempotent; may be interrupted and run again. Blocks until the cloud is done.

        Args:
            loaded: the definition.
            confirm: shown the plan; that very plan is applied if it returns true.
            upgrade_images: take the newest machine images rather than those of the last deploy.
            replace_data: allow a plan that takes data away.

        Raises:
            ConflictError: another command holds the stack, or the plan would take data away.
            DefinitionError: the cloud can't serve the definition.
            TerraformError: a resource failed.
        """
        definition = loaded.definition
        started = time.monotonic()
        with self._held("rayform stack deploy") as (left, running):
            record, settled, terraform = self._ready(loaded, left, running, upgrade_images)
            self.leftovers.recover(terraform, record, definition, left)
            summary, plan = self._planned(terraform, record, definition, settled, left)
            if summary.data_at_risk and not replace_data:
                raise ConflictError(
                    "This change would take data away.",
                    why="; ".join(summary.data_at_risk) + ".",
                    hint="Nothing was changed. Keep a copy of the data and add --replace-data, or undo the change.",
                )
            if not confirm(summary):
                if not may_have_left(left):
                    self.folder.mark_ended()
                return None
            record.status = "deploying"
            record.zones, record.shapes = list(settled.zones), settled.shapes
            record.pinned_images = pins(definition, settled.amis)
            self.folder.save(record)
            write_atomically(self.folder.definition_file, loaded.text)
            with self._recorded("deploy", record, started):
                applied: Finished | None = None
                if summary.changes or summary.outputs_changed:
                    self.reporter.phase("Applying the plan")
                    try:
                        applied = self.state.unlocking(terraform, left, lambda: terraform.apply_plan(plan))
                    except TerraformError as error:
                        late = may_have_left(left) and error.kind is ErrorKind.EXISTS
                        if not late or self.state.leaves_unsure(error):
                            raise
                        # A call that the killed command had sent reached the cloud after we had looked.
                        self.reporter.note("The interrupted command made something late; looking again.")
                        self.leftovers.recover(terraform, record, definition, left)
                        summary, plan = self._planned(terraform, record, definition, settled, left)
                        if summary.data_at_risk or not confirm(summary):
                            raise
                        applied = self.state.unlocking(terraform, left, lambda: terraform.apply_plan(plan))
                plan.unlink(missing_ok=True)
                (self.folder.work / ADOPT_FILE).unlink(missing_ok=True)
                told = applied.outputs if applied else None
                record.outputs = terraform.outputs() if told is None else told
                record.status, record.deployed, record.kept = "deployed", now(), []
                self.folder.save(record)
            return record.outputs

    def registration(self) -> dict[str, Any]:
        """Return the deployed stack's components, for `rayform.stacks.register_deployed`."""
        record = self._deployed()
        return registration(
            record.outputs, load_definition(self.folder.definition_file).definition, self.folder, self.target
        )

    def learn_host_keys(self, timeout: float = 600) -> bool:
        """Wait until the head says who it is, and pin its SSH keys; returns whether it did."""
        if timeout > 0:
            self.reporter.phase("Waiting for the head to boot")
        return learn_host_keys(self.target, self.folder, self._deployed().outputs, timeout)

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the last deploy or refresh.

        Raises:
            NotFoundError: no deploy has ended yet.
        """
        record = self._deployed()
        if not record.outputs:
            raise NotFoundError(
                "deployed stack",
                self.name,
                why="Its first deploy is not finished.",
                hint=f"`rayform stack status {self.name}` says how to go on.",
            )
        return record.outputs

    def export(self, loaded: LoadedDefinition, directory: Path) -> list[Path]:
        """Write a root module that runs with bare Terraform into the new folder `directory`.

        Raises:
            ConflictError: the folder exists and is not empty.
        """
        if directory.exists() and any(directory.iterdir()):
            raise ConflictError(f"The folder '{directory}' is not empty.", hint="Name a new one.")
        record = self.folder.begin(loaded.definition.region, self.target.name)
        settled = settle(loaded, self.target, record.pinned_images)
        fill(directory, loaded.definition, resolved_of(record, settled), self.target)
        return sorted(path for path in directory.rglob("*") if path.is_file())

    # -- inspect

    def drift(self) -> PlanSummary:
        """Compare the deployed stack with its definition, resource by resource; changes nothing."""
        self._existing_here()
        record = self._deployed()
        loaded = load_definition(self.folder.definition_file)
        with self._held("rayform stack status", changes=False) as (left, running):
            settled, terraform = self._as_deployed(record, loaded.definition, left, running)
            summary, plan = self._planned(terraform, record, loaded.definition, settled, left)
            plan.unlink(missing_ok=True)
            if not may_have_left(left):
                self.folder.mark_ended()
            return summary

    def refresh(self) -> dict[str, Any]:
        """Read the cloud's present state into Terraform's and return the outputs; changes nothing in the cloud."""
        self._existing_here()
        record = self._deployed()
        loaded = load_definition(self.folder.definition_file)
        started = time.monotonic()
        with self._held("rayform stack refresh", changes=False) as (left, running):
            _, terraform = self._as_deployed(record, loaded.definition, left, running)
            plan = self.folder.work / "refresh.plan"
            with self._recorded("refresh", record, started, knows_all=not may_have_left(left)):
                self.state.unlocking(terraform, left, lambda: terraform.plan_to(plan, refresh_only=True))
                applied = self.state.unlocking(terraform, left, lambda: terraform.apply_plan(plan))
                plan.unlink(missing_ok=True)
                record.outputs = terraform.outputs() if applied.outputs is None else applied.outputs
                self.folder.save(record)
            return record.outputs

    # -- destroy

    def destroy(
        self,
        confirm: Callable[[PlanSummary], bool],
        *,
        delete_data: bool = False,
        keep_data: bool = False,
    ) -> list[str] | None:
        """Remove the stack, and return what was kept on purpose; `None` where `confirm` said no.

        Idempotent; may be interrupted and run again. Blocks until the cloud is done.

        Args:
            confirm: shown what goes and what data is in it.
            delete_data: delete the data as well.
            keep_data: keep the bucket, the registry and a snapshot of the catalog, each where it holds data.

        Raises:
            UsageError: both were asked for.
            ConflictError: there is data, and neither was asked for; nothing was touched.
            LeftoversError: something is still there.
        """
        if delete_data and keep_data:
            raise UsageError("--delete-data and --keep-data exclude each other.")
        started = time.monotonic()
        with self._held("rayform stack destroy") as (left, running):
            record = self._existing_here()
            if not self.folder.definition_file.exists():  # only ever planned
                self.folder.forget()
                return []
            loaded = load_definition(self.folder.definition_file)
            definition = loaded.definition
            interrupted = may_have_left(left) or record.status != "deployed"
            _, terraform = self._as_deployed(record, definition, left, running)
            holdings = holdings_of(self.target, record, definition)
            keep = kept_components(record, definition, holdings, delete_data=delete_data, keep_data=keep_data)
            orphans = self.leftovers.orphans(terraform, record, definition, keep, left) if interrupted else []
            # What a whole deploy left in the state is what goes; reading it all anew would only cost time.
            trusted = not interrupted
            summary, plan = self._destroy_plan(
                terraform, record, definition, keep, left, holdings, refresh=not trusted
            )
            summary.warnings += [f"{item} is not in Terraform's state, and goes as well" for item in orphans]
            if not confirm(summary):
                if not may_have_left(left):
                    self.folder.mark_ended()
                return None
            record.status = "destroying"
            record.kept = kept_names(record, definition, keep)
            self.folder.save(record)
            with self._recorded("destroy", record, started):
                take_data(self.target, record, definition, holdings, keep, self.reporter)
                self.leftovers.remove(record, orphans)
                self.reporter.phase("Destroying")
                try:
                    self.state.unlocking(terraform, left, lambda: terraform.apply_plan(plan))
                except TerraformError as error:
                    if not trusted or self.state.leaves_unsure(error) or error.kind in _NOT_FOR_A_REFRESH:
                        raise
                    self.reporter.note(f"{error.message} Reading what is there, and going on.")
                    _, plan = self._destroy_plan(
                        terraform, record, definition, keep, left, holdings, refresh=True
                    )
                    self.state.unlocking(terraform, left, lambda: terraform.apply_plan(plan))
                self.reporter.phase("Asking the cloud what is left")
                self.leftovers.check_nothing_left(record, definition)
                self.state.remove(record, definition)
            self.folder.forget()
            return record.kept

    # -- locks

    def lock_holder(self) -> LockInfo | None:
        """Return who holds the lock of a state in a bucket; `None` for nobody, and for a state on this machine.

        Raises:
            NotFoundError: the stack was never planned here.
            RemoteError: the bucket did not answer.
        """
        self._existing_here()
        return self.state.lock_holder()

    def unlock(self, holder: LockInfo) -> None:
        """Take away the lock of `holder`, which a person says is dead; the next command looks for what it left.

        Raises:
            ConflictError: a command of this machine holds the stack, or the lock is another's by now.
        """
        self._existing_here()
        with self._held("rayform stack unlock"):
            self.state.take_lock(holder)
            # The mark stays: whoever held the lock may have made what the state doesn't know.

    def replace_key(self) -> None:
        """Make a new SSH key for a stack whose key is lost or in wrong hands; the next deploy brings it in.

        A machine takes its keys at its first boot, so that deploy replaces the head, which holds no data.

        Raises:
            NotFoundError: the stack was never planned here.
            ConflictError: a command of this machine holds the stack.
        """
        self.folder.existing()
        with self.folder.locked("rayform stack new-key"):
            self.folder.replace_key()

    # -- parts

    def _existing_here(self) -> StackRecord:
        """Return the record; a refresh of a stack by another cloud would find nothing, and forget everything.

        A stack that was only ever planned is nowhere yet, so any cloud will do.
        """
        record = self.folder.existing()
        if record.status != "planned" and record.target != self.target.name:
            raise ConflictError(
                f"Stack '{self.name}' is in the cloud '{record.target}', not '{self.target.name}'.",
                hint=f"Add --target {record.target}.",
            )
        return record

    def _deployed(self) -> StackRecord:
        record = self.folder.existing()
        if record.status == "planned":
            raise NotFoundError("deployed stack", self.name, why="It was planned and never deployed.")
        return record

    def _terraform(self, running: Running | None) -> Terraform:
        return Terraform(
            self.folder.work,
            self.settings,
            self.target.environment(),
            on_event=lambda event: self.reporter.event(event),  # the reporter is wrapped while counting
            on_start=(lambda pid: self.folder.mark_terraform(running, pid)) if running else None,
        )

    def _ready(
        self, loaded: LoadedDefinition, left: Running | None, running: Running, upgrade_images: bool
    ) -> tuple[StackRecord, Settled, Terraform]:
        definition = loaded.definition
        record = self.folder.begin(definition.region, self.target.name)
        terraform = self._terraform(running)
        self.reporter.phase("Checking with the cloud, and preparing Terraform")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(settle, loaded, self.target, None if upgrade_images else record.pinned_images)
            # `init` wants modules and providers alone, which nothing that the cloud says will change.
            before = settled_before(record, definition)
            digest = fill(self.folder.work, definition, resolved_of(record, before), self.target)
            self.state.prepare(terraform, digest, left)
            settled = asked.result()
        if definition.zones is None and record.zones:
            # The first two zones of a region may change; the subnets that exist don't.
            settled.zones = tuple(record.zones)
        for warning in settled.warnings:
            self.reporter.note(warning)
        digest = fill(
            self.folder.work, definition, resolved_of(record, settled), self.target, same_wheel=True
        )
        self.state.prepare(terraform, digest, left)
        self.state.push_unsaved(terraform, left)
        return record, settled, terraform

    def _as_deployed(
        self, record: StackRecord, definition: StackDefinition, left: Running | None, running: Running
    ) -> tuple[Settled, Terraform]:
        """Terraform in a folder that says what the last deploy said, with a state from which nothing is missing."""
        settled = settled_before(record, definition)
        terraform = self._terraform(running)
        digest = fill(
            self.folder.work, definition, resolved_of(record, settled), self.target, same_wheel=True
        )
        self.state.prepare(terraform, digest, left)
        self.state.push_unsaved(terraform, left)
        return settled, terraform

    def _planned(
        self,
        terraform: Terraform,
        record: StackRecord,
        definition: StackDefinition,
        settled: Settled,
        left: Running | None,
    ) -> tuple[PlanSummary, Path]:
        self.reporter.phase("Planning")
        plan = self.folder.work / "deploy.plan"
        done = self.state.unlocking(terraform, left, lambda: terraform.plan_to(plan))
        changes = plain_changes(done)
        drift: list[Change] = []
        if changes is None:
            details = terraform.read_plan(plan)
            changes, drift = read_changes(details), read_drift(details)
        return (
            PlanSummary(
                self.name,
                record.reference,
                changes,
                cost=estimate(definition),
                drift=drift,
                warnings=list(settled.warnings),
                outputs_changed=done.code == 2,
            ),
            plan,
        )

    def _destroy_plan(
        self,
        terraform: Terraform,
        record: StackRecord,
        definition: StackDefinition,
        keep: list[str],
        left: Running | None,
        holdings: dict[str, str],
        *,
        refresh: bool,
    ) -> tuple[PlanSummary, Path]:
        self.reporter.phase("Planning")
        plan = self.folder.work / "destroy.plan"
        modules = [component for component in keep if component != "catalog"]
        if modules:
            root = render_keeping(definition, record.reference, modules)
            digest = write_root(self.folder.work, root, definition.provider, self.target, keep=True)
            self.state.prepare(terraform, digest, left)
        done = self.state.unlocking(
            terraform, left, lambda: terraform.plan_to(plan, destroy=not modules, refresh=refresh)
        )
        summary = PlanSummary(self.name, record.reference, planned_changes(done.events), holdings=holdings)
        summary.warnings = [f"{component} is kept" for component in keep]
        return summary, plan

    @contextlib.contextmanager
    def _held(self, operation: str, *, changes: bool = True) -> Iterator[tuple[Running | None, Running]]:
        """Hold the stack for `operation`, marked as running; gives what a killed command left, and the mark.

        After an error the mark goes, where Terraform ended by itself and so the state knows everything.
        """
        with self.folder.locked(operation) as left:
            running = self.folder.mark_running(operation, left, changes=changes)
            try:
                yield left, running
            except RayformError as error:
                if not (may_have_left(left) or self.state.leaves_unsure(error)):
                    self.folder.mark_ended()
                self._say_where_keys_are_for(error)
                raise

    def _say_where_keys_are_for(self, error: RayformError) -> None:
        """Add to an error about credentials which cloud the stack is bound to, and how that can change."""
        if isinstance(error, MissingCredentialsError):
            keys: str | None = error.log_in  # without the other target that its own hint may name
        elif isinstance(error, TerraformError) and error.kind is ErrorKind.CREDENTIALS:
            keys = error.hint
        else:
            return
        record = self.folder.record()
        if record is None or record.status == "planned":
            return
        bound = f"Stack '{self.name}' is deployed to target '{record.target}', and stays there until it is destroyed."
        error.why = f"{error.why} {bound}" if error.why else bound
        error.hint = (
            f"{keys} For another target give the definition another name, or destroy the stack first: "
            f"rayform stack destroy {self.name}"
        )

    @contextlib.contextmanager
    def _recorded(
        self, operation: str, record: StackRecord, started: float, *, knows_all: bool = True
    ) -> Iterator[None]:
        """Write a line of history whatever happens, and take the mark away unless something may be left."""
        counted = Counting(self.reporter)
        self.reporter = counted
        result, error = "done", None
        try:
            yield
        except KeyboardInterrupt:
            result = "interrupted"
            raise
        except RayformError as failure:
            result, error = "failed", str(failure)[:500]
            raise
        finally:
            self.reporter = counted.inner
            self.folder.add_history(
                HistoryEntry(
                    at=now(),
                    who=whoami(),
                    operation=operation,
                    result=result,
                    reference=record.reference,
                    added=counted.done["create"],
                    changed=counted.done["update"],
                    removed=counted.done["delete"],
                    seconds=round(time.monotonic() - started, 1),
                    error=error,
                )
            )
            if result == "done" and knows_all:
                self.folder.mark_ended()
