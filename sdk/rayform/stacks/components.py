"""Registered components: named settings of an orchestrator, a store, a registry or a catalog, one file each.

Reading names and flavors doesn't import pydantic. The model of a flavor validates settings when they are registered,
and again when a stack is built from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rayform.stacks import files
from rayform_core.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from rayform_core.files import home
from rayform_core.secret_rules import is_secret_value

if TYPE_CHECKING:
    from rayform_runtime.components import ComponentSpec

__all__ = [
    "ComponentRecord",
    "builtin_component",
    "check_component",
    "component_names",
    "delete_component",
    "list_components",
    "read_component",
    "register_component",
    "to_component_spec",
    "update_component",
    "users_of_component",
    "validated",
    "write_component",
]

_KEYS: files.Keys = {
    "name": str,
    "kind": str,
    "flavor": str,
    "config": dict,
    "reference": str,
}
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class ComponentRecord:
    """The registration of a component.

    Args:
        name: unique among the components of its kind.
        kind: `orchestrator`, `artifact-store`, `container-registry` or `catalog`.
        flavor: its implementation.
        config: its settings; they never hold a secret.
        reference: reference of the deployed stack that it belongs to, or `None` if a user registered it.
        problem: why its file can't be used; then `flavor` and `config` are empty.
    """

    name: str
    kind: str
    flavor: str
    config: Mapping[str, object] = field(default_factory=dict)
    reference: str | None = None
    problem: str | None = None


def builtin_component(kind: str) -> ComponentRecord | None:
    """Return the `default` component of a kind, which needs no file; `None` for container registries."""
    local = home() / "local"
    builtin: dict[str, tuple[str, dict[str, object]]] = {
        "orchestrator": ("local", {}),
        "artifact-store": ("local", {"path": str(local / "artifacts")}),
        "catalog": ("sqlite", {"path": str(local / "catalog.db")}),
    }
    if kind not in builtin:
        return None
    flavor, config = builtin[kind]
    return ComponentRecord(DEFAULT, kind, flavor, config)


def component_names(kind: str) -> list[str]:
    """Return the names of the components of a kind, the `default` one first."""
    kind = files.check_kind(kind)
    first = [DEFAULT] if builtin_component(kind) else []
    return first + [n for n in files.names_in(home() / "components" / kind) if n not in first]


def read_component(kind: str, name: str) -> ComponentRecord:
    """Return a registered component.

    Raises:
        NotFoundError: there is no such component; names the nearest ones.
        IntegrityError: its file is corrupt.
    """
    kind = files.check_kind(kind)
    if name == DEFAULT and (builtin := builtin_component(kind)):
        return builtin
    path = files.component_file(kind, name)
    data = files.read_yaml(path, keys=_KEYS)
    if data is None:
        raise NotFoundError(kind, name, known=component_names(kind))
    if "flavor" not in data:
        raise IntegrityError(f"'{path}' names no flavor.", hint="Add a line such as `flavor: s3`.")
    return ComponentRecord(name, kind, data["flavor"], data.get("config", {}), data.get("reference"))


def list_components(kind: str | None = None) -> list[ComponentRecord]:
    """Return all components, or those of one kind; one with a corrupt file is listed with its problem."""
    records = []
    for each in files.KINDS if kind is None else (files.check_kind(kind),):
        for name in component_names(each):
            try:
                records.append(read_component(each, name))
            except IntegrityError as error:
                records.append(ComponentRecord(name, each, "", problem=str(error)))
    return records


def to_component_spec(record: ComponentRecord) -> ComponentSpec:
    """Turn a registration into a part of a stack's JSON, and validate its settings.

    Raises:
        NotFoundError: the flavor is unknown.
        UsageError: the settings are wrong.
    """
    from rayform_runtime.components import ComponentKind, ComponentSpec

    spec = ComponentSpec(
        name=record.name, kind=ComponentKind(record.kind), flavor=record.flavor, config=dict(record.config)
    )
    spec.validated_config()
    return spec


def validated(record: ComponentRecord) -> ComponentRecord:
    """Return the registration with its settings validated and as JSON types, without unset ones."""
    _refuse_passwords(record)
    model = to_component_spec(record).validated_config()
    parsed = model.model_dump(mode="json", exclude_unset=True)
    return ComponentRecord(record.name, record.kind, record.flavor, parsed, record.reference)


def _refuse_passwords(record: ComponentRecord) -> None:
    for key, value in record.config.items():
        if is_secret_value(value):
            raise UsageError(
                f"Setting '{key}' of {record.kind} '{record.name}' has a password in its URL.",
                why="Registered components never hold secrets, because their files are shown, exported and copied.",
                hint="Leave the password out. Credentials come from the cloud's credential chain, or from "
                "`password_env` or `password_secret` if the flavor has them.",
            )


def check_component(record: ComponentRecord) -> None:
    """Check that a component can be reached and used.

    Raises:
        RayformError: it can't; says why, and what to do.
    """
    from rayform_runtime.components import ComponentKind, Stack, StackSpec

    kind = ComponentKind(record.kind)
    stack = Stack(StackSpec(name=record.name, components={kind: to_component_spec(record)}))
    try:
        getattr(stack, kind.name.lower()).check()
    finally:
        stack.close()


def register_component(
    kind: str,
    name: str,
    *,
    flavor: str,
    config: Mapping[str, object] | None = None,
    reference: str | None = None,
    check: bool = True,
) -> ComponentRecord:
    """Register a component.

    Args:
        kind: its kind.
        name: its name, unique among the components of its kind.
        flavor: its implementation; see `rayform flavor list`.
        config: its settings, validated by the flavor's model.
        reference: reference of the deployed stack that it belongs to.
        check: check first that it can be reached, and register nothing if it can't.

    Returns:
        The registration.

    Raises:
        ConflictError: another component of this kind has the name.
        UsageError: the name or the settings are wrong.
        NotFoundError: the flavor is unknown.
        RayformError: it can't be reached.

    Example:
        >>> register_component("artifact-store", "s3-prod", flavor="s3", config={"bucket": "b-1"})  # doctest: +SKIP
    """
    kind = files.check_kind(kind)
    record = validated(
        ComponentRecord(files.check_name(kind, name), kind, flavor, dict(config or {}), reference)
    )
    _refuse_taken(record)
    if check:
        check_component(record)
    with files.registry_lock():
        _refuse_taken(record)
        write_component(record)
    return record


def _refuse_taken(record: ComponentRecord) -> None:
    if record.name in component_names(record.kind):
        raise ConflictError(
            f"There is a {record.kind} '{record.name}' already.",
            hint=f"Choose another name, or change that one: rayform {record.kind} update {record.name} …",
        )


def write_component(record: ComponentRecord) -> None:
    """Write a validated registration to its file; the caller holds the registry's lock."""
    files.write_yaml(
        files.component_file(record.kind, record.name),
        {
            "name": record.name,
            "kind": record.kind,
            "flavor": record.flavor,
            "config": dict(record.config),
            "reference": record.reference,
        },
    )


def update_component(
    kind: str, name: str, config: Mapping[str, object], *, check: bool = True
) -> ComponentRecord:
    """Change some settings of a component; a value of `None` removes a setting.

    Raises:
        UsageError: it is built in, or the settings are wrong.
        RayformError: it can't be reached with the new settings; nothing was changed.
    """
    _refuse_builtin(kind, name)
    old = read_component(kind, name)
    merged = {k: v for k, v in {**old.config, **config}.items() if v is not None}
    record = validated(ComponentRecord(old.name, old.kind, old.flavor, merged, old.reference))
    if check:
        check_component(record)  # before taking the lock, since it may wait for a network
    with files.registry_lock():
        if read_component(kind, name) != old:
            raise ConflictError(
                f"Another process changed the {old.kind} '{name}' meanwhile.",
                hint=f"See its settings and try again: rayform {old.kind} describe {name}",
            )
        write_component(record)
    return record


def users_of_component(kind: str, name: str) -> list[str]:
    """Return the stacks that use a component, as `profile/stack`."""
    from rayform import stacks

    return [
        f"{stack.profile}/{stack.name}"
        for profile in stacks.list_profiles()
        for stack in stacks.list_stacks(profile)
        if stack.components.get(kind) == name
    ]


def delete_component(kind: str, name: str) -> None:
    """Remove a component's registration. Its bucket, cluster or database stays.

    Raises:
        ConflictError: a stack uses it.
        UsageError: it is built in.
        NotFoundError: there is no such component.
    """
    kind = files.check_kind(kind)
    _refuse_builtin(kind, name)
    with files.registry_lock():
        if name not in component_names(kind):
            raise NotFoundError(kind, name, known=component_names(kind))
        if users := users_of_component(kind, name):
            raise ConflictError(
                f"The {kind} '{name}' is in use.",
                why=f"Stacks that use it: {', '.join(users)}.",
                hint="Change these stacks with `rayform stack update`, or delete them first.",
            )
        files.remove_file(files.component_file(kind, name))


def _refuse_builtin(kind: str, name: str) -> None:
    if name == DEFAULT and builtin_component(files.check_kind(kind)):
        raise UsageError(
            f"The {kind} 'default' is built in and can't be changed.",
            hint=f"Register your own: rayform {kind} register NAME --flavor …",
        )
