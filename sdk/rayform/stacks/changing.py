"""Registers, changes, copies and deletes stacks."""

from __future__ import annotations

from collections.abc import Mapping

from rayform.stacks import components, files
from rayform.stacks.active import active_stack_name
from rayform.stacks.profiles import DEFAULT, active_profile, read_pointer, set_profile_stack
from rayform.stacks.registered import StackRecord, read_stack, stack_names, write
from rayform_core.errors import ConflictError, UsageError

__all__ = [
    "copy_stack",
    "delete_stack",
    "register_stack",
    "rename_stack",
    "update_stack",
]


def register_stack(
    name: str,
    *,
    orchestrator: str = DEFAULT,
    artifact_store: str = DEFAULT,
    catalog: str = DEFAULT,
    container_registry: str | None = None,
    reference: str | None = None,
) -> StackRecord:
    """Register a stack in the active profile.

    Args:
        name: its name, unique in the profile.
        orchestrator: name of a registered orchestrator; the local one by default.
        artifact_store: name of a registered artifact store; the local one by default.
        catalog: name of a registered catalog; the local one by default.
        container_registry: name of a registered registry; needed if steps run in images.
        reference: unique reference of a deployed stack.

    Raises:
        ConflictError: another stack has the name.
        NotFoundError: a component isn't registered.
    """
    with files.registry_lock():
        profile = active_profile()
        files.check_name("stack", name)
        if name in stack_names(profile):
            raise ConflictError(
                f"There is a stack '{name}' already.",
                hint=f"Choose another name, or change that stack: rayform stack update {name} …",
            )
        names = {
            "orchestrator": orchestrator,
            "artifact-store": artifact_store,
            "container-registry": container_registry,
            "catalog": catalog,
        }
        record = StackRecord(name, profile, _existing(names), reference)
        write(record)
    return record


def _existing(names: Mapping[str, str | None]) -> dict[str, str]:
    """Return the names that aren't `None`, by kind; each must be the name of a registered component."""
    existing = {kind: name for kind, name in names.items() if name is not None}
    for kind, name in existing.items():
        components.read_component(kind, name)
    return existing


def update_stack(
    name: str,
    *,
    remove_container_registry: bool = False,
    trusted: bool | None = None,
    **changes: str | None,
) -> StackRecord:
    """Change the components of a stack, or whether it is trusted.

    Args:
        name: the stack.
        remove_container_registry: remove its container registry.
        trusted: whether values and runs of the stack may run code on this machine, whoever made them: pickles are
            loaded, and other users' runs resumed. Set it if you trust all who may write to its catalog and its
            artifact store. `None` leaves it as it is.
        changes: `orchestrator`, `artifact_store`, `container_registry`, `catalog`: names of registered
            components; those that are left out or `None` stay.

    Raises:
        UsageError: it is the `default` stack.
        NotFoundError: the stack or a component doesn't exist.
    """
    _refuse_default(name, "changed", f"Copy it: rayform stack copy default {name}-2")
    with files.registry_lock():
        old = read_stack(name)
        new = _existing({files.check_kind(kind): component for kind, component in changes.items()})
        merged = {**old.components, **new}
        if remove_container_registry:
            merged.pop("container-registry", None)
        record = StackRecord(
            name,
            old.profile,
            {k: merged[k] for k in files.KINDS if k in merged},
            old.reference,
            is_trusted=old.is_trusted if trusted is None else trusted,
        )
        write(record)
    return record


def rename_stack(name: str, new_name: str) -> StackRecord:
    """Rename a stack; if it is active it stays active.

    Raises:
        ConflictError: another stack has the new name, or a pin or variable refers to the old name.
        UsageError: it is the `default` stack, or the new name isn't valid.
    """
    _refuse_default(name, "renamed", "Copy it: rayform stack copy default NAME")
    with files.registry_lock():
        active = active_stack_name()
        if active.name == name and not active.source.startswith("profile "):
            raise ConflictError(
                f"The stack '{name}' can't be renamed: {active.source} makes it the active stack.",
                hint=f"Unset that first; afterwards you can set it to '{new_name}'.",
            )
        record = _copy(name, new_name, keep_reference=True)
        if read_pointer(files.profile_file(record.profile)).get("stack") == name:
            set_profile_stack(record.profile, new_name)
        files.remove_file(files.stack_file(record.profile, name))
    return record


def copy_stack(name: str, new_name: str) -> StackRecord:
    """Register a second stack with the same components; the copy doesn't belong to the deployment of the first.

    Raises:
        ConflictError: another stack has the new name.
    """
    with files.registry_lock():
        return _copy(name, new_name, keep_reference=False)


def _copy(name: str, new_name: str, *, keep_reference: bool) -> StackRecord:
    old = read_stack(name)
    files.check_name("stack", new_name)
    if new_name in stack_names(old.profile):
        raise ConflictError(f"There is a stack '{new_name}' already.", hint="Choose another name.")
    record = StackRecord(
        new_name,
        old.profile,
        old.components,
        old.reference if keep_reference else None,
        is_trusted=old.is_trusted,
    )
    write(record)
    return record


def delete_stack(name: str, *, with_components: bool = False) -> list[str]:
    """Remove a stack's registration. Its infrastructure (cluster, bucket, database) stays.

    Args:
        name: the stack.
        with_components: also remove the registrations of its components that no other stack uses.

    Returns:
        The removed components, as `kind/name`.

    Raises:
        ConflictError: it is the active stack.
        UsageError: it is the `default` stack.
        NotFoundError: there is no such stack.
    """
    _refuse_default(name, "deleted", None)
    with files.registry_lock():
        stack = read_stack(name)
        active = active_stack_name()
        if name in (active.name, read_pointer(files.profile_file(stack.profile)).get("stack")):
            source = active.source if active.name == name else f"profile '{stack.profile}'"
            raise ConflictError(
                f"The stack '{name}' is active.",
                why=f"It is set by {source}.",
                hint="Activate another one first: rayform stack set default",
            )
        files.remove_file(files.stack_file(stack.profile, name))
        return _remove_unused(stack) if with_components else []


def _remove_unused(stack: StackRecord) -> list[str]:
    removed = []
    for kind, component in stack.components.items():
        builtin = component == DEFAULT and components.builtin_component(kind) is not None
        if not builtin and not components.users_of_component(kind, component):
            files.remove_file(files.component_file(kind, component))
            removed.append(f"{kind}/{component}")
    return removed


def _refuse_default(name: str, verb: str, hint: str | None) -> None:
    if name == DEFAULT:
        raise UsageError(f"The stack 'default' is built in and can't be {verb}.", hint=hint)
