"""Terraform's state of one stack: its lock, its moves between folder and bucket, its late saves, its removal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from rayform_core.errors import ConflictError, RayformError, RemoteError
from rayform_provisioner.clouds import LockInfo, cloud_of
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.reporting import Reporter
from rayform_provisioner.stack_folder import Running, StackFolder, StackRecord, set_aside, whoami
from rayform_provisioner.targets import Target
from rayform_provisioner.terraform.errors import StateLockedError, TerraformError
from rayform_provisioner.terraform.render import state_object
from rayform_provisioner.terraform.runner import UNSAVED_FILE, Terraform
from rayform_provisioner.terraform.state_place import StatePlace, next_place, present_place, state_objects

__all__ = ["StackState"]

R = TypeVar("R")


class StackState:
    """The state of one stack, which commands of this machine and of others share.

    `left`, in a method's arguments, is the mark of a killed command of this machine: its lock may be taken away.

    Args:
        folder: the stack's folder.
        target: the cloud, whose bucket may hold the state.
        reporter: receives what the user should know.
    """

    def __init__(self, folder: StackFolder, target: Target, reporter: Reporter) -> None:
        self._folder = folder
        self._target = target
        self._cloud = cloud_of(target.provider)
        self._reporter = reporter

    def prepare(self, terraform: Terraform, digest: str, left: Running | None) -> None:
        """Run `init` if the folder needs it; a state that belongs elsewhere moves, unless it moved already."""
        self.unlocking(left, lambda: terraform.prepare(digest, carry=not self._has_moved(terraform)))

    def _has_moved(self, terraform: Terraform) -> bool:
        """Whether another machine with this stack has moved the state to its next place already.

        If so, Terraform would copy this folder's old state over the newer one, and forget what was made since. The
        later one wins. The states' lineages don't help: Terraform makes a new one for a state that moves into an
        empty place.
        """
        present, following = present_place(self._folder.work), next_place(self._folder.work)
        if present is None or following is None or not terraform.moves_state():
            return False
        written = self._last_written(following)
        return written is not None and written > (self._last_written(present) or 0)

    def _last_written(self, place: StatePlace) -> float | None:
        """Return when the state at `place` was last written; `None` if it holds no resources."""
        bucket_object = place.bucket_object
        if bucket_object is not None:
            return self._cloud.state_written(self._target, bucket_object)
        file = self._folder.work / place.path
        try:
            return file.stat().st_mtime if json.loads(file.read_text()).get("resources") else None
        except (OSError, ValueError, AttributeError):
            return None

    def unlocking(self, left: Running | None, action: Callable[[], R]) -> R:
        """Run `action`; if the lock of the killed command `left` is in the way, remove the lock and run it again."""
        for _ in state_objects(self._folder.work):  # a state that moves has two locks
            try:
                return action()
            except StateLockedError as error:
                self._take_own_lock(error.holder, left)
        return action()

    def lock_holder(self) -> LockInfo | None:
        """Return who holds a lock of a state in a bucket, or `None` if nobody does."""
        holders = (self._cloud.read_lock(self._target, place) for place in state_objects(self._folder.work))
        return next((holder for holder in holders if holder is not None), None)

    def take_lock(self, holder: LockInfo) -> None:
        """Remove the lock of `holder`.

        Raises:
            ConflictError: it is gone, or another command has taken it.
        """
        places = state_objects(self._folder.work)
        if not any(self._cloud.remove_lock(self._target, place, holder.id) for place in places):
            raise ConflictError(
                "That lock is gone: its holder ended, or another command has taken it.",
                hint="Run the command again.",
            )

    def _take_own_lock(self, holder: LockInfo, left: Running | None) -> None:
        """Remove the lock of `holder` if it belongs to the killed command `left`.

        Raises:
            StateLockedError: it belongs to another command.
        """
        # It belongs to `left` if it was made on this machine, after `left` began and before this command got hold of
        # the stack.
        created = holder.created[:19].replace(" ", "T")
        own = left is not None and left.started[:19] <= created <= self._folder.held_since[:19]
        if left is None or holder.who != whoami() or not own:
            raise StateLockedError(holder, self._folder.name) from None
        self._reporter.note(f"Taking away the lock of `{left.operation}`, which was killed.")
        self.take_lock(holder)

    def refuse_another(self, left: Running | None) -> None:
        """Make sure that no other command is running before resources that the state doesn't know are removed.

        They may belong to that command, which saves them in the state later.

        Raises:
            StateLockedError: another machine's command holds the state's lock.
        """
        while (holder := self.lock_holder()) is not None:
            self._take_own_lock(holder, left)

    def push_unsaved(self, terraform: Terraform, left: Running | None) -> None:
        """Save a state that an earlier Terraform couldn't save; set it aside if Terraform refuses it.

        Nothing is lost by that: resources that only the refused state knows have the stack's tag.
        """
        try:
            if self.unlocking(left, terraform.push_unsaved):
                self._reporter.note("Saved the state that the last command could not save.")
        except TerraformError as error:
            if not error.refuses_state:
                raise
            set_aside("refused", self._folder.work / UNSAVED_FILE)
            self._reporter.note(f"Terraform refuses an unsaved state, which is set aside. {error.why}")

    def remove(self, record: StackRecord, definition: StackDefinition) -> None:
        """Remove the empty state from its bucket; old versions that the bucket keeps stay."""
        place = state_object(definition, record.reference)
        if place is None:
            return
        try:
            self._cloud.remove_state(self._target, place)
        except RemoteError as error:
            self._reporter.note(f"The empty state s3://{place.bucket}/{place.key} stays: {error.why}")

    def leaves_unsure(self, error: RayformError) -> bool:
        """Whether `error` may have left a lock, or resources that the saved state doesn't know."""
        return (isinstance(error, TerraformError) and error.leaves_lock) or (
            self._folder.work / UNSAVED_FILE
        ).exists()
