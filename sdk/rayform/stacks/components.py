"""Registered components: named settings of an orchestrator, a store, a registry or a catalog, one file each.

Reading names and flavors stays free of pydantic; settings are validated by their flavor's model where they are
registered, and again where a stack is built from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rayform.stacks import files
from rayform_core.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from rayform_core.files import home

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

_KEYS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "kind": str,
    "flavor": str,
    "config": dict,
    "reference": str,
}
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class ComponentRecord:
    """A component as its file holds it.

    Args:
        name: unique among its kind.
        kind: `orchestrator`, `artifact-store`, `container-registry` or `catalog`.
        flavor: which implementation.
        config: its settings; no secret is ever among them.
        reference: of the deployed stack that made it, or `None` where a person registered it.
        problem: why its file can't be used; then `flavor` and `config` are empty.
    """

    name: str
    kind: str
    flavor: str
    config: Mapping[str, Any] = field(default_factory=dict)
    reference: str | None = None
    problem: str | None = None


def builtin_component(kind: str) -> ComponentRecord | None:
    """Return the `default` component of a kind, which needs no file; there is no default registry."""
    local = home() / "local"
    builtin: dict[str, tuple[str, dict[str, Any]]] = {
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
        NotFoundError: there is none of this name; names its neighbours.
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
    """Return all components, of one kind where told; one whose file is corrupt is there with its problem."""
    found = []
    for each in files.KINDS if kind is None else (files.check_kind(kind),):
        for name in component_names(each):
            try:
                found.append(read_component(each, name))
            except IntegrityError as error:
                found.append(ComponentRecord(name, each, "", problem=str(error)))
    return found


def to_component_spec(record: ComponentRecord) -> ComponentSpec:
    """Turn a record into what a stack's JSON holds; its settings are validated.

    Raises:
        NotFoundError, UsageError: unknown flavor, wrong settings.
    """
    from rayform_runtime.components import ComponentKind, ComponentSpec

    spec = ComponentSpec(
        name=record.name, kind=ComponentKind(record.kind), flavor=record.flavor, config=dict(record.config)
    )
    spec.validated_config()
    return spec


def validated(record: ComponentRecord) -> ComponentRecord:
    """Return the record with its settings parsed, in plain JSON types, without those left unset."""
    _refuse_passwords(record)
    model = to_component_spec(record).validated_config()
    parsed = model.model_dump(mode="json", exclude_unset=True)
    return ComponentRecord(record.name, record.kind, record.flavor, parsed, record.reference)


def _refuse_passwords(record: ComponentRecord) -> None:
    for key, value in record.config.items():
        if isinstance(value, str) and "://" in value:
            try:
                secret = urlsplit(value).password
            except ValueError:
                continue
            if secret:
                raise UsageError(
                    f"Setting '{key}' of {record.kind} '{record.name}' has a password in its URL.",
                    why="Registered components never hold secrets: their files are shown, exported and copied.",
                    hint="Leave it out; credentials come from the cloud's own chain, or from `password_env` or "
                    "`password_secret` where a flavor has them.",
                )


def check_component(record: ComponentRecord) -> None:
    """Prove that what the component names can be reached and used.

    Raises:
        RayformError: what is wrong and what to do about it.
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
    config: Mapping[str, Any] | None = None,
    reference: str | None = None,
    check: bool = True,
) -> ComponentRecord:
    """Register a component.

    Args:
        kind: its kind.
        name: its name, unique among its kind.
        flavor: which implementation; see `rayform flavor list`.
        config: its settings, validated by the flavor's model.
        reference: of the deployed stack that made it.
        check: reach it first, and register nothing where that fails.

    Returns:
        The record, as `read_component` gives it from now on.

    Raises:
        ConflictError: the name is taken.
        UsageError, NotFoundError: wrong name, flavor or settings.
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
            hint=f"Take another name, or change it: rayform {record.kind} update {record.name} …",
        )


def write_component(record: ComponentRecord) -> None:
    """Write a validated record to its file; the caller holds the registry's lock."""
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
    kind: str, name: str, config: Mapping[str, Any], *, check: bool = True
) -> ComponentRecord:
    """Change some settings of a component; a value of `None` takes one away.

    Raises:
        UsageError: it is built in, or the settings are wrong.
        RayformError: it can't be reached with the new settings; nothing was changed.
    """
    _refuse_builtin(kind, name)
    old = read_component(kind, name)
    merged = {k: v for k, v in {**old.config, **config}.items() if v is not None}
    record = validated(ComponentRecord(old.name, old.kind, old.flavor, merged, old.reference))
    if check:
        check_component(record)  # before the lock is taken: it may wait for a network
    with files.registry_lock():
        if read_component(kind, name) != old:
            raise ConflictError(
                f"The {old.kind} '{name}' was changed by another process meanwhile.",
                hint="Look at it and try again.",
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
    """Forget a component. What it names (bucket, cluster, database) is left as it is.

    Raises:
        ConflictError: a stack uses it.
        UsageError: it is built in.
        NotFoundError: there is none.
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
                hint="Give them another one with `rayform stack update`, or delete them first.",
            )
        files.remove_file(files.component_file(kind, name))


def _refuse_builtin(kind: str, name: str) -> None:
    if name == DEFAULT and builtin_component(files.check_kind(kind)):
        raise UsageError(
            f"The {kind} 'default' is built in and can't be changed.",
            hint=f"Register one of your own: rayform {kind} register NAME --flavor …",
        )
