"""Registered stacks as their files hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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

_STACK_KEYS: dict[str, type | tuple[type, ...]] = {"name": str, "components": dict, "reference": str}
NEEDED = ("orchestrator", "artifact-store", "catalog")


@dataclass(frozen=True, slots=True)
class StackRecord:
    """A stack as its file holds it.

    Args:
        name: unique in its profile.
        profile: the profile that it is in.
        components: the component's name by kind.
        reference: unique reference of a deployed stack, which tags its cloud resources.
        problem: why its file can't be used; then it has no components.
    """

    name: str
    profile: str
    components: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None
    problem: str | None = None


def stack_names(profile: str | None = None) -> list[str]:
    """Return the names of a profile's stacks (the active profile's unless told), `default` first."""
    found = files.names_in(files.stacks_folder(profile or active_profile()))
    return [DEFAULT, *(name for name in found if name != DEFAULT)]


def read_stack(name: str, *, profile: str | None = None) -> StackRecord:
    """Return a stack as its file holds it; quick, and without loading its components.

    Raises:
        NotFoundError: there is none; names its neighbours.
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
        name, profile, checked_components(data.get("components", {}), str(path)), data.get("reference")
    )


def checked_components(named: Mapping[Any, Any], where: str) -> dict[str, str]:
    for kind, component in named.items():
        if kind not in files.KINDS or not isinstance(component, str):
            raise IntegrityError(
                f"{where}: 'components' holds '{kind}: {component}'.",
                why="It maps kinds of components to the names of registered ones.",
                hint=f"Kinds: {', '.join(files.KINDS)}.",
            )
    missing = [kind for kind in NEEDED if kind not in named]
    if missing:
        raise IntegrityError(f"{where}: the stack has no {' and no '.join(missing)}.")
    return {kind: named[kind] for kind in files.KINDS if kind in named}


def list_stacks(profile: str | None = None) -> list[StackRecord]:
    """Return a profile's stacks; one whose file is corrupt is there with its problem."""
    profile = profile or active_profile()
    found = []
    for name in stack_names(profile):
        try:
            found.append(read_stack(name, profile=profile))
        except IntegrityError as error:
            found.append(StackRecord(name, profile, problem=str(error)))
    return found


def get_stack(name: str, *, profile: str | None = None) -> StackSpec:
    """Return a stack, whole: with its components' settings validated.

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
    return StackSpec(name=record.name, components=specs, reference=record.reference)


def write(record: StackRecord) -> None:
    files.write_yaml(
        files.stack_file(record.profile, record.name),
        {"name": record.name, "components": dict(record.components), "reference": record.reference},
    )
