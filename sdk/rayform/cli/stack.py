"""`rayform stack`: registered stacks.

What deploys and destroys them is in `stack_lifecycle.py`, what shows how a deployed one does in `stack_status.py`, what
gets one out of trouble in `stack_rescue.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TextIO, TypeVar

import click

from rayform import stacks
from rayform.cli import LazyGroup
from rayform.cli.names import stack_names
from rayform.cli.options import confirm, yes_option
from rayform.cli.output import Column, as_json, emit_list, json_option, plain, print_pairs, use_colour
from rayform.stacks import components

__all__ = ["LIFECYCLE", "stack"]

R = TypeVar("R")

LIFECYCLE: dict[str, tuple[str, str]] = {
    "init": ("rayform.cli.stack_lifecycle:init", "Write a commented stack definition."),
    "validate": ("rayform.cli.stack_lifecycle:validate", "Check a stack definition."),
    "plan": ("rayform.cli.stack_lifecycle:plan", "Show what a deploy would do, and what it would cost."),
    "deploy": ("rayform.cli.stack_lifecycle:deploy", "Make the cloud what the definition says."),
    "status": (
        "rayform.cli.stack_status:status",
        "Show a deployed stack's health, drift, age and cost, its nodes and what runs on them.",
    ),
    "start": (
        "rayform.cli.cluster_power:start",
        "Wake a stack's head that stopped itself, and wait until it is ready.",
    ),
    "stop": (
        "rayform.cli.cluster_power:stop",
        "End a stack's workers and stop its head; its disk, data and address stay.",
    ),
    "outputs": ("rayform.cli.stack_lifecycle:outputs", "Show a deployed stack's outputs."),
    "refresh": (
        "rayform.cli.stack_lifecycle:refresh",
        "Read the cloud's present state, and register the stack anew.",
    ),
    "destroy": ("rayform.cli.stack_lifecycle:destroy", "Remove a deployed stack and all that bears its tag."),
    "history": ("rayform.cli.stack_lifecycle:history", "Show what was applied to a stack, when and by whom."),
    "unlock": (
        "rayform.cli.stack_rescue:unlock",
        "Take away the lock of a command that died on another machine.",
    ),
    "new-key": (
        "rayform.cli.stack_rescue:new_key",
        "Make a new SSH key for a stack whose key is lost or known to others; the next deploy brings it in.",
    ),
    "export-terraform": (
        "rayform.cli.stack_lifecycle:export_terraform",
        "Write a root module that runs with bare Terraform.",
    ),
}
"""Commands that deploy, look after and destroy: name to (`module:attribute`, help line). They load on use."""


@click.group(cls=LazyGroup, table=LIFECYCLE)
def stack() -> None:
    """Register, switch, deploy and destroy stacks."""


_COLUMNS = [
    Column("active", lambda row: "*" if row["active"] else ""),
    Column("name", lambda row: row["name"], shrink=1),
    Column("orchestrator", lambda row: _shown(row, "orchestrator"), shrink=3),
    Column("artifact store", lambda row: _shown(row, "artifact-store"), shrink=4),
    Column("registry", lambda row: _shown(row, "container-registry"), shrink=5),
    Column("catalog", lambda row: _shown(row, "catalog"), shrink=2),
]


def _shown(row: dict[str, object], kind: str) -> str:
    if row["problem"]:
        return "corrupt"
    named = row["components"]
    assert isinstance(named, dict)
    return str(named.get(kind, "-"))


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
@click.option("--profile", default=None, metavar="NAME", help="Of this profile rather than the active one.")
@json_option
def list_(profile: str | None, json_wanted: bool) -> None:
    """List the registered stacks."""
    if profile is not None and profile not in stacks.list_profiles():
        from rayform_core.errors import NotFoundError

        raise NotFoundError("profile", profile, known=stacks.list_profiles())
    active = stacks.active_stack_name()
    current = active.name if profile in (None, active.profile) else ""
    rows = [_row(record, current) for record in stacks.list_stacks(profile)]
    emit_list(rows, _COLUMNS, json_wanted=json_wanted)
    if not json_wanted:
        for row in rows:
            if row["problem"]:
                click.echo(str(row["problem"]), err=True)


@stack.command()
@click.argument("name", required=False, shell_complete=stack_names)
@json_option
def describe(name: str | None, json_wanted: bool) -> None:
    """Show a stack (the active one unless told) and its components."""
    active = stacks.active_stack_name()
    record = _read(name)
    parts = [components.read_component(kind, part) for kind, part in record.components.items()]
    row = _row(record, active.name)
    if json_wanted:
        row["components"] = {
            p.kind: {"name": p.name, "flavor": p.flavor, "config": plain(p.config)} for p in parts
        }
        as_json(row)
        return
    shown = "yes, set by " + active.source if row["active"] else "no"
    pairs = [("name", record.name), ("profile", record.profile), ("active", shown)]
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
@click.option("--here", is_flag=True, help="Only for this folder and all below it (.rayform/config.yaml).")
def set_(name: str, here: bool) -> None:
    """Make a stack the active one."""
    path = stacks.set_active_stack(name, here=Path.cwd() if here else None)
    click.echo(f"Stack '{name}' is active" + (f" in {path.parent.parent}." if here else "."))
    active = stacks.active_stack_name()
    if active.name != name:
        click.echo(f"But {active.source} sets '{active.name}' here, which goes first.", err=True)


@stack.command()
@json_option
def get(json_wanted: bool) -> None:
    """Print the active stack's name, and with --json who set it."""
    active = stacks.active_stack_name()
    stacks.read_stack(active.name)
    if json_wanted:
        as_json({"name": active.name, "profile": active.profile, "source": active.source})
    else:
        click.echo(active.name, color=use_colour())


def _component_options(command: Callable[..., R]) -> Callable[..., R]:
    for flags, name, shown in (
        (("-c", "--container-registry"), "container_registry", "container registry"),
        (("-m", "--catalog"), "catalog", "catalog (metadata)"),
        (("-a", "--artifact-store"), "artifact_store", "artifact store"),
        (("-o", "--orchestrator"), "orchestrator", "orchestrator"),
    ):
        command = click.option(*flags, name, metavar="NAME", default=None, help=f"Registered {shown}.")(
            command
        )
    return command


@stack.command()
@click.argument("name")
@_component_options
@click.option("--set", "activate", is_flag=True, help="Also make it the active stack.")
def register(
    name: str,
    orchestrator: str | None,
    artifact_store: str | None,
    container_registry: str | None,
    catalog: str | None,
    activate: bool,
) -> None:
    """Register a stack of registered components; the local default ones where none is named."""
    stacks.register_stack(
        name,
        orchestrator=orchestrator or "default",
        artifact_store=artifact_store or "default",
        catalog=catalog or "default",
        container_registry=container_registry,
    )
    click.echo(f"Stack '{name}' is registered.")
    if activate:
        stacks.set_active_stack(name)
        click.echo(f"Stack '{name}' is active.")


@stack.command()
@click.argument("name", required=False, shell_complete=stack_names)
@_component_options
@click.option("--no-container-registry", is_flag=True, help="Leave it without a container registry.")
def update(
    name: str | None,
    orchestrator: str | None,
    artifact_store: str | None,
    container_registry: str | None,
    catalog: str | None,
    no_container_registry: bool,
) -> None:
    """Give a stack (the active one unless told) other components."""
    record = stacks.update_stack(
        name or stacks.active_stack_name().name,
        remove_container_registry=no_container_registry,
        orchestrator=orchestrator,
        artifact_store=artifact_store,
        container_registry=container_registry,
        catalog=catalog,
    )
    click.echo(f"Stack '{record.name}' is updated.")


@stack.command()
@click.argument("name", shell_complete=stack_names)
@click.argument("new_name")
def rename(name: str, new_name: str) -> None:
    """Give a stack another name."""
    stacks.rename_stack(name, new_name)
    click.echo(f"Stack '{name}' is now '{new_name}'.")


@stack.command()
@click.argument("name", shell_complete=stack_names)
@click.argument("new_name")
def copy(name: str, new_name: str) -> None:
    """Register a second stack with the same components."""
    stacks.copy_stack(name, new_name)
    click.echo(f"Stack '{new_name}' is registered.")


@stack.command()
@click.argument("name", shell_complete=stack_names)
@click.option("--with-components", is_flag=True, help="Also forget its components that no other stack uses.")
@yes_option
def delete(name: str, with_components: bool, yes: bool) -> None:
    """Forget a stack; what it stands for stays (rayform stack destroy removes that)."""
    record = stacks.read_stack(name)
    if record.reference:
        click.echo(
            f"The stack was deployed as '{record.reference}'; its infrastructure stays and goes on costing money. "
            f"`rayform stack destroy {name}` removes it.",
            err=True,
        )
    confirm(f"Forget the stack '{name}'?", yes=yes)
    for forgotten in stacks.delete_stack(name, with_components=with_components):
        click.echo(f"Component '{forgotten}' is forgotten.")
    click.echo(f"Stack '{name}' is forgotten.")


@stack.command("export")
@click.argument("name", required=False, shell_complete=stack_names)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
def export_(name: str | None, file: Path | None) -> None:
    """Write a stack and its components as one YAML file without secrets (to FILE or standard output)."""
    text = stacks.export_stack(_read(name).name)
    if file is None:
        click.echo(text, nl=False)
        return
    from rayform_core.errors import ConflictError
    from rayform_core.files import write_atomically

    if file.exists():
        raise ConflictError(f"'{file}' exists already.", hint="Take another name, or remove it.")
    write_atomically(file, text)
    click.echo(f"Stack '{_read(name).name}' is in {file}.")


@stack.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--name", default=None, help="Name for the stack other than the one in the file.")
def import_(file: TextIO, name: str | None) -> None:
    """Register a stack and its components from an exported FILE (- reads standard input)."""
    record = stacks.import_stack(file.read(), name=name, where=str(file.name))
    click.echo(f"Stack '{record.name}' is registered.")


@stack.command("export-requirements")
@click.argument("name", required=False, shell_complete=stack_names)
def export_requirements(name: str | None) -> None:
    """Print the pip requirements that using a stack needs."""
    for line in stacks.export_requirements(_read(name).name):
        click.echo(line)
