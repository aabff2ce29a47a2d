"""Registrations of deployed stacks: made from the provisioner's outputs, and removed after a destroy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rayform.stacks import components, files
from rayform.stacks.profiles import DEFAULT, active_profile, list_profiles, read_pointer, set_profile_stack
from rayform.stacks.registered import NEEDED, StackRecord, list_stacks, read_stack, stack_names, write
from rayform_core.errors import ConflictError, UsageError

__all__ = [
    "refuse_taken_name",
    "register_deployed",
    "unregister_deployed",
]


def register_deployed(name: str, outputs: Mapping[str, object], *, activate: bool = False) -> StackRecord:
    """Register a stack that was just deployed, with its components, or update its registration.

    You can call it again after a crash half-way. The components get the stack's name and reference.

    Args:
        name: the stack.
        outputs: plain values from the provisioner:

            - `reference` (str, needed): the unique stack reference that tags its cloud resources.
            - `orchestrator`, `artifact_store`, `catalog` and `container_registry`, each
              `{"flavor": str, "config": {...}}` with the settings of that flavor's model
              (`rayform_runtime.*.config`). Without a component, the stack uses the local `default` one, and no
              container registry. No value is a secret.

            Other keys are ignored.
        activate: also make it the active stack of the profile.

    Returns:
        The registration.

    Raises:
        ConflictError: a stack or component of another origin has the name.
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
        raise UsageError(f"The outputs of stack '{name}' have no reference.")
    records = [
        _component_of(name, kind, reference, output)
        for kind in files.KINDS
        if (output := outputs.get(kind.replace("-", "_"))) is not None
    ]
    with files.registry_lock():
        profile = active_profile()
        _refuse_foreign(name, reference, [record.kind for record in records])
        for record in records:
            components.write_component(record)
        names = {**dict.fromkeys(NEEDED, DEFAULT), **{r.kind: r.name for r in records}}
        is_trusted = name in stack_names(profile) and read_stack(name, profile=profile).is_trusted
        stack = StackRecord(
            name,
            profile,
            {k: names[k] for k in files.KINDS if k in names},
            reference,
            is_trusted=is_trusted,
        )
        write(stack)
        if activate:
            set_profile_stack(profile, name)
    return stack


def _component_of(name: str, kind: str, reference: str, output: object) -> components.ComponentRecord:
    """Return the validated component that one output of stack `name` describes."""
    flavor = output.get("flavor") if isinstance(output, Mapping) else None
    if not isinstance(output, Mapping) or not isinstance(flavor, str):
        raise UsageError(f"The output for the {kind} of stack '{name}' has no flavor.")
    config = {key: value for key, value in dict(output.get("config") or {}).items() if value is not None}
    return components.validated(components.ComponentRecord(name, kind, flavor, config, reference))


def refuse_taken_name(name: str, reference: str | None) -> None:
    """Refuse the name of another registered stack or component, before a deploy uses it.

    Args:
        name: the stack to deploy.
        reference: its unique stack reference; `None` if it was never planned.

    Raises:
        ConflictError: a stack or component of another origin has the name.
    """
    with files.registry_lock():
        _refuse_foreign(name, reference, files.KINDS)


def _refuse_foreign(name: str, reference: str | None, kinds: Iterable[str]) -> None:
    ours = {reference} - {None}
    if name in stack_names(active_profile()) and read_stack(name).reference not in ours:
        raise ConflictError(
            f"Another registered stack has the name '{name}'.",
            hint=f"Rename that one: rayform stack rename {name} OTHER",
        )
    for kind in kinds:
        if name in components.component_names(kind) and (
            components.read_component(kind, name).reference not in ours
        ):
            raise ConflictError(
                f"Another registered {kind} has the name '{name}'.",
                hint=f"Delete that one (see it: rayform {kind} describe {name}), or deploy under another name.",
            )


def unregister_deployed(reference: str) -> list[str]:
    """Remove the registrations of a destroyed stack and its components. Idempotent.

    If the stack was active in a profile, `default` becomes the active stack there.

    Args:
        reference: the unique stack reference.

    Returns:
        The names of the removed stacks, as `profile/stack`.
    """
    removed = []
    with files.registry_lock():
        for profile in list_profiles():
            for stack in list_stacks(profile):
                if stack.reference != reference:
                    continue
                if read_pointer(files.profile_file(profile)).get("stack") == stack.name:
                    set_profile_stack(profile, DEFAULT)
                files.remove_file(files.stack_file(profile, stack.name))
                removed.append(f"{profile}/{stack.name}")
        for record in components.list_components():
            if record.reference == reference and not components.users_of_component(record.kind, record.name):
                files.remove_file(files.component_file(record.kind, record.name))
    return removed
