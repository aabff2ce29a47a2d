"""Stacks as one YAML document, to carry to another machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayform.stacks import components, files
from rayform.stacks.profiles import DEFAULT, active_profile
from rayform.stacks.registered import StackRecord, checked_components, read_stack, stack_names, write
from rayform_core.errors import ConflictError, IntegrityError, UsageError

__all__ = [
    "export_requirements",
    "export_stack",
    "import_stack",
]

_EXPORT_KEYS: dict[str, type | tuple[type, ...]] = {
    "rayform_stack": int,
    "name": str,
    "components": dict,
    "reference": str,
}


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
        write(stack)
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
    checked_components({r.kind: r.name for r in records}, where)
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
