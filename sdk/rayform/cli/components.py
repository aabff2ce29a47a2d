"""`rayform orchestrator | artifact-store | container-registry | catalog` and `rayform flavor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from rayform.cli import LazyGroup
from rayform.cli.names import component_names
from rayform.cli.options import confirm, yes_option
from rayform.cli.output import Column, as_json, emit_list, json_option, plain, print_pairs
from rayform.stacks import components
from rayform_core.errors import UsageError, nearest

__all__ = ["artifact_store", "catalog", "container_registry", "flavor", "orchestrator"]

_COLUMNS = [
    Column("name", lambda c: c.name, shrink=1),
    Column("flavor", lambda c: c.flavor or "corrupt"),
    Column("settings", lambda c: ", ".join(f"{k}={v}" for k, v in c.config.items()), shrink=3),
    Column("made by", lambda c: c.reference or "-", shrink=2),
]
_WITH_SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True}


def parse_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """Turn `--bucket x --insecure --cpus=2` into `{"bucket": "x", "insecure": "true", "cpus": "2"}`.

    The flavor's model parses the text; an empty text (`--region ""`) means that the setting is taken away.

    Raises:
        UsageError: an argument isn't an option.
    """
    settings: dict[str, Any] = {}
    waiting = list(arguments)
    while waiting:
        option = waiting.pop(0)
        if not option.startswith("--") or option == "--":
            raise UsageError(f"'{option}' is no setting.", hint="Settings are given as --name value.")
        key, equals, value = option[2:].partition("=")
        if not equals:
            value = waiting.pop(0) if waiting and not waiting[0].startswith("--") else "true"
        key = key.replace("-", "_")
        if key in settings:
            raise UsageError(f"The setting '{key}' is given twice.")
        settings[key] = value or None
    return settings


def _known_settings(kind: str, flavor_name: str, given: Mapping[str, Any]) -> None:
    """Refuse an unknown setting by its option, with the nearest one."""
    from rayform_runtime.components import ComponentKind, load_object
    from rayform_runtime.components import flavor as find_flavor

    model = load_object(find_flavor(ComponentKind(kind), flavor_name).config)
    for key in given:
        if key not in model.model_fields:
            close = nearest(key, model.model_fields)
            options = ", ".join("--" + name.replace("_", "-") for name in model.model_fields)
            hint = f"Did you mean --{close[0].replace('_', '-')}? " if close else ""
            raise UsageError(
                f"Flavor '{flavor_name}' has no setting '--{key.replace('_', '-')}'.",
                hint=f"{hint}Settings: {options}.",
            )


def _group(kind: str) -> click.Group:
    """Build the command group of one kind of component."""
    said = kind.replace("-", " ")

    @click.group(
        cls=LazyGroup,
        table={},
        name=kind,
        help=f"Register, list, describe, check and delete {_plural(said)}.",
    )
    def group() -> None: ...

    @group.command(
        context_settings=_WITH_SETTINGS, help=f"Register {_a(said)}; settings follow as --name value."
    )
    @click.argument("name")
    @click.option(
        "-f", "--flavor", "flavor_name", required=True, help="Which implementation (rayform flavor list)."
    )
    @click.option("--skip-check", is_flag=True, help="Register without reaching it first.")
    @click.pass_context
    def register(context: click.Context, name: str, flavor_name: str, skip_check: bool) -> None:
        settings = {k: v for k, v in parse_settings(context.args).items() if v is not None}
        _known_settings(kind, flavor_name, settings)
        components.register_component(kind, name, flavor=flavor_name, config=settings, check=not skip_check)
        click.echo(f"{said.capitalize()} '{name}' is registered.")

    @group.command("list", help=f"List the registered {_plural(said)}.")
    @json_option
    def list_(json_wanted: bool) -> None:
        found = components.list_components(kind)
        emit_list(found, _COLUMNS, json_wanted=json_wanted, empty=f"No {_plural(said)} are registered.")
        for record in found:
            if record.problem and not json_wanted:
                click.echo(record.problem, err=True)

    @group.command(help=f"Show {_a(said)} and the stacks that use it.")
    @click.argument("name", shell_complete=component_names)
    @json_option
    def describe(name: str, json_wanted: bool) -> None:
        record = components.read_component(kind, name)
        users = components.users_of_component(kind, name)
        if json_wanted:
            as_json({**plain(record), "stacks": users})
            return
        print_pairs(
            [
                ("name", record.name),
                ("kind", record.kind),
                ("flavor", record.flavor),
                *((key, str(value)) for key, value in record.config.items()),
                ("made by", record.reference or ""),
                ("stacks", ", ".join(users) or "none"),
            ]
        )

    @group.command(
        context_settings=_WITH_SETTINGS,
        help=f"Change settings of {_a(said)}, given as --name value (an empty value takes one away).",
    )
    @click.argument("name", shell_complete=component_names)
    @click.option("--skip-check", is_flag=True, help="Change without reaching it first.")
    @click.pass_context
    def update(context: click.Context, name: str, skip_check: bool) -> None:
        settings = parse_settings(context.args)
        if not settings:
            raise UsageError("Nothing to change was given.", hint="Settings are given as --name value.")
        _known_settings(kind, components.read_component(kind, name).flavor, settings)
        components.update_component(kind, name, settings, check=not skip_check)
        click.echo(f"{said.capitalize()} '{name}' is updated.")

    @group.command(help=f"Prove that {_a(said)} can be reached and used.")
    @click.argument("name", shell_complete=component_names)
    def check(name: str) -> None:
        components.check_component(components.read_component(kind, name))
        click.echo(f"{said.capitalize()} '{name}' answers.")

    @group.command(help=f"Forget {_a(said)}; what it names stays.")
    @click.argument("name", shell_complete=component_names)
    @yes_option
    def delete(name: str, yes: bool) -> None:
        components.read_component(kind, name)
        confirm(f"Forget the {said} '{name}'?", yes=yes)
        components.delete_component(kind, name)
        click.echo(f"{said.capitalize()} '{name}' is forgotten.")

    return group


def _a(said: str) -> str:
    return ("an " if said[0] in "aeiou" else "a ") + said


def _plural(said: str) -> str:
    return said[:-1] + "ies" if said.endswith("y") else said + "s"


orchestrator = _group("orchestrator")
artifact_store = _group("artifact-store")
container_registry = _group("container-registry")
catalog = _group("catalog")


@click.group(cls=LazyGroup, table={})
def flavor() -> None:
    """List the flavors of components."""


@flavor.command("list")
@click.option("--kind", default=None, help="Of this kind alone.")
@json_option
def list_flavors(kind: str | None, json_wanted: bool) -> None:
    """List the flavors that components can have, and the extra that each needs."""
    from rayform.stacks.files import check_kind
    from rayform_runtime.components import FLAVORS

    wanted = None if kind is None else check_kind(kind)
    found = [f for f in FLAVORS if wanted is None or f.kind.value == wanted]
    columns = [
        Column("kind", lambda f: f.kind.value),
        Column("flavor", lambda f: f.name),
        Column("needs", lambda f: f"rayform[{f.extra}]" if f.extra else "-"),
        Column("what", lambda f: f.summary, shrink=1),
    ]
    emit_list(found, columns, json_wanted=json_wanted)


@flavor.command()
@click.argument("kind")
@click.argument("name")
@json_option
def describe(kind: str, name: str, json_wanted: bool) -> None:
    """Show the settings of a flavor."""
    from rayform.stacks.files import check_kind
    from rayform_runtime.components import ComponentKind, load_object
    from rayform_runtime.components import flavor as find_flavor

    chosen = find_flavor(ComponentKind(check_kind(kind)), name)
    model = load_object(chosen.config)
    if json_wanted:
        as_json({**plain(chosen), "settings": model.model_json_schema()})
        return
    print_pairs(
        [
            ("kind", chosen.kind.value),
            ("flavor", chosen.name),
            ("needs", f"rayform[{chosen.extra}]" if chosen.extra else "nothing more"),
            ("what", chosen.summary),
        ]
    )
    click.echo()
    for line in (model.__doc__ or "").strip().splitlines():
        click.echo(line.removeprefix("    "))
    click.echo()
    for key, field in model.model_fields.items():
        needed = "needed" if field.is_required() else f"default {field.default!r}"
        click.echo(f"  --{key.replace('_', '-')}  ({needed})")
