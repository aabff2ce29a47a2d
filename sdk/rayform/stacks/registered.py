"""Reads and writes the registrations of stacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rayform.stacks import components, files
from rayform.stacks.profiles import DEFAULT, active_profile
from rayform_core.errors import IntegrityError, NotFoundError

if TYPE_CHECKING:
    from rayform_runtime.components import StackSpec

__all__ = [
    "NEEDED",
    "StackRecord",
    "checked_components",
    "get_stack",
    "list_stacks",
    "read_stack",
    "stack_names",
    "write",
]

_STACK_KEYS: files.Keys = {"name": str, "components": dict, "reference": str, "trusted": bool}
NEEDED = ("orchestrator", "artifact-store", "catalog")


@dataclass(frozen=True, slots=True)
class StackRecord:
    """The registration of a stack.

    Args:
        name: unique in its profile.
        profile: the stack's profile.
        components: the component's name by kind.
        reference: unique reference of a deployed stack, the tag of its cloud resources.
        is_trusted: whether values and runs of the stack may run code on this machine, whoever made them.
        problem: why its file can't be used; then it has no components.
    """

    name: str
    profile: str
    components: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None
    problem: str | None = None
    is_trusted: bool = False


def stack_names(profile: str | None = None) -> list[str]:
    """Return the names of a profile's stacks (by default the active profile's), `default` first."""
    names = files.names_in(files.stacks_folder(profile or active_profile()))
    return [DEFAULT, *(name for name in names if name != DEFAULT)]


def read_stack(name: str, *, profile: str | None = None) -> StackRecord:
    """Return a stack's registration. This is fast, because it doesn't load the components.

    Raises:
        NotFoundError: there is no such stack; names the nearest ones.
        IntegrityError: its file is corrupt.
    """
    profile = profile or active_profile()
    if name == DEFAULT:
        return StackRecord(DEFAULT, profile, dict.fromkeys(NEEDED, DEFAULT))
    path = files.stack_file(profile, name)
    data = files.read_yaml(path, keys=_STACK_KEYS)
    if data is None:
        raise NotFoundError("stack", name, known=stack_names(profile))
    return StackRecord(
        name,
        profile,
        checked_components(data.get("components", {}), str(path)),
        data.get("reference"),
        is_trusted=data.get("trusted") is True,
    )


def checked_components(entries: Mapping[object, object], where: str) -> dict[str, str]:
    """Return the names of a stack's components by kind, in the order of `KINDS`.

    Raises:
        IntegrityError: an entry isn't a kind and a name, or a needed kind is missing.
    """
    names: dict[str, str] = {}
    for kind, name in entries.items():
        if kind not in files.KINDS or not isinstance(name, str):
            raise IntegrityError(
                f"{where}: 'components' can't have the entry '{kind}: {name}'.",
                why="Each entry is a kind of component and the name of a registered component.",
                hint=f"Kinds: {', '.join(files.KINDS)}.",
            )
        names[str(kind)] = name
    missing = [kind for kind in NEEDED if kind not in names]
    if missing:
        raise IntegrityError(f"{where}: the stack has no {' and no '.join(missing)}.")
    return {kind: names[kind] for kind in files.KINDS if kind in names}


def list_stacks(profile: str | None = None) -> list[StackRecord]:
    """Return a profile's stacks; one with a corrupt file is listed with its problem."""
    profile = profile or active_profile()
    records = []
    for name in stack_names(profile):
        try:
            records.append(read_stack(name, profile=profile))
        except IntegrityError as error:
            records.append(StackRecord(name, profile, problem=str(error)))
    return records


def get_stack(name: str, *, profile: str | None = None) -> StackSpec:
    """Return a stack with its components, whose settings are validated.

    Raises:
        NotFoundError: the stack, or a component of it, doesn't exist.
        IntegrityError: a file of it is corrupt.
        UsageError: a component's settings are wrong.
    """
    from rayform_runtime.components import ComponentKind, StackSpec

    record = read_stack(name, profile=profile)
    specs = {
        ComponentKind(kind): components.to_component_spec(components.read_component(kind, component))
        for kind, component in record.components.items()
    }
    return StackSpec(
        name=record.name, components=specs, reference=record.reference, is_trusted=record.is_trusted
    )


def write(record: StackRecord) -> None:
    """Write a stack's registration; the caller holds the registry's lock."""
    files.write_yaml(
        files.stack_file(record.profile, record.name),
        {
            "name": record.name,
            "components": dict(record.components),
            "reference": record.reference,
            **({"trusted": True} if record.is_trusted else {}),
        },
    )
