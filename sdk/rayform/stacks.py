"""Registered stacks and profiles, and which stack is active.

A stack is a file in its profile's folder that names one component of each kind. The `default` stack (local
orchestrator, store and catalog under `$RAYFORM_HOME/local`) is always there and needs no file.

Which stack is active, the first that is set: the `--stack` option or the `name` argument, `$RAYFORM_STACK`,
the pin of the working folder or the nearest one above it (`rayform stack set NAME --here`), the active stack of
the profile, `default`. The profile likewise: `$RAYFORM_PROFILE`, the pin, the one set with
`rayform profile set`, `default`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayform import registered_components as components
from rayform import registry_files as files
from rayform_core.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from rayform_core.files import home, storage_error

if TYPE_CHECKING:
    from rayform_runtime.components import StackSpec

__all__ = [
    "ActiveStack",
    "StackRecord",
    "active_profile",
    "active_stack",
    "active_stack_name",
    "copy_stack",
    "create_profile",
    "delete_profile",
    "delete_stack",
    "export_requirements",
    "export_stack",
    "get_stack",
    "import_stack",
    "list_profiles",
    "list_stacks",
    "read_stack",
    "register_deployed",
    "register_stack",
    "rename_stack",
    "set_active_profile",
    "set_active_stack",
    "stack_names",
    "unregister_deployed",
    "update_stack",
]

DEFAULT = "default"
_STACK_KEYS: dict[str, type | tuple[type, ...]] = {"name": str, "components": dict, "reference": str}
_POINTER_KEYS: dict[str, type | tuple[type, ...]] = {"stack": str, "profile": str}
_EXPORT_KEYS: dict[str, type | tuple[type, ...]] = {
    "rayform_stack": int,
    "name": str,
    "components": dict,
    "reference": str,
}
_NEEDED = ("orchestrator", "artifact-store", "catalog")


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


@dataclass(frozen=True, slots=True)
class ActiveStack:
    """The active stack's name and who said so: an option, a variable, a pin file, or the profile."""

    name: str
    profile: str
    source: str


# -- which is active --------------------------------------------------------------------------------------


def active_profile() -> str:
    """Return the active profile's name.

    Raises:
        NotFoundError: what is set doesn't exist.
    """
    return _profile()[0]


def _profile() -> tuple[str, str]:
    """Return the active profile and where it was set."""
    if chosen := os.environ.get("RAYFORM_PROFILE"):
        source = "$RAYFORM_PROFILE"
    elif (pin := files.find_pin()) and (chosen := _pointer(pin).get("profile")):
        source = str(pin)
    elif chosen := _pointer(files.settings_file()).get("profile"):
        source = str(files.settings_file())
    else:
        return DEFAULT, "built in"
    if chosen not in list_profiles():
        raise NotFoundError("profile", chosen, known=list_profiles(), why=f"It is set by {source}.")
    return chosen, source


def _pointer(path: Path) -> dict[str, Any]:
    return files.read_yaml(path, keys=_POINTER_KEYS) or {}


def active_stack_name(name: str | None = None) -> ActiveStack:
    """Return which stack is active and who said so; it may not exist (`read_stack` tells).

    Args:
        name: a stack that was named for this once, such as by `--stack`.
    """
    profile, _ = _profile()
    if name:
        return ActiveStack(name, profile, "named here")
    if chosen := os.environ.get("RAYFORM_STACK"):
        return ActiveStack(chosen, profile, "$RAYFORM_STACK")
    if (pin := files.find_pin()) and (chosen := _pointer(pin).get("stack")):
        return ActiveStack(chosen, profile, str(pin))
    pointer = files.profile_file(profile)
    if chosen := _pointer(pointer).get("stack"):
        return ActiveStack(chosen, profile, f"profile '{profile}'")
    return ActiveStack(DEFAULT, profile, "built in")


def active_stack(name: str | None = None) -> StackSpec:
    """Return the active stack, whole.

    Args:
        name: a stack to take instead, such as the one of `--stack`.

    Raises:
        NotFoundError: the stack, or a component of it, doesn't exist.
        IntegrityError: a file of it is corrupt.

    Example:
        >>> from rayform_runtime.components import Stack
        >>> Stack(active_stack()).catalog.list_runs()  # doctest: +SKIP
    """
    active = active_stack_name(name)
    try:
        return get_stack(active.name, profile=active.profile)
    except NotFoundError as error:
        if error.kind == "stack" and active.source != "named here":
            error.why = f"It is set as the active stack by {active.source}."
        raise


def set_active_stack(name: str, *, here: Path | None = None) -> Path:
    """Make a stack the active one of the active profile, or of a folder.

    Args:
        name: the stack.
        here: pin it for this folder and all below it instead.

    Returns:
        The file that now says so.

    Raises:
        NotFoundError: there is no such stack.
    """
    with files.registry_lock():
        stack = read_stack(name)
        if here is None:
            path = files.profile_file(stack.profile)
            pointer = {"stack": name}
        else:
            path = files.pin_file(here.absolute())
            if path.parent == home():
                raise UsageError(
                    f"'{here}' can't pin a stack.",
                    why=f"Its folder '{path.parent}' is the registry itself.",
                    hint=f"Run `rayform stack set {name}` without --here.",
                )
            pointer = {**_pointer(path), "stack": name}
            if stack.profile != DEFAULT:
                pointer["profile"] = stack.profile
        files.write_yaml(path, pointer)
    return path


# -- profiles ---------------------------------------------------------------------------------------------


def list_profiles() -> list[str]:
    """Return the profiles' names, `default` first."""
    folder = home() / "profiles"
    try:
        found = sorted(e.name for e in folder.iterdir() if e.is_dir())
    except FileNotFoundError:
        found = []
    except OSError as error:
        raise storage_error(error, folder) from error
    return [DEFAULT, *(name for name in found if name != DEFAULT)]


def create_profile(name: str) -> None:
    """Make a profile, with `default` as its active stack.

    Raises:
        ConflictError: there is one of this name.
    """
    with files.registry_lock():
        path = files.profile_file(name)
        if name in list_profiles():
            raise ConflictError(
                f"There is a profile '{name}' already.", hint=f"Use it: rayform profile set {name}"
            )
        files.write_yaml(path, {"stack": DEFAULT})


def set_active_profile(name: str) -> None:
    """Make a profile the active one.

    Raises:
        NotFoundError: there is none.
    """
    with files.registry_lock():
        if name not in list_profiles():
            raise NotFoundError("profile", name, known=list_profiles())
        files.write_yaml(files.settings_file(), {"profile": name})


def delete_profile(name: str) -> None:
    """Delete a profile without stacks.

    Raises:
        ConflictError: it is active or has stacks.
        UsageError: it is the `default` one.
    """
    with files.registry_lock():
        if name == DEFAULT:
            raise UsageError("The profile 'default' is always there.")
        if name not in list_profiles():
            raise NotFoundError("profile", name, known=list_profiles())
        if name == active_profile():
            raise ConflictError(
                f"The profile '{name}' is active.", hint="Set another first: rayform profile set default"
            )
        if held := files.names_in(files.stacks_folder(name)):
            raise ConflictError(f"The profile '{name}' has stacks.", why=f"They are: {', '.join(held)}.")
        folder = files.profile_file(name).parent
        files.remove_file(folder / "profile.yaml")
        try:
            if (folder / "stacks").is_dir():
                (folder / "stacks").rmdir()
            folder.rmdir()
        except OSError as error:
            raise storage_error(error, folder) from error


# -- reading ----------------------------------------------------------------------------------------------


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
        return StackRecord(DEFAULT, profile, dict.fromkeys(_NEEDED, DEFAULT))
    path = files.stack_file(profile, name)
    data = files.read_yaml(path, keys=_STACK_KEYS)
    if data is None:
        raise NotFoundError("stack", name, known=stack_names(profile))
    return StackRecord(
        name, profile, _checked_components(data.get("components", {}), str(path)), data.get("reference")
    )


def _checked_components(named: Mapping[Any, Any], where: str) -> dict[str, str]:
    for kind, component in named.items():
        if kind not in files.KINDS or not isinstance(component, str):
            raise IntegrityError(
                f"{where}: 'components' holds '{kind}: {component}'.",
                why="It maps kinds of components to the names of registered ones.",
                hint=f"Kinds: {', '.join(files.KINDS)}.",
            )
    missing = [kind for kind in _NEEDED if kind not in named]
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


# -- changing ---------------------------------------------------------------------------------------------


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
        orchestrator, artifact_store, catalog: names of registered components; the local ones unless told.
        container_registry: name of a registered registry; needed where steps run in images.
        reference: unique reference of a deployed stack.

    Raises:
        ConflictError: the name is taken.
        NotFoundError: a component isn't registered.
    """
    with files.registry_lock():
        profile = active_profile()
        files.check_name("stack", name)
        if name in stack_names(profile):
            raise ConflictError(
                f"There is a stack '{name}' already.",
                hint=f"Take another name, or change it: rayform stack update {name} …",
            )
        named = {
            "orchestrator": orchestrator,
            "artifact-store": artifact_store,
            "container-registry": container_registry,
            "catalog": catalog,
        }
        record = StackRecord(name, profile, _existing(named), reference)
        _write(record)
    return record


def _existing(named: Mapping[str, str | None]) -> dict[str, str]:
    chosen = {kind: component for kind, component in named.items() if component is not None}
    for kind, component in chosen.items():
        components.read_component(kind, component)
    return chosen


def _write(record: StackRecord) -> None:
    files.write_yaml(
        files.stack_file(record.profile, record.name),
        {"name": record.name, "components": dict(record.components), "reference": record.reference},
    )


def update_stack(name: str, *, remove_container_registry: bool = False, **changes: str | None) -> StackRecord:
    """Give a stack other components.

    Args:
        name: the stack.
        remove_container_registry: leave it without a registry.
        changes: `orchestrator`, `artifact_store`, `container_registry`, `catalog`: names of registered
            components; those left out, or `None`, stay.

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
            name, old.profile, {k: merged[k] for k in files.KINDS if k in merged}, old.reference
        )
        _write(record)
    return record


def rename_stack(name: str, new_name: str) -> StackRecord:
    """Give a stack another name; if it is active it stays so.

    Raises:
        ConflictError: the new name is taken, or a pin or variable names it by the old one.
        UsageError: it is the `default` stack, or the new name is no name.
    """
    _refuse_default(name, "renamed", "Copy it: rayform stack copy default NAME")
    with files.registry_lock():
        active = active_stack_name()
        if active.name == name and not active.source.startswith("profile "):
            raise ConflictError(
                f"The stack '{name}' is active by {active.source}, which would then name no stack.",
                hint=f"Unset it first; afterwards let it name '{new_name}'.",
            )
        record = _copy(name, new_name, keep_reference=True)
        pointer = files.profile_file(record.profile)
        if _pointer(pointer).get("stack") == name:
            files.write_yaml(pointer, {"stack": new_name})
        files.remove_file(files.stack_file(record.profile, name))
    return record


def copy_stack(name: str, new_name: str) -> StackRecord:
    """Register a second stack with the same components; it isn't tied to the deployment of the first.

    Raises:
        ConflictError: the new name is taken.
    """
    with files.registry_lock():
        return _copy(name, new_name, keep_reference=False)


def _copy(name: str, new_name: str, *, keep_reference: bool) -> StackRecord:
    old = read_stack(name)
    files.check_name("stack", new_name)
    if new_name in stack_names(old.profile):
        raise ConflictError(f"There is a stack '{new_name}' already.", hint="Take another name.")
    record = StackRecord(new_name, old.profile, old.components, old.reference if keep_reference else None)
    _write(record)
    return record


def delete_stack(name: str, *, with_components: bool = False) -> list[str]:
    """Forget a stack. What it stands for (cluster, bucket, database) is left as it is.

    Args:
        name: the stack.
        with_components: also forget those of its components that no other stack uses.

    Returns:
        The forgotten components, as `kind/name`.

    Raises:
        ConflictError: it is the active stack, or a deployed one whose infrastructure is still there.
        UsageError: it is the `default` stack.
        NotFoundError: there is none.
    """
    _refuse_default(name, "deleted", None)
    with files.registry_lock():
        stack = read_stack(name)
        active = active_stack_name()
        if name in (active.name, _pointer(files.profile_file(stack.profile)).get("stack")):
            source = active.source if active.name == name else f"profile '{stack.profile}'"
            raise ConflictError(
                f"The stack '{name}' is active.",
                why=f"It is set by {source}.",
                hint="Set another first: rayform stack set default",
            )
        files.remove_file(files.stack_file(stack.profile, name))
        return _forget_unused(stack) if with_components else []


def _forget_unused(stack: StackRecord) -> list[str]:
    forgotten = []
    for kind, component in stack.components.items():
        builtin = component == DEFAULT and components.builtin_component(kind) is not None
        if not builtin and not components.users_of_component(kind, component):
            files.remove_file(files.component_file(kind, component))
            forgotten.append(f"{kind}/{component}")
    return forgotten


def _refuse_default(name: str, verb: str, hint: str | None) -> None:
    if name == DEFAULT:
        raise UsageError(f"The stack 'default' is built in and can't be {verb}.", hint=hint)


# -- in and out -------------------------------------------------------------------------------------------


def export_stack(name: str) -> str:
    """Return a stack and its components as one YAML document; it holds no secret.

    Example:
        >>> print(export_stack("default"))  # doctest: +SKIP
    """
    import yaml

    record = read_stack(name)
    exported: dict[str, Any] = {}
    for kind, component_name in record.components.items():
        component = components.read_component(kind, component_name)
        if component == components.builtin_component(kind):
            # The built-in ones point into this machine's home; elsewhere the name means that machine's own.
            exported[kind] = {"name": DEFAULT}
        else:
            exported[kind] = {
                "name": component.name,
                "flavor": component.flavor,
                "config": dict(component.config),
            }
    document: dict[str, Any] = {"rayform_stack": 1, "name": name, "components": exported}
    if record.reference:
        document["reference"] = record.reference
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def import_stack(text: str, *, name: str | None = None, where: str = "the imported text") -> StackRecord:
    """Register a stack and its components from what `export_stack` made.

    A component that is registered already with the same flavor and settings is used as it is.

    Args:
        text: the YAML.
        name: a name for the stack other than the exported one.
        where: what the text came from, for errors.

    Raises:
        UsageError: it isn't an exported stack, or something in it is wrong.
        ConflictError: the stack's name, or a component's with other settings, is taken. Nothing was changed.
    """
    try:
        data = files.parse_yaml(text, where, keys=_EXPORT_KEYS)
    except IntegrityError as error:
        raise UsageError(error.message, why=error.why) from error
    if data.get("rayform_stack") != 1:
        raise UsageError(
            f"{where} is no exported stack of this version.",
            why=f"It says `rayform_stack: {data.get('rayform_stack')}`, and this version reads 1.",
            hint="Make one with `rayform stack export NAME`, and upgrade Rayform where it is older.",
        )
    chosen = name or str(data.get("name", ""))
    found = _imported_components(data.get("components", {}), where)
    with files.registry_lock():
        profile = active_profile()
        files.check_name("stack", chosen)
        if chosen in stack_names(profile):
            raise ConflictError(
                f"There is a stack '{chosen}' already.", hint="Give another name with --name."
            )
        new = []
        for record in found:
            if record.name not in components.component_names(record.kind):
                new.append(record)
            elif (old := components.read_component(record.kind, record.name)) and (
                (old.flavor, dict(old.config)) != (record.flavor, dict(record.config))
            ):
                raise ConflictError(
                    f"There is a {record.kind} '{record.name}' already, with other settings.",
                    hint="Rename it in the exported file, or delete the registered one if nothing uses it.",
                )
        for record in new:
            components.write_component(record)
        stack = StackRecord(chosen, profile, {r.kind: r.name for r in found}, data.get("reference"))
        _write(stack)
    return stack


def _imported_components(given: Mapping[Any, Any], where: str) -> list[components.ComponentRecord]:
    records = []
    for kind, body in given.items():
        if not isinstance(body, dict) or set(body) - {"name", "flavor", "config"} or "name" not in body:
            raise UsageError(f"{where}: component '{kind}' needs `name`, `flavor` and `config`, and no more.")
        kind = files.check_kind(str(kind))
        named = files.check_name(kind, str(body["name"]))
        builtin = components.builtin_component(kind)
        if named == DEFAULT and builtin:
            records.append(builtin)
        else:
            record = components.ComponentRecord(
                named, kind, str(body.get("flavor", "")), dict(body.get("config") or {})
            )
            records.append(components.validated(record))
    _checked_components({r.kind: r.name for r in records}, where)
    return records


def export_requirements(name: str) -> list[str]:
    """Return the pip requirements that a machine needs to use the stack.

    Example:
        >>> export_requirements("default")
        ['rayform==0.1.0']
    """
    from rayform_core.version import __version__
    from rayform_runtime.components import ComponentKind, flavor

    record = read_stack(name)
    extras = {
        flavor(ComponentKind(kind), components.read_component(kind, component).flavor).extra
        for kind, component in record.components.items()
    } - {None}
    chosen = f"[{','.join(sorted(e for e in extras if e))}]" if extras else ""
    return [f"rayform{chosen}=={__version__}"]


# -- deployed stacks --------------------------------------------------------------------------------------


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
        if name in stack_names(profile) and read_stack(name).reference != reference:
            raise ConflictError(
                f"The name '{name}' belongs to another registered stack.",
                hint=f"Rename that one: rayform stack rename {name} OTHER",
            )
        for record in made:
            if record.name in components.component_names(record.kind):
                old = components.read_component(record.kind, record.name)
                if old.reference != reference:
                    raise ConflictError(
                        f"The name '{name}' belongs to another registered {record.kind}.",
                        hint=f"Delete that one, or deploy under another name: rayform {record.kind} describe {name}",
                    )
        for record in made:
            components.write_component(record)
        named = {**dict.fromkeys(_NEEDED, DEFAULT), **{r.kind: r.name for r in made}}
        stack = StackRecord(name, profile, {k: named[k] for k in files.KINDS if k in named}, reference)
        _write(stack)
        if activate:
            files.write_yaml(files.profile_file(profile), {"stack": name})
    return stack


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
                pointer = files.profile_file(profile)
                if _pointer(pointer).get("stack") == stack.name:
                    files.write_yaml(pointer, {"stack": DEFAULT})
                files.remove_file(files.stack_file(profile, stack.name))
                forgotten.append(f"{profile}/{stack.name}")
        for record in components.list_components():
            if record.reference == reference and not components.users_of_component(record.kind, record.name):
                files.remove_file(files.component_file(record.kind, record.name))
    return forgotten
