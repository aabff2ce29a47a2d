"""`rayform stack init|validate|plan|deploy|outputs|refresh|destroy|history|export-terraform`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rayform.cli.options import confirm, yes_option
from rayform.cli.output import echo, json_option, print_json, secho
from rayform.cli.stack.selection import (
    DEFINITION_FILE,
    definition_argument,
    lifecycle_of,
    load,
    selected_stack,
    target_option,
    usual_target,
)

if TYPE_CHECKING:
    from rayform_provisioner.definitions.costs import CostEstimate
    from rayform_provisioner.definitions.definition import LoadedDefinition
    from rayform_provisioner.terraform.plans import PlanSummary

__all__ = [
    "deploy",
    "destroy",
    "export_terraform",
    "history",
    "how_to_adopt",
    "init",
    "outputs",
    "plan",
    "refresh",
    "validate",
]


@click.command("init")
@click.argument("path", default=DEFINITION_FILE, type=click.Path(path_type=Path))
@click.option("--provider", type=click.Choice(["aws"]), default="aws", help="The cloud.")
@click.option("--preset", default="small", metavar="small|gpu|spot", help="Which example to start from.")
@click.option("--name", default="demo", help="The stack's name.")
@click.option("--region", default="eu-central-1", help="The cloud's region.")
@click.option("--owner", default=None, help="Who is responsible for the stack; you by default.")
@click.option(
    "--allow",
    multiple=True,
    metavar="CIDR",
    help="IPv4 range that may connect to the head by SSH. May be repeated.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(
    path: Path,
    provider: str,
    preset: str,
    name: str,
    region: str,
    owner: str | None,
    allow: tuple[str, ...],
    force: bool,
) -> None:
    """Write a commented stack definition."""
    from rayform_core.errors import ConflictError
    from rayform_core.files import write_atomically
    from rayform_provisioner.definitions.definition import parse_definition
    from rayform_provisioner.definitions.presets import preset as text_of
    from rayform_provisioner.stack_folder import whoami

    if path.exists() and not force:
        raise ConflictError(f"'{path}' exists already.", hint="Name another file, or add --force.")
    text = text_of(preset, stack=name, region=region, owner=owner or whoami().split("@")[0], allow=allow)
    parse_definition(text, str(path))
    write_atomically(path, text, mode=0o644)
    echo(f"Wrote {path}. Next: rayform stack plan {path}")


@click.command("validate")
@definition_argument
@click.option(
    "--online", is_flag=True, help="Also check instance types, zones, images and quotas in the cloud."
)
@click.option("--schema", is_flag=True, help="Only print the JSON schema, for editors.")
@target_option
def validate(definition: Path, online: bool, schema: bool, target: str | None) -> None:
    """Check a stack definition."""
    if schema:
        from rayform_provisioner.definitions.definition import json_schema

        print_json(json_schema())
        return
    loaded = load(definition)
    if online:
        from rayform_provisioner.clouds import cloud_of
        from rayform_provisioner.targets import resolve_target

        cloud = cloud_of(loaded.definition.provider)
        for warning in cloud.resolve(loaded, resolve_target(target or usual_target())).warnings:
            secho(f"Note: {warning}", fg="yellow", err=True)
    echo(f"{definition} is a valid definition of stack '{loaded.definition.name}'.")


@click.command("plan")
@definition_argument
@click.option(
    "--offline",
    is_flag=True,
    help="Don't ask the cloud; only show what the stack would cost and which data is at risk.",
)
@click.option("--upgrade-images", is_flag=True, help="Use the newest machine images.")
@target_option
@json_option
def plan(
    definition: Path, offline: bool, upgrade_images: bool, target: str | None, json_wanted: bool
) -> None:
    """Show what a deploy would change, and what it would cost."""
    loaded = load(definition)
    if offline:
        _plan_offline(loaded, json_wanted)
        return
    from rayform.cli.stack.progress import print_plan

    lifecycle, progress = lifecycle_of(loaded.definition.name, target, may_move=True)
    summary = lifecycle.plan(loaded, upgrade_images=upgrade_images)
    progress.close()
    if json_wanted:
        print_json(_plan_json(summary))
    else:
        print_plan(summary)


def _plan_json(summary: PlanSummary) -> dict[str, object]:
    cost = summary.cost
    return {
        "name": summary.name,
        "reference": summary.reference,
        "changes": [
            {"address": c.address, "action": c.action, "fields": list(c.fields), "because": list(c.because)}
            for c in summary.changes
        ],
        "data_at_risk": summary.data_at_risk,
        "warnings": summary.warnings,
        "cost": _cost_json(cost) if cost else None,
    }


def _cost_json(cost: CostEstimate) -> dict[str, object]:
    return {
        "as_of": cost.as_of,
        "hourly": round(cost.hourly, 4),
        "hourly_at_most": round(cost.hourly_at_most, 4),
        "monthly": round(cost.monthly, 2),
        "idle_monthly": round(cost.idle_monthly, 2),
        "unknown": cost.unknown,
    }


def _plan_offline(loaded: LoadedDefinition, json_wanted: bool) -> None:
    from rayform.cli.stack.progress import print_cost
    from rayform_provisioner.clouds import cloud_of
    from rayform_provisioner.definitions.offline import compare
    from rayform_provisioner.stack_folder import StackFolder

    cost = cloud_of(loaded.definition.provider).estimate(loaded.definition)
    differences, at_risk = compare(StackFolder(loaded.definition.name), loaded.definition)
    if json_wanted:
        print_json({"cost": _cost_json(cost), "differences": differences, "data_at_risk": at_risk})
        return
    for line in cost.lines:
        echo(
            f"  {line.what:<48} ${line.always:.4f}/h always  ${line.awake:.4f}/h awake  ${line.most:.4f}/h at most"
        )
    print_cost(cost)
    for difference in differences:
        echo(f"  ~ {difference}")
    for risk in at_risk:
        secho(f"DATA AT RISK  {risk}", fg="red", bold=True)
    if not at_risk:
        echo("No data is at risk.")


@click.command("deploy")
@definition_argument
@yes_option
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--upgrade-images", is_flag=True, help="Use the newest machine images; this replaces machines.")
@click.option("--replace-data", is_flag=True, help="Allow a plan that deletes data.")
@click.option("--no-register", is_flag=True, help="Don't register the stack afterwards.")
@click.option("--wait/--no-wait", default=True, help="Wait until the head can run pipelines.")
@click.option("--activate/--no-activate", default=False, help="Make the stack the active one.")
@target_option
def deploy(
    definition: Path,
    yes: bool,
    dry_run: bool,
    upgrade_images: bool,
    replace_data: bool,
    no_register: bool,
    wait: bool,
    activate: bool,
    target: str | None,
) -> None:
    """Create or change a stack in the cloud as its definition says."""
    from rayform import stacks
    from rayform.cli.stack.head_update import update_head
    from rayform.cli.stack.progress import print_plan

    loaded = load(definition)
    name = loaded.definition.name
    lifecycle, progress = lifecycle_of(name, target, may_move=True)
    if not no_register:
        record = lifecycle.folder.record()
        stacks.refuse_taken_name(name, record.reference if record else None)

    def approve(summary: PlanSummary) -> bool:
        progress.close()
        print_plan(summary)
        if dry_run:
            return False
        if summary.changes:
            confirm(f"Apply this plan to stack '{name}'?", yes=yes)
        return True

    from rayform_provisioner.host_keys import head_address

    outputs = lifecycle.deploy(loaded, approve, upgrade_images=upgrade_images, replace_data=replace_data)
    progress.close()
    if outputs is None:
        return
    if not no_register:
        stacks.register_deployed(name, lifecycle.registration(), activate=activate)
    awake = update_head(lifecycle, progress, wait=wait)
    progress.close()
    if awake:
        echo(f"Stack '{name}' is deployed. Head: {head_address(outputs)}. Next: rayform stack set {name}")
    else:
        echo(
            f"Stack '{name}' is deployed. Its head is asleep. Start it: rayform stack start {name}. Changes of the "
            "cluster take effect then."
        )


@click.command("outputs")
@click.argument("name", required=False)
@json_option
def outputs(name: str | None, json_wanted: bool) -> None:
    """Show a deployed stack's outputs."""
    lifecycle, _ = lifecycle_of(selected_stack(name), None, quiet=True)
    values = lifecycle.outputs()
    if json_wanted:
        print_json(values)
        return
    for key, value in sorted(values.items()):
        echo(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")


@click.command("refresh")
@click.argument("name", required=False)
@target_option
def refresh(name: str | None, target: str | None) -> None:
    """Read the cloud's current state, and update the stack's registration."""
    from rayform import stacks

    lifecycle, progress = lifecycle_of(selected_stack(name), target)
    lifecycle.refresh()
    if not lifecycle.learn_host_keys(0):
        progress.note("The head hasn't reported its SSH host keys yet. Refresh again when it has booted.")
    progress.close()
    stacks.register_deployed(lifecycle.name, lifecycle.registration())
    echo(f"Stack '{lifecycle.name}' is up to date.")


@click.command("destroy")
@click.argument("name", required=False)
@click.option("--delete-data", is_flag=True, help="Also delete artifacts, images and the catalog.")
@click.option(
    "--keep-data", is_flag=True, help="Keep the bucket, the registry and a snapshot of the catalog."
)
@yes_option
@target_option
def destroy(name: str | None, delete_data: bool, keep_data: bool, yes: bool, target: str | None) -> None:
    """Remove a deployed stack and everything that has its tag."""
    from rayform import stacks
    from rayform.cli.stack.progress import print_plan
    from rayform.cli.stack.status import running_runs
    from rayform_core.errors import UsageError

    lifecycle, progress = lifecycle_of(selected_stack(name), target)
    record = lifecycle.folder.existing()

    def approve(summary: PlanSummary) -> bool:
        progress.close()
        print_plan(summary, destroying=True)
        for run in running_runs(lifecycle):
            secho(f"Run '{run}' is running on it now, and would be stopped.", fg="yellow", err=True)
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError(
                "There is no terminal to ask on.", hint="Add --yes to destroy it without being asked."
            )
        typed = click.prompt(f"Type the stack's name ({lifecycle.name}) to destroy it", default="", err=True)
        if typed != lifecycle.name:
            echo("This isn't the stack's name: nothing was destroyed.")
            return False
        return True

    kept = lifecycle.destroy(approve, delete_data=delete_data, keep_data=keep_data)
    progress.close()
    if kept is None:
        return
    stacks.unregister_deployed(record.reference)
    what = "nothing that Rayform made" if lifecycle.others_left else "nothing in the cloud"
    echo(f"Destroyed stack '{lifecycle.name}': {what} has its tag any more.")
    for resource in lifecycle.others_left:
        echo(f"Left alone, since it is no part of the stack: {resource}.")
    for item in kept:
        echo(f"Kept: {item}. {how_to_adopt(item)}")


def how_to_adopt(item: str) -> str:
    """Return how a definition can use `item` again, which a destroy kept."""
    if item.endswith("-catalog-final"):
        return f"To start from it: `catalog: {{restore_snapshot: {item}}}`."
    section = "container_registry" if "/" in item else "artifact_store"
    return f"To use it again: `{section}: {{adopt: {item}}}`."


@click.command("history")
@click.argument("name", required=False)
@json_option
def history(name: str | None, json_wanted: bool) -> None:
    """Show what was done to a stack, when and by whom."""
    from rayform_core.errors import NotFoundError
    from rayform_provisioner.stack_folder import StackFolder, deployed_names

    folder = StackFolder(selected_stack(name))
    entries = folder.history()
    if not entries and folder.record() is None:
        raise NotFoundError("deployed stack", folder.name, known=deployed_names())
    if json_wanted:
        print_json([entry.model_dump() for entry in entries])
        return
    for entry in entries:
        counts = f"+{entry.added} ~{entry.changed} -{entry.removed}"
        failure = f"  {entry.error}" if entry.error else ""
        echo(
            f"{entry.at}  {entry.operation:<8} {entry.result:<11} {counts:<14} {entry.seconds:7.1f} s  "
            f"{entry.who}  {entry.reference}{failure}"
        )


@click.command("export-terraform")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--definition", default=DEFINITION_FILE, type=click.Path(path_type=Path), help="The stack definition."
)
@target_option
def export_terraform(directory: Path, definition: Path, target: str | None) -> None:
    """Write a Terraform root module that runs without Rayform."""
    loaded = load(definition)
    lifecycle, _ = lifecycle_of(loaded.definition.name, target, quiet=True, may_move=True)
    files = lifecycle.export(loaded, directory)
    echo(f"Wrote {len(files)} files to {directory}. Next: cd {directory} && terraform init && terraform plan")
