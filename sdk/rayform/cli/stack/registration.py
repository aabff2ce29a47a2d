"""The group `rayform stack`, and its commands on registered stacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TextIO, TypeVar

import click

from rayform import stacks
from rayform.cli import LazyGroup
from rayform.cli.names import stack_names
from rayform.cli.options import confirm, yes_option
from rayform.cli.output import (
    Column,
    echo,
    emit_list,
    json_option,
    plain,
    print_json,
    print_pairs,
    use_colour,
)
from rayform.stacks import components
from rayform.stacks.reach import Reached

__all__ = ["DEPLOYED", "stack"]

R = TypeVar("R")

DEPLOYED: dict[str, tuple[str, str]] = {
    "init": ("rayform.cli.stack.lifecycle:init", "Write a commented stack definition."),
    "validate": ("rayform.cli.stack.lifecycle:validate", "Check a stack definition."),
    "plan": ("rayform.cli.stack.lifecycle:plan", "Show what a deploy would change, and what it would cost."),
    "deploy": (
        "rayform.cli.stack.lifecycle:deploy",
        "Create or change a stack in the cloud as its definition says.",
    ),
    "status": (
        "rayform.cli.stack.status:status",
        "Show a deployed stack's health, drift, age and cost, its nodes, and what runs on them.",
    ),
    "start": (
        "rayform.cli.stack.power:start",
        "Start the head of a sleeping stack, and wait until it is ready.",
    ),
    "stop": (
        "rayform.cli.stack.power:stop",
        "Remove a stack's workers and stop its head; its disk, data and address stay.",
    ),
    "outputs": ("rayform.cli.stack.lifecycle:outputs", "Show a deployed stack's outputs."),
    "refresh": (
        "rayform.cli.stack.lifecycle:refresh",
        "Read the cloud's current state, and update the stack's registration.",
    ),
    "destroy": (
        "rayform.cli.stack.lifecycle:destroy",
        "Remove a deployed stack and everything that has its tag.",
    ),
    "history": ("rayform.cli.stack.lifecycle:history", "Show what was done to a stack, when and by whom."),
    "unlock": (
        "rayform.cli.stack.recovery:unlock",
        "Remove the lock of a command that died on another machine.",
    ),
    "new-key": (
        "rayform.cli.stack.recovery:new_key",
        "Create a new SSH key for a stack whose key is lost or leaked; the next deploy installs it.",
    ),
    "export-terraform": (
        "rayform.cli.stack.lifecycle:export_terraform",
        "Write a Terraform root module that runs without Rayform.",
    ),
}
"""Commands on deployed stacks and definitions: name to (`module:attribute`, help line), imported when used."""


@click.group(cls=LazyGroup, table=DEPLOYED)
def stack() -> None:
    """Register, activate, deploy and destroy stacks."""


_COLUMNS: list[Column[dict[str, object]]] = [
    Column("active", lambda row: "*" if row["active"] else ""),
    Column("name", lambda row: str(row["name"]), shrink=1),
    Column("orchestrator", lambda row: _shown(row, "orchestrator"), shrink=3),
    Column("artifact store", lambda row: _shown(row, "artifact-store"), shrink=4),
    Column("registry", lambda row: _shown(row, "container-registry"), shrink=5),
    Column("catalog", lambda row: _shown(row, "catalog"), shrink=2),
]


def _shown(row: dict[str, object], kind: str) -> str:
    if row["problem"]:
        return "corrupt"
    names = row["components"]
    assert isinstance(names, dict)
    return str(names.get(kind, "-"))


def _row(record: stacks.StackRecord, active: str) -> dict[str, object]:
    return {
        "name": record.name,
        "profile": record.profile,
        "active": record.name == active,
        "components": dict(record.components),
        "reference": record.reference,
        "problem": record.problem,
    }


@stack.command("list")
@click.option(
    "--profile",
    default=None,
    metavar="NAME",
    help="List the stacks of this profile instead of the active one.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Also ask the cloud of each deployed stack whether workers run, and are billed, without their head.",
)
@json_option
def list_(profile: str | None, check: bool, json_wanted: bool) -> None:
    """List the registered stacks."""
    if profile is not None and profile not in stacks.list_profiles():
        from rayform_core.errors import NotFoundError

        raise NotFoundError("profile", profile, known=stacks.list_profiles())
    active = stacks.active_stack_name()
    current = active.name if profile in (None, active.profile) else ""
    records = stacks.list_stacks(profile)
    rows = [_row(record, current) for record in records]
    warnings = _check_clusters(records, rows) if check else []
    emit_list(rows, _COLUMNS, json_wanted=json_wanted)
    if not json_wanted:
        for row in rows:
            if row["problem"]:
                echo(str(row["problem"]), err=True)
    for warning in warnings:
        echo(warning, err=True)


def _check_clusters(records: list[stacks.StackRecord], rows: list[dict[str, object]]) -> list[str]:
    """Ask each deployed stack's cloud for workers without a head; add them to the rows, and return warnings."""
    from concurrent.futures import ThreadPoolExecutor

    from rayform.cli.stack.power import forgotten_workers
    from rayform_core.errors import RayformError

    def look(record: stacks.StackRecord) -> tuple[list[str] | None, str | None]:
        try:
            ids = forgotten_workers(record)
        except RayformError as error:
            return None, f"Stack '{record.name}' was not checked: {error.message}"
        if not ids:
            return [], None
        number = f"{len(ids)} worker{'' if len(ids) == 1 else 's'} of stack '{record.name}'"
        return (
            ids,
            f"{number} without a head, billed: {', '.join(ids)}. End them: rayform stack stop {record.name}",
        )

    deployed = [(record, row) for record, row in zip(records, rows, strict=True) if record.reference]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(look, [record for record, _ in deployed]))
    for (_, row), (ids, _) in zip(deployed, answers, strict=True):
        row["workers_without_head"] = ids
    return [warning for _, warning in answers if warning]


@stack.command()
@click.argument("name", required=False, shell_complete=stack_names)
@json_option
def describe(name: str | None, json_wanted: bool) -> None:
    """Show a stack (by default the active one) and its components."""
    active = stacks.active_stack_name()
    record = _read(name)
    parts = [components.read_component(kind, part) for kind, part in record.components.items()]
    row = _row(record, active.name)
    if json_wanted:
        row["components"] = {
            p.kind: {"name": p.name, "flavor": p.flavor, "config": plain(p.config)} for p in parts
        }
        print_json(row)
        return
    status = "yes, set by " + active.source if row["active"] else "no"
    pairs = [("name", record.name), ("profile", record.profile), ("active", status)]
    if record.reference:
        pairs.append(("reference", record.reference))
    for part in parts:
        settings = "".join(f"\n{key}: {value}" for key, value in part.config.items())
        pairs.append((part.kind, f"{part.name} ({part.flavor}){settings}"))
    print_pairs(pairs)


def _read(name: str | None) -> stacks.StackRecord:
    return stacks.read_stack(name or stacks.active_stack_name().name)


@stack.command("set")
@click.argument("name", shell_complete=stack_names)
@click.option(
    "--here", is_flag=True, help="Only in this folder and all folders below it (.rayform/config.yaml)."
)
def set_(name: str, here: bool) -> None:
    """Make a stack the active one."""
    path = stacks.set_active_stack(name, here=Path.cwd() if here else None)
    echo(f"Stack '{name}' is active" + (f" in {path.parent.parent}." if here else "."))
    active = stacks.active_stack_name()
    if active.name != name:
        echo(f"In this folder '{active.name}' stays active: {active.source} sets it.", err=True)


@stack.command()
@json_option
def get(json_wanted: bool) -> None:
    """Print the active stack's name; with --json also what set it."""
    active = stacks.active_stack_name()
    stacks.read_stack(active.name)
    if json_wanted:
        print_json({"name": active.name, "profile": active.profile, "source": active.source})
    else:
        echo(active.name, color=use_colour())


def _component_options(command: Callable[..., R]) -> Callable[..., R]:
    for flags, name, title in (
        (("-c", "--container-registry"), "container_registry", "container registry"),
        (("-m", "--catalog"), "catalog", "catalog"),
        (("-a", "--artifact-store"), "artifact_store", "artifact store"),
        (("-o", "--orchestrator"), "orchestrator", "orchestrator"),
    ):
        command = click.option(*flags, name, metavar="NAME", default=None, help=f"A registered {title}.")(
            command
        )
    return command


@stack.command()
@click.argument("name")
@_component_options
@click.option("--set", "activate", is_flag=True, help="Make it the active stack.")
def register(
    name: str,
    orchestrator: str | None,
    artifact_store: str | None,
    container_registry: str | None,
    catalog: str | None,
    activate: bool,
) -> None:
    """Register a stack of registered components; those you leave out are the local default ones."""
    stacks.register_stack(
        name,
        orchestrator=orchestrator or "default",
        artifact_store=artifact_store or "default",
        catalog=catalog or "default",
        container_registry=container_registry,
    )
    echo(f"Registered stack '{name}'.")
    if activate:
        stacks.set_active_stack(name)
        echo(f"Stack '{name}' is active.")


@stack.command()
@click.argument("name", required=False, shell_complete=stack_names)
@_component_options
@click.option("--no-container-registry", is_flag=True, help="Remove the container registry from the stack.")
@click.option(
    "--trusted/--not-trusted",
    default=None,
    help="Whether values and runs of the stack may run code on this machine, whoever made them: pickles are loaded, "
    "and other users' runs resumed.",
)
def update(
    name: str | None,
    orchestrator: str | None,
    artifact_store: str | None,
    container_registry: str | None,
    catalog: str | None,
    no_container_registry: bool,
    trusted: bool | None,
) -> None:
    """Change the components of a stack (by default the active one), or whether it is trusted."""
    record = stacks.update_stack(
        name or stacks.active_stack_name().name,
        remove_container_registry=no_container_registry,
        trusted=trusted,
        orchestrator=orchestrator,
        artifact_store=artifact_store,
        container_registry=container_registry,
        catalog=catalog,
    )
    echo(f"Updated stack '{record.name}'.")


@stack.command()
@click.argument("name", shell_complete=stack_names)
@click.argument("new_name")
def rename(name: str, new_name: str) -> None:
    """Rename a stack."""
    stacks.rename_stack(name, new_name)
    echo(f"Renamed stack '{name}' to '{new_name}'.")


@stack.command()
@click.argument("name", shell_complete=stack_names)
@click.argument("new_name")
def copy(name: str, new_name: str) -> None:
    """Register a second stack with the same components."""
    stacks.copy_stack(name, new_name)
    echo(f"Registered stack '{new_name}'.")


@stack.command()
@click.argument("name", shell_complete=stack_names)
@click.option(
    "--with-components",
    is_flag=True,
    help="Also remove the registrations of its components that no other stack uses.",
)
@yes_option
def delete(name: str, with_components: bool, yes: bool) -> None:
    """Remove a stack's registration; its infrastructure stays (rayform stack destroy removes that)."""
    record = stacks.read_stack(name)
    if record.reference:
        echo(
            f"The stack is deployed as '{record.reference}': its infrastructure stays and keeps costing money. "
            f"`rayform stack destroy {name}` removes it.",
            err=True,
        )
    confirm(f"Remove the registration of stack '{name}'?", yes=yes)
    for component in stacks.delete_stack(name, with_components=with_components):
        echo(f"Removed the registration of component '{component}'.")
    echo(f"Removed the registration of stack '{name}'.")


@stack.command("export")
@click.argument("name", required=False, shell_complete=stack_names)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
def export_(name: str | None, file: Path | None) -> None:
    """Write a stack and its components as YAML, without secrets, to FILE or standard output."""
    text = stacks.export_stack(_read(name).name)
    if file is None:
        echo(text, nl=False)
        return
    from rayform_core.errors import ConflictError
    from rayform_core.files import write_atomically

    if file.exists():
        raise ConflictError(f"'{file}' exists already.", hint="Choose another name, or remove the file.")
    write_atomically(file, text)
    echo(f"Wrote stack '{_read(name).name}' to {file}.")


@stack.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--name", default=None, help="Name of the stack; by default the one in the file.")
@click.option(
    "--allow",
    multiple=True,
    metavar="NAME",
    help="Let the stack use this variable, secret or unencrypted host, which isn't Rayform's own. May be repeated.",
)
@yes_option
def import_(file: TextIO, name: str | None, allow: tuple[str, ...], yes: bool) -> None:
    """Register a stack from an exported FILE (- reads standard input); shows what it would reach, and asks."""

    def ask(name: str, reached: list[Reached]) -> None:
        if reached:
            echo(f"Stack '{name}' would use:", err=True)
        for each in reached:
            value = " ".join(ascii(each.value)[1:-1].split())
            echo(f"  {each.what:<9} {value}  ({each.setting} of the {each.component})", err=True)
        if reached:
            confirm("Runs on this stack send code, data and passwords there. Register it?", yes=yes)

    record = stacks.import_stack(file.read(), name=name, where=str(file.name), allow=allow, confirm=ask)
    echo(f"Registered stack '{record.name}'.")


@stack.command("export-requirements")
@click.argument("name", required=False, shell_complete=stack_names)
def export_requirements(name: str | None) -> None:
    """Print the pip requirements of a stack."""
    for line in stacks.export_requirements(_read(name).name):
        echo(line)
