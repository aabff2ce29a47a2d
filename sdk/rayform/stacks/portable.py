"""Stacks as one YAML document, for other machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from rayform.stacks import components, files
from rayform.stacks.profiles import DEFAULT, active_profile
from rayform.stacks.reach import Reached, reached_by, refuse_foreign_names
from rayform.stacks.registered import StackRecord, checked_components, read_stack, stack_names, write
from rayform_core.errors import ConflictError, IntegrityError, UsageError

__all__ = [
    "export_requirements",
    "export_stack",
    "import_stack",
]

_EXPORT_KEYS: files.Keys = {
    "rayform_stack": int,
    "name": str,
    "components": dict,
    "reference": str,
}


def export_stack(name: str) -> str:
    """Return a stack and its components as one YAML document, without secrets.

    Example:
        >>> print(export_stack("default"))  # doctest: +SKIP
    """
    import yaml

    record = read_stack(name)
    exported: dict[str, object] = {}
    for kind, component_name in record.components.items():
        component = components.read_component(kind, component_name)
        if component == components.builtin_component(kind):
            # Export only the name: on another machine it refers to the built-in component of that machine.
            exported[kind] = {"name": DEFAULT}
        else:
            exported[kind] = {
                "name": component.name,
                "flavor": component.flavor,
                "config": dict(component.config),
            }
    document: dict[str, object] = {"rayform_stack": 1, "name": name, "components": exported}
    if record.reference:
        document["reference"] = record.reference
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def import_stack(
    text: str,
    *,
    name: str | None = None,
    where: str = "the imported text",
    allow: Iterable[str] = (),
    confirm: Callable[[str, list[Reached]], None] = lambda name, reached: None,
) -> StackRecord:
    """Register a stack and its components from the text of `export_stack`.

    A component that is already registered with the same flavor and settings is used as it is.

    Args:
        text: the YAML.
        name: the stack's name; by default the exported one.
        where: where the text comes from, for errors.
        allow: variables, secrets and hosts that the stack may use although they aren't Rayform's own, or are reached
            without encryption.
        confirm: called with the stack's name and with the hosts, variables, secrets and files that it would use,
            before anything is registered; raises if the user says no.

    Raises:
        UsageError: the text isn't an exported stack, a part of it is wrong, or it names a variable, secret or host
            that isn't allowed.
        ConflictError: another stack has the name, or a component of this name has other settings. Nothing was
            changed.
    """
    try:
        data = files.parse_yaml(text, where, keys=_EXPORT_KEYS)
    except IntegrityError as error:
        raise UsageError(error.message, why=error.why) from error
    if data.get("rayform_stack") != 1:
        raise UsageError(
            f"{where} isn't an exported stack that this version of Rayform reads.",
            why=f"It has `rayform_stack: {data.get('rayform_stack')}`, not 1.",
            hint="Export it with `rayform stack export NAME`. Use the same version of Rayform on both machines.",
        )
    name = name or str(data.get("name", ""))
    records = _imported_components(data.get("components", {}), where)
    files.check_name("stack", name)
    foreign = [record for record in records if record != components.builtin_component(record.kind)]
    refuse_foreign_names(foreign, allow, where)
    confirm(name, reached_by(foreign))
    with files.registry_lock():
        profile = active_profile()
        if name in stack_names(profile):
            raise ConflictError(
                f"There is a stack '{name}' already.", hint="Choose another name with --name."
            )
        for record in [record for record in records if _is_new(record)]:
            components.write_component(record)
        stack = StackRecord(name, profile, {r.kind: r.name for r in records}, data.get("reference"))
        write(stack)
    return stack


def _is_new(record: components.ComponentRecord) -> bool:
    """Whether an imported component isn't registered yet; refuse one that differs from the registered one."""
    if record.name not in components.component_names(record.kind):
        return True
    old = components.read_component(record.kind, record.name)
    if (old.flavor, dict(old.config)) != (record.flavor, dict(record.config)):
        raise ConflictError(
            f"There is a {record.kind} '{record.name}' already, with other settings.",
            hint="Rename it in the exported file, or delete the registered one if nothing uses it.",
        )
    return False


def _imported_components(bodies: Mapping[object, object], where: str) -> list[components.ComponentRecord]:
    records = []
    for kind, body in bodies.items():
        if not isinstance(body, dict) or set(body) - {"name", "flavor", "config"} or "name" not in body:
            raise UsageError(
                f"{where}: component '{kind}' must have `name`, `flavor` and `config`, and no other keys."
            )
        kind = files.check_kind(str(kind))
        component_name = files.check_name(kind, str(body["name"]))
        builtin = components.builtin_component(kind)
        if component_name == DEFAULT and builtin:
            records.append(builtin)
        else:
            record = components.ComponentRecord(
                component_name, kind, str(body.get("flavor", "")), dict(body.get("config") or {})
            )
            records.append(components.validated(record))
    checked_components({r.kind: r.name for r in records}, where)
    return records


def export_requirements(name: str) -> list[str]:
    """Return the pip requirements of a stack.

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
    selected = f"[{','.join(sorted(e for e in extras if e))}]" if extras else ""
    return [f"rayform{selected}=={__version__}"]
