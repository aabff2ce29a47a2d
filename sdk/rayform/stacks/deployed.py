"""Stacks that were deployed: registered from the provisioner's outputs, forgotten after a destroy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rayform.stacks import components, files
from rayform.stacks.profiles import DEFAULT, active_profile, list_profiles, read_pointer, set_profile_stack
from rayform.stacks.registered import NEEDED, StackRecord, list_stacks, read_stack, stack_names, write
from rayform_core.errors import ConflictError, UsageError

__all__ = [
    "refuse_taken_name",
    "register_deployed",
    "unregister_deployed",
]


def register_deployed(name: str, outputs: Mapping[str, Any], *, activate: bool = False) -> StackRecord:
    """Register a stack that was just deployed, with its components, or bring its registration up to date.

    Repeating it changes nothing, and a crash half-way is mended by the next call. Its components bear the
    stack's name and its reference.

    Args:
        name: the stack.
        outputs: plain values from the provisioner:

            - `reference` (str, needed): the unique stack reference that tags its cloud resources.
            - `orchestrator`, `artifact_store`, `catalog` and `container_registry`, each
              `{"flavor": str, "config": {...}}` with the settings of that flavor's model
              (`rayform_runtime.*.config`); one that is left out is the local `default`, or for the registry
              none. No value is a secret.

            Other keys are ignored.
        activate: also make it the active stack of the profile.

    Returns:
        The record.

    Raises:
        ConflictError: the name belongs to a stack or component that this deployment didn't make.
        UsageError: an output is wrong.

    Example:
        >>> register_deployed("prod", {  # doctest: +SKIP
        ...     "reference": "rf-prod-4f1c2a",
        ...     "orchestrator": {"flavor": "ray", "config": {
        ...         "address": "ssh://ubuntu@203.0.113.7", "ssh_key": "/home/me/.rayform/…/id", "region": "eu-west-1",
        ...         "instance_id": "i-0abc", "stack_reference": "rf-prod-4f1c2a"}},
        ...     "artifact_store": {"flavor": "s3", "config": {"bucket": "rf-prod-4f1c2a", "region": "eu-west-1"}},
        ...     "container_registry": {"flavor": "ecr", "config": {"uri": "1234.dkr.ecr…/rf-prod"}},
        ...     "catalog": {"flavor": "postgres", "config": {"host": "…", "password_secret": "arn:…"}},
        ... })
    """
    files.check_name("stack", name)
    reference = outputs.get("reference")
    if not isinstance(reference, str) or not reference:
        raise UsageError(f"The outputs of stack '{name}' name no reference.")
    made = []
    for kind in files.KINDS:
        body = outputs.get(kind.replace("-", "_"))
        if body is None:
            continue
        if not isinstance(body, Mapping) or not isinstance(body.get("flavor"), str):
            raise UsageError(f"The output for the {kind} of stack '{name}' names no flavor.")
        config = {k: v for k, v in dict(body.get("config") or {}).items() if v is not None}
        made.append(
            components.validated(components.ComponentRecord(name, kind, body["flavor"], config, reference))
        )
    with files.registry_lock():
        profile = active_profile()
        _refuse_foreign(name, reference, [record.kind for record in made])
        for record in made:
            components.write_component(record)
        named = {**dict.fromkeys(NEEDED, DEFAULT), **{r.kind: r.name for r in made}}
        stack = StackRecord(name, profile, {k: named[k] for k in files.KINDS if k in named}, reference)
        write(stack)
        if activate:
            set_profile_stack(profile, name)
    return stack


def refuse_taken_name(name: str, reference: str | None) -> None:
    """Refuse a name that another registered stack or component has, before anything is deployed under it.

    Args:
        name: the stack to deploy.
        reference: its unique stack reference; `None` where it was never planned.

    Raises:
        ConflictError: the name belongs to a stack or component that this deployment didn't make.
    """
    with files.registry_lock():
        _refuse_foreign(name, reference, files.KINDS)


def _refuse_foreign(name: str, reference: str | None, kinds: Iterable[str]) -> None:
    ours = {reference} - {None}
    if name in stack_names(active_profile()) and read_stack(name).reference not in ours:
        raise ConflictError(
            f"The name '{name}' belongs to another registered stack.",
            hint=f"Rename that one: rayform stack rename {name} OTHER",
        )
    for kind in kinds:
        if name in components.component_names(kind) and (
            components.read_component(kind, name).reference not in ours
        ):
            raise ConflictError(
                f"The name '{name}' belongs to another registered {kind}.",
                hint=f"Delete that one, or deploy under another name: rayform {kind} describe {name}",
            )


def unregister_deployed(reference: str) -> list[str]:
    """Forget every stack and component of a deployment, after it was destroyed. Idempotent.

    Where one was active, its profile's active stack becomes `default`.

    Args:
        reference: the unique stack reference.

    Returns:
        The names of the stacks that were forgotten, as `profile/stack`.
    """
    forgotten = []
    with files.registry_lock():
        for profile in list_profiles():
            for stack in list_stacks(profile):
                if stack.reference != reference:
                    continue
                if read_pointer(files.profile_file(profile)).get("stack") == stack.name:
                    set_profile_stack(profile, DEFAULT)
                files.remove_file(files.stack_file(profile, stack.name))
                forgotten.append(f"{profile}/{stack.name}")
        for record in components.list_components():
            if record.reference == reference and not components.users_of_component(record.kind, record.name):
                files.remove_file(files.component_file(record.kind, record.name))
    return forgotten
