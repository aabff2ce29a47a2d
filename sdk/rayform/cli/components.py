"""`rayform orchestrator | artifact-store | container-registry | catalog` and `rayform flavor`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from rayform.cli import LazyGroup
from rayform.cli.names import component_names
from rayform.cli.options import confirm, yes_option
from rayform.cli.output import Column, echo, emit_list, json_option, plain_fields, print_json, print_pairs
from rayform.stacks import components
from rayform_core.errors import UsageError, nearest

if TYPE_CHECKING:
    from rayform_runtime.components import Flavor

__all__ = ["artifact_store", "catalog", "container_registry", "flavor", "orchestrator"]

_COLUMNS: list[Column[components.ComponentRecord]] = [
    Column("name", lambda c: c.name, shrink=1),
    Column("flavor", lambda c: c.flavor or "corrupt"),
    Column("settings", lambda c: ", ".join(f"{k}={v}" for k, v in c.config.items()), shrink=3),
    Column("deployed as", lambda c: c.reference or "-", shrink=2),
]
_WITH_SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True}


def parse_settings(arguments: Sequence[str]) -> dict[str, str | None]:
    """Turn `--bucket x --insecure --cpus=2` into `{"bucket": "x", "insecure": "true", "cpus": "2"}`.

    The flavor's model parses the texts later. An empty text (`--region ""`) becomes `None`: it removes the setting.

    Raises:
        UsageError: an argument isn't an option.
    """
    settings: dict[str, str | None] = {}
    waiting = list(arguments)
    while waiting:
        option = waiting.pop(0)
        if not option.startswith("--") or option == "--":
            raise UsageError(f"'{option}' is not a setting.", hint="Write settings as --name value.")
        key, equals, value = option[2:].partition("=")
        if not equals:
            value = waiting.pop(0) if waiting and not waiting[0].startswith("--") else "true"
        key = key.replace("-", "_")
        if key in settings:
            raise UsageError(f"The setting '{key}' is given twice.", hint="Write each setting once.")
        settings[key] = value or None
    return settings


def _refuse_unknown(settings: Iterable[str], kind: str, flavor_name: str) -> None:
    """Refuse a setting that the flavor doesn't have, and name the nearest one as an option."""
    from rayform_runtime.components import ComponentKind, load_object
    from rayform_runtime.components import flavor as find_flavor

    model = load_object(find_flavor(ComponentKind(kind), flavor_name).config)
    for key in settings:
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
    title = kind.replace("-", " ")

    @click.group(
        cls=LazyGroup,
        name=kind,
        help=f"Register, list, describe, check and delete {_plural(title)}.",
    )
    def group() -> None: ...

    @group.command(
        context_settings=_WITH_SETTINGS, help=f"Register {_a(title)}. Write its settings as --name value."
    )
    @click.argument("name")
    @click.option(
        "-f", "--flavor", "flavor_name", required=True, help="Its implementation (see rayform flavor list)."
    )
    @click.option("--skip-check", is_flag=True, help="Register it without checking that it can be reached.")
    @click.pass_context
    def register(context: click.Context, name: str, flavor_name: str, skip_check: bool) -> None:
        settings = {k: v for k, v in parse_settings(context.args).items() if v is not None}
        _refuse_unknown(settings, kind, flavor_name)
        components.register_component(kind, name, flavor=flavor_name, config=settings, check=not skip_check)
        echo(f"Registered {title} '{name}'.")

    @group.command("list", help=f"List the registered {_plural(title)}.")
    @json_option
    def list_(json_wanted: bool) -> None:
        records = components.list_components(kind)
        emit_list(records, _COLUMNS, json_wanted=json_wanted, empty=f"No {_plural(title)} are registered.")
        for record in records:
            if record.problem and not json_wanted:
                echo(record.problem, err=True)

    @group.command(help=f"Show {_a(title)} and the stacks that use it.")
    @click.argument("name", shell_complete=component_names)
    @json_option
    def describe(name: str, json_wanted: bool) -> None:
        record = components.read_component(kind, name)
        users = components.users_of_component(kind, name)
        if json_wanted:
            print_json({**plain_fields(record), "stacks": users})
            return
        print_pairs(
            [
                ("name", record.name),
                ("kind", record.kind),
                ("flavor", record.flavor),
                *((key, str(value)) for key, value in record.config.items()),
                ("deployed as", record.reference or ""),
                ("stacks", ", ".join(users) or "none"),
            ]
        )

    @group.command(
        context_settings=_WITH_SETTINGS,
        help=f"Change settings of {_a(title)}. Write them as --name value; an empty value removes a setting.",
    )
    @click.argument("name", shell_complete=component_names)
    @click.option("--skip-check", is_flag=True, help="Change it without checking that it can be reached.")
    @click.pass_context
    def update(context: click.Context, name: str, skip_check: bool) -> None:
        settings = parse_settings(context.args)
        if not settings:
            raise UsageError("There is nothing to change.", hint="Write settings as --name value.")
        _refuse_unknown(settings, kind, components.read_component(kind, name).flavor)
        components.update_component(kind, name, settings, check=not skip_check)
        echo(f"Updated {title} '{name}'.")

    @group.command(help=f"Check that {_a(title)} can be reached and used.")
    @click.argument("name", shell_complete=component_names)
    def check(name: str) -> None:
        components.check_component(components.read_component(kind, name))
        echo(f"Checked {title} '{name}': it can be used.")

    @group.command(help=f"Remove the registration of {_a(title)}; its data and infrastructure stay.")
    @click.argument("name", shell_complete=component_names)
    @yes_option
    def delete(name: str, yes: bool) -> None:
        components.read_component(kind, name)
        confirm(f"Remove the registration of {title} '{name}'?", yes=yes)
        components.delete_component(kind, name)
        echo(f"Removed the registration of {title} '{name}'.")

    return group


def _a(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _plural(noun: str) -> str:
    return noun[:-1] + "ies" if noun.endswith("y") else noun + "s"


orchestrator = _group("orchestrator")
artifact_store = _group("artifact-store")
container_registry = _group("container-registry")
catalog = _group("catalog")


@click.group(cls=LazyGroup)
def flavor() -> None:
    """List the flavors of components, and describe their settings."""


@flavor.command("list")
@click.option("--kind", default=None, help="List only flavors of this kind.")
@json_option
def list_flavors(kind: str | None, json_wanted: bool) -> None:
    """List the flavors of components, and the extra that each needs."""
    from rayform.stacks.files import check_kind
    from rayform_runtime.components import FLAVORS

    if kind is not None:
        kind = check_kind(kind)
    flavors = [f for f in FLAVORS if kind in (None, f.kind.value)]
    columns: list[Column[Flavor]] = [
        Column("kind", lambda f: f.kind.value),
        Column("flavor", lambda f: f.name),
        Column("needs", lambda f: f"rayform[{f.extra}]" if f.extra else "-"),
        Column("summary", lambda f: f.summary, shrink=1),
    ]
    emit_list(flavors, columns, json_wanted=json_wanted)


@flavor.command()
@click.argument("kind")
@click.argument("name")
@json_option
def describe(kind: str, name: str, json_wanted: bool) -> None:
    """Show the settings of a flavor."""
    from rayform.stacks.files import check_kind
    from rayform_runtime.components import ComponentKind, load_object
    from rayform_runtime.components import flavor as find_flavor

    selected = find_flavor(ComponentKind(check_kind(kind)), name)
    model = load_object(selected.config)
    if json_wanted:
        print_json({**plain_fields(selected), "settings": model.model_json_schema()})
        return
    print_pairs(
        [
            ("kind", selected.kind.value),
            ("flavor", selected.name),
            ("needs", f"rayform[{selected.extra}]" if selected.extra else "no extra"),
            ("summary", selected.summary),
        ]
    )
    echo()
    for line in (model.__doc__ or "").strip().splitlines():
        echo(line.removeprefix("    "))
    echo()
    for key, field in model.model_fields.items():
        note = "required" if field.is_required() else f"default {field.default!r}"
        echo(f"  --{key.replace('_', '-')}  ({note})")
