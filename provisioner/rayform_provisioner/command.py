"""One command that holds a stack: its mark, its Terraform, its plans, and its line in the history."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from rayform_core.errors import RayformError
from rayform_provisioner.clouds import MissingCredentialsError, Resolution, Resource
from rayform_provisioner.definitions.changes import refuse_impossible
from rayform_provisioner.definitions.definition import LoadedDefinition, StackDefinition, load_definition
from rayform_provisioner.leftovers import may_have_left
from rayform_provisioner.stack import Stack
from rayform_provisioner.stack_folder import HistoryEntry, Running, StackRecord, now, whoami
from rayform_provisioner.terraform.errors import ErrorKind, TerraformError
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
from rayform_provisioner.terraform.working_folder import fill, write_root

__all__ = ["Command", "Plan"]


class Plan(NamedTuple):
    """A plan: what the user sees of it, and the file that Terraform applies."""

    summary: PlanSummary
    file: Path


class Command:
    """A command that holds its stack; `Command.holding` makes it.

    Args:
        stack: the stack.
        left: the mark of a killed command of this machine, which this command continues.
        running: this command's own mark in the stack's folder.
        started: when it began, by the monotonic clock.
    """

    def __init__(self, stack: Stack, left: Running | None, running: Running, started: float) -> None:
        self._stack = stack
        self._left = left
        self._running = running
        self._started = started

    @classmethod
    @contextlib.contextmanager
    def holding(cls, stack: Stack, operation: str, *, changes: bool = True) -> Iterator[Command]:
        """Hold the stack for `operation`, and mark it as running.

        After an error, the mark is removed if the state is sure to know everything.

        Args:
            stack: the stack.
            operation: the command, as users type it.
            changes: whether it may make resources that the state doesn't know.

        Raises:
            ConflictError: another command holds the stack.
        """
        started = time.monotonic()
        with stack.folder.locked(operation) as left:
            running = stack.folder.mark_running(operation, left, changes=changes)
            command = cls(stack, left, running, started)
            try:
                yield command
            except RayformError as error:
                if not stack.state.leaves_unsure(error):
                    command.end()
                _name_target(error, stack)
                raise

    @cached_property
    def terraform(self) -> Terraform:
        """Terraform in the stack's working folder; made when it is first used, because not every command needs it."""
        return Terraform(
            self._stack.folder.work,
            self._stack.settings,
            self._stack.target.environment(),
            on_event=self._stack.reporter.event,
            on_start=lambda pid: self._stack.folder.mark_terraform(self._running, pid),
        )

    @property
    def continues_a_kill(self) -> bool:
        """Whether a killed command may have left resources that the state doesn't know."""
        return may_have_left(self._left)

    def end(self) -> None:
        """Remove the mark, unless a killed command may have left resources that the state doesn't know."""
        if not self.continues_a_kill:
            self._stack.folder.mark_ended()

    # -- Terraform's folder

    def prepare(
        self, loaded: LoadedDefinition, *, newest_images: bool = False
    ) -> tuple[StackRecord, Resolution]:
        """Check `loaded` with the cloud, and fill and prepare Terraform's folder for it.

        Raises:
            ConflictError: the stack is elsewhere.
            DefinitionError: the cloud can't serve the definition.
            TerraformError: Terraform can't be prepared.
        """
        stack, definition = self._stack, loaded.definition
        deployed = stack.folder.record()
        if deployed is not None and deployed.status == "deployed":
            refuse_impossible(load_definition(stack.folder.definition_file, applied=True).definition, loaded)
        record = stack.folder.begin(definition.region, stack.target.name)
        stack.reporter.phase("Checking with the cloud, and preparing Terraform")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(
                stack.cloud.resolve, loaded, stack.target, record, newest_images=newest_images
            )
            # Meanwhile `init` runs, which only needs modules and providers: the cloud's answer doesn't change those.
            before = stack.cloud.last_resolution(record, definition)
            self._init(fill(stack.folder.work, definition, before, stack.target))
            resolution = answer.result()
        for warning in resolution.warnings:
            stack.reporter.note(warning)
        self._fill(definition, resolution)
        return record, resolution

    def prepare_as_deployed(self, record: StackRecord, definition: StackDefinition) -> Resolution:
        """Fill and prepare Terraform's folder as the last deploy did, without asking the cloud."""
        resolution = self._stack.cloud.last_resolution(record, definition)
        self._fill(definition, resolution)
        return resolution

    def _fill(self, definition: StackDefinition, resolution: Resolution) -> None:
        stack = self._stack
        self._init(fill(stack.folder.work, definition, resolution, stack.target, same_wheel=True))
        stack.state.push_unsaved(self.terraform, self._left)

    def _init(self, digest: str) -> None:
        self._stack.state.prepare(self.terraform, digest, self._left)

    # -- What a killed command left

    def recover(self, record: StackRecord, definition: StackDefinition) -> None:
        """Import or remove what a killed command left in the cloud; see `Leftovers.recover`."""
        self._stack.leftovers.recover(self.terraform, record, definition, self._left)

    def orphans(self, record: StackRecord, definition: StackDefinition, keep: list[str]) -> list[Resource]:
        """Return what the state doesn't know and a destroy must remove; see `Leftovers.orphans`."""
        return self._stack.leftovers.orphans(self.terraform, record, definition, keep, self._left)

    # -- Plans

    def plan(self, record: StackRecord, definition: StackDefinition, resolution: Resolution) -> Plan:
        """Plan a deploy."""
        self._stack.reporter.phase("Planning")
        file = self._stack.folder.work / "deploy.plan"
        done = self._plan_to(file)
        changes = plain_changes(done)
        drift: list[Change] = []
        if changes is None:
            details = self.terraform.read_plan(file)
            changes, drift = read_changes(details), read_drift(details)
        summary = PlanSummary(
            self._stack.name,
            record.reference,
            changes,
            cost=self._stack.cloud.estimate(definition),
            drift=drift,
            warnings=list(resolution.warnings),
            outputs_changed=done.code == 2,
        )
        return Plan(summary, file)

    def plan_destroy(
        self,
        record: StackRecord,
        definition: StackDefinition,
        keep: list[str],
        holdings: dict[str, str],
        *,
        refresh: bool,
    ) -> Plan:
        """Plan a destroy.

        Args:
            record: the stack's record.
            definition: the stack's definition.
            keep: components whose data stays.
            holdings: what data there is, for the summary.
            refresh: read every resource first, instead of trusting the state.
        """
        stack = self._stack
        stack.reporter.phase("Planning")
        file = stack.folder.work / "destroy.plan"
        modules = [component for component in keep if component != "catalog"]
        if modules:
            root = render_keeping(definition, record.reference, modules)
            self._init(write_root(stack.folder.work, root, definition.provider, stack.target, keep=True))
        done = self._plan_to(file, destroy=not modules, refresh=refresh)
        summary = PlanSummary(stack.name, record.reference, planned_changes(done.events), holdings=holdings)
        summary.warnings = [f"{component} is kept" for component in keep]
        return Plan(summary, file)

    def plan_refresh(self) -> Path:
        """Plan to write down what the cloud is, and to change nothing in it; return the plan's file."""
        file = self._stack.folder.work / "refresh.plan"
        self._plan_to(file, refresh_only=True)
        return file

    def _plan_to(
        self, file: Path, *, destroy: bool = False, refresh_only: bool = False, refresh: bool = True
    ) -> Finished:
        return self._stack.state.unlocking(
            self._left,
            lambda: self.terraform.plan_to(file, destroy=destroy, refresh_only=refresh_only, refresh=refresh),
        )

    def apply(self, file: Path) -> Finished:
        """Apply the plan in `file`, and nothing else."""
        return self._stack.state.unlocking(self._left, lambda: self.terraform.apply_plan(file))

    # -- The history

    @contextlib.contextmanager
    def recorded(self, operation: str, record: StackRecord, *, recovers: bool = True) -> Iterator[None]:
        """Write a line of history, however the block ends.

        Args:
            operation: the line's name for the command.
            record: the stack's record.
            recovers: the block takes care of everything that a killed command left, so the mark can be removed.
        """
        counts = self._stack.reporter
        counts.start_over()
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
            self._stack.folder.add_history(
                HistoryEntry(
                    at=now(),
                    who=whoami(),
                    operation=operation,
                    result=result,
                    reference=record.reference,
                    added=counts.done["create"],
                    changed=counts.done["update"],
                    removed=counts.done["delete"],
                    seconds=round(time.monotonic() - self._started, 1),
                    error=error,
                )
            )
            if result == "done" and (recovers or not self.continues_a_kill):
                self._stack.folder.mark_ended()


def _name_target(error: RayformError, stack: Stack) -> None:
    """Add to an error about credentials which target the stack is deployed to, and how that can change."""
    if isinstance(error, MissingCredentialsError):
        log_in = error.log_in  # without the other target that its own hint may offer
    elif isinstance(error, TerraformError) and error.kind is ErrorKind.CREDENTIALS:
        log_in = error.hint
    else:
        return
    record = stack.folder.record()
    if record is None or record.status == "planned":
        return
    bound = f"Stack '{stack.name}' is deployed to target '{record.target}', and stays there until it is destroyed."
    error.why = f"{error.why} {bound}" if error.why else bound
    error.hint = (
        f"{log_in or 'Get credentials for it.'} To use another target, give the definition another name, or destroy "
        f"the stack first: rayform stack destroy {stack.name}"
    )
