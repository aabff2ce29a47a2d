"""Terraform's state of one stack: whose lock is on it, where it moves, how it is saved late, and its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from rayform_core.errors import ConflictError, RayformError, RemoteError
from rayform_provisioner.aws.state import read_lock, remove_lock, remove_state, state_written
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.stack_folder import Running, StackFolder, StackRecord, set_aside, whoami
from rayform_provisioner.targets import Target
from rayform_provisioner.terraform.errors import LockInfo, TerraformError
from rayform_provisioner.terraform.render import state_object
from rayform_provisioner.terraform.runner import UNSAVED_FILE, StateLockedError, Terraform
from rayform_provisioner.terraform.state_place import StatePlace, present_place, state_objects, wanted_place

__all__ = ["StackState"]

R = TypeVar("R")


class StackState:
    """The state of one stack, as the commands of this machine and of others meet at it.

    `left`, where a method takes it, is what a killed command of this machine left running: its lock is ours to take.

    Args:
        folder: the stack's folder.
        target: the cloud, whose bucket may hold the state.
        note: told what a person should know.
    """

    def __init__(self, folder: StackFolder, target: Target, note: Callable[[str], None]) -> None:
        self._folder = folder
        self._target = target
        self._note = note

    def prepare(self, terraform: Terraform, digest: str, left: Running | None) -> None:
        """Run `init` where it must run; a state that is to lie elsewhere moves, unless it lies there already."""
        self.unlocking(
            terraform, left, lambda: terraform.prepare(digest, carry=not self._has_moved(terraform))
        )

    def _has_moved(self, terraform: Terraform) -> bool:
        """Whether the state already lies where it is to move: another machine with this stack carried it there.

        Terraform would copy this folder's old one over it, and forget what was made since. The later one wins; a
        lineage says nothing, since Terraform gives a state that moves into an empty place a new one.
        """
        present, wanted = present_place(self._folder.work), wanted_place(self._folder.work)
        if present is None or wanted is None or not terraform.moves_state():
            return False
        there = self._last_written(wanted)
        return there is not None and there > (self._last_written(present) or 0)

    def _last_written(self, place: StatePlace) -> float | None:
        """Return when the state at `place` was last written; `None` where nothing is in it."""
        if place.backend == "s3":
            return state_written(self._target, place.region, place.bucket, place.path)
        file = self._folder.work / place.path
        try:
            return file.stat().st_mtime if json.loads(file.read_text()).get("resources") else None
        except (OSError, ValueError, AttributeError):
            return None

    def unlocking(self, terraform: Terraform, left: Running | None, action: Callable[[], R]) -> R:
        """Run `action`; where a lock of a dead command of ours is in the way, take it away and run it again."""
        for _ in state_objects(self._folder.work):  # a state that moves has two locks
            try:
                return action()
            except StateLockedError as error:
                self._take_own_lock(error.holder, left)
        return action()

    def lock_holder(self) -> LockInfo | None:
        """Return who holds a lock of a state in a bucket, or `None` for nobody."""
        for place in state_objects(self._folder.work):
            holder = read_lock(self._target, *place)
            if holder is not None:
                return holder
        return None

    def take_lock(self, holder: LockInfo) -> None:
        """Take away the lock of `holder`.

        Raises:
            ConflictError: it is gone, or another's by now.
        """
        if not any(
            remove_lock(self._target, *place, holder.id) for place in state_objects(self._folder.work)
        ):
            raise ConflictError(
                "That lock is gone: its holder ended, or another took it since.", hint="Look again."
            )

    def _take_own_lock(self, holder: LockInfo, left: Running | None) -> None:
        """Take away the lock of `holder` if it is that of the dead command `left`.

        Raises:
            StateLockedError: it is another's.
        """
        # Made on this machine, after the dead command began and before this one got hold of the stack: its own.
        since = holder.created[:19].replace(" ", "T")
        ours = left is not None and left.started[:19] <= since <= self._folder.held_since[:19]
        if left is None or holder.who != whoami() or not ours:
            raise StateLockedError(holder, self._folder.name) from None
        self._note(f"Taking away the lock of `{left.operation}`, which was killed.")
        self.take_lock(holder)

    def refuse_another(self, left: Running | None) -> None:
        """See that nobody else is at work, before anything is removed that the state doesn't know: it may be theirs.

        Raises:
            StateLockedError: another machine's command holds the state's lock.
        """
        while (holder := self.lock_holder()) is not None:
            self._take_own_lock(holder, left)

    def push_unsaved(self, terraform: Terraform, left: Running | None) -> None:
        """Save a state that Terraform couldn't; where a newer one is there, what it knew is found by the tag."""
        try:
            if self.unlocking(terraform, left, terraform.push_unsaved):
                self._note("Saved the state that the last command could not save.")
        except TerraformError as error:
            if not error.refuses_state:
                raise
            set_aside("refused", self._folder.work / UNSAVED_FILE)
            self._note(f"A state that was left unsaved is refused, and set aside. {error.why}")

    def remove(self, record: StackRecord, definition: StackDefinition) -> None:
        """Remove the empty state from its bucket; the bucket's own versions of it stay."""
        place = state_object(definition, record.reference)
        if place is None:
            return
        try:
            remove_state(self._target, *place)
        except RemoteError as error:
            _, bucket, key = place
            self._note(f"The empty state s3://{bucket}/{key} stays: {error.why}")

    def leaves_unsure(self, error: RayformError) -> bool:
        """Whether a lock may be left after `error`, or something made that the saved state doesn't know."""
        return (isinstance(error, TerraformError) and error.leaves_lock) or (
            self._folder.work / UNSAVED_FILE
        ).exists()
