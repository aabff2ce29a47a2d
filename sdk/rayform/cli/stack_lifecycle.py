"""`rayform stack init|validate|plan|deploy|outputs|refresh|destroy|history|export-terraform`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rayform.cli.options import yes_option
from rayform.cli.output import as_json, json_option

if TYPE_CHECKING:
    from rayform_provisioner.definitions.definition import LoadedDefinition
    from rayform_provisioner.lifecycle import Lifecycle

R = TypeVar("R")

target_option = click.option(
    "--target",
    default=None,
    metavar="aws|localstack|FILE",
    help="The cloud: AWS, the emulated one, or a file of endpoints. RAYFORM_TARGET and the profile set it too.",
)
_FILE = "stack.yaml"


def definition_argument(command: Callable[..., R]) -> Callable[..., R]:
    """Add the definition's file, `stack.yaml` unless told."""
    return click.argument("definition", default=_FILE, type=click.Path(path_type=Path))(command)


def _loaded(path: Path) -> LoadedDefinition:
    from rayform_provisioner.definitions.definition import load_definition

    return load_definition(path)


def lifecycle_of(
    name: str, target: str | None, *, quiet: bool = False, may_settle: bool = False
) -> tuple[Lifecycle, Any]:
    """Return the life of a stack in the cloud that is meant, and what shows its progress.

    Args:
        name: the stack.
        target: the cloud that the command line names.
        quiet: show no progress.
        may_settle: the command takes a stack that was only ever planned to whichever cloud is usual today.
    """
    from rayform.cli.deploy_progress import DeployProgress
    from rayform_provisioner.lifecycle import Lifecycle
    from rayform_provisioner.reporting import Silent
    from rayform_provisioner.stack_folder import StackFolder
    from rayform_provisioner.targets import resolve_target

    if target is None:
        record = StackFolder(name).record()
        if record is None or (may_settle and record.status == "planned"):
            # Where nobody says a cloud, the one that it was planned for is meant, rather than AWS.
            target = _usual_target() or (record.target if record is not None else None)
        else:
            target = record.target  # a stack stays in its cloud, whatever the variable says today
    progress = Silent() if quiet else DeployProgress()
    return Lifecycle(name, resolve_target(target), progress), progress


def _usual_target() -> str | None:
    """Where new stacks go unless told: what the variable says, else what the profile says."""
    from rayform import stacks

    return os.environ.get("RAYFORM_TARGET") or stacks.profile_target()


def meant_stack(given: str | None) -> str:
    """The stack that is meant: the given one, else the definition's in this folder, else the active one."""
    if given is not None and not given.endswith((".yaml", ".yml")):
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,23}", given):
            from rayform_core.errors import NotFoundError
            from rayform_provisioner.stack_folder import deployed_names

            raise NotFoundError("deployed stack", given, known=deployed_names())
        return given
    path = Path(given or _FILE)
    if given is not None or path.exists():
        return _loaded(path).definition.name
    from rayform import stacks

    return stacks.active_stack_name().name


@click.command("init")
@click.argument("path", default=_FILE, type=click.Path(path_type=Path))
@click.option("--provider", type=click.Choice(["aws"]), default="aws", help="The cloud.")
@click.option("--preset", default="small", metavar="small|gpu|spot", help="What to begin with.")
@click.option("--name", default="demo", help="The stack's name.")
@click.option("--region", default="eu-central-1", help="The cloud's region.")
@click.option("--owner", default=None, help="Who answers for it; you unless told.")
@click.option(
    "--allow", multiple=True, metavar="CIDR", help="IPv4 range that may open SSH to the head; repeatable."
)
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
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
        raise ConflictError(f"'{path}' is there already.", hint="Name another file, or add --force.")
    text = text_of(preset, stack=name, region=region, owner=owner or whoami().split("@")[0], allow=allow)
    parse_definition(text, str(path))
    write_atomically(path, text, mode=0o644)
    click.echo(f"Wrote {path}. Next: rayform stack plan {path}")


@click.command("validate")
@definition_argument
@click.option(
    "--online", is_flag=True, help="Also ask the cloud about instance types, zones, images and quotas."
)
@click.option("--schema", is_flag=True, help="Print the JSON schema, for editors, and check nothing.")
@target_option
def validate(definition: Path, online: bool, schema: bool, target: str | None) -> None:
    """Check a stack definition."""
    if schema:
        from rayform_provisioner.definitions.definition import json_schema

        as_json(json_schema())
        return
    loaded = _loaded(definition)
    if online:
        from rayform_provisioner.clouds import cloud_of
        from rayform_provisioner.targets import resolve_target

        cloud = cloud_of(loaded.definition.provider)
        for warning in cloud.resolve(loaded, resolve_target(target or _usual_target())).warnings:
            click.secho(f"Note: {warning}", fg="yellow", err=True)
    click.echo(f"{definition} is a valid definition of stack '{loaded.definition.name}'.")


@click.command("plan")
@definition_argument
@click.option("--offline", is_flag=True, help="Ask no cloud: what it would cost, and which data is at risk.")
@click.option("--upgrade-images", is_flag=True, help="Take the newest machine images.")
@target_option
@json_option
def plan(
    definition: Path, offline: bool, upgrade_images: bool, target: str | None, json_wanted: bool
) -> None:
    """Show what a deploy would do, and what it would cost."""
    loaded = _loaded(definition)
    if offline:
        _plan_offline(loaded, json_wanted)
        return
    from rayform.cli.deploy_progress import print_plan

    lifecycle, progress = lifecycle_of(loaded.definition.name, target, may_settle=True)
    summary = lifecycle.plan(loaded, upgrade_images=upgrade_images)
    progress.close() if hasattr(progress, "close") else None
    if json_wanted:
        as_json(_plan_json(summary))
    else:
        print_plan(summary)


def _plan_json(summary: Any) -> dict[str, Any]:
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


def _cost_json(cost: Any) -> dict[str, Any]:
    return {
        "as_of": cost.as_of,
        "hourly": round(cost.hourly, 4),
        "hourly_at_most": round(cost.hourly_at_most, 4),
        "monthly": round(cost.monthly, 2),
        "idle_monthly": round(cost.idle_monthly, 2),
        "unknown": cost.unknown,
    }


def _plan_offline(loaded: LoadedDefinition, json_wanted: bool) -> None:
    from rayform.cli.deploy_progress import print_cost
    from rayform_provisioner.clouds import cloud_of
    from rayform_provisioner.definitions.offline import compare
    from rayform_provisioner.stack_folder import StackFolder

    cost = cloud_of(loaded.definition.provider).estimate(loaded.definition)
    differences, at_risk = compare(StackFolder(loaded.definition.name), loaded.definition)
    if json_wanted:
        as_json({"cost": _cost_json(cost), "differences": differences, "data_at_risk": at_risk})
        return
    for line in cost.lines:
        click.echo(
            f"  {line.what:<48} ${line.always:.4f}/h always  ${line.awake:.4f}/h awake  ${line.most:.4f}/h at most"
        )
    print_cost(cost)
    for difference in differences:
        click.echo(f"  ~ {difference}")
    for risk in at_risk:
        click.secho(f"DATA AT RISK  {risk}", fg="red", bold=True)
    if not at_risk:
        click.echo("No data is at risk.")


@click.command("deploy")
@definition_argument
@yes_option
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option(
    "--upgrade-images", is_flag=True, help="Take the newest machine images, which replaces machines."
)
@click.option("--replace-data", is_flag=True, help="Allow a plan that takes data away.")
@click.option("--no-register", is_flag=True, help="Don't register the stack afterwards.")
@click.option("--wait/--no-wait", default=True, help="Wait until the head can run pipelines.")
@click.option("--activate/--no-activate", default=False, help="Make it the active stack.")
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
    """Make the cloud what the definition says."""
    from rayform import stacks
    from rayform.cli.deploy_progress import print_plan
    from rayform.cli.deployed_head import bring_to_head
    from rayform.cli.options import confirm

    loaded = _loaded(definition)
    name = loaded.definition.name
    lifecycle, progress = lifecycle_of(name, target, may_settle=True)
    if not no_register:
        record = lifecycle.folder.record()
        stacks.refuse_taken_name(name, record.reference if record else None)

    def agreed(summary: Any) -> bool:
        progress.close()
        print_plan(summary)
        if dry_run:
            return False
        if summary.changes:
            confirm(f"Apply this plan to stack '{name}'?", yes=yes)
        return True

    outputs = lifecycle.deploy(loaded, agreed, upgrade_images=upgrade_images, replace_data=replace_data)
    progress.close()
    if outputs is None:
        return
    if not no_register:
        stacks.register_deployed(name, lifecycle.registration(), activate=activate)
    awake = bring_to_head(lifecycle, progress, wait=wait)
    progress.close()
    if awake:
        click.echo(
            f"Stack '{name}' is deployed. Head: {outputs['head_public_ip']}. Next: rayform stack set {name}"
        )
    else:
        click.echo(
            f"Stack '{name}' is deployed. Its head is asleep: `rayform stack start {name}` wakes it, and what changed "
            "for the cluster takes effect then."
        )


@click.command("outputs")
@click.argument("name", required=False)
@json_option
def outputs(name: str | None, json_wanted: bool) -> None:
    """Show a deployed stack's outputs."""
    lifecycle, _ = lifecycle_of(meant_stack(name), None, quiet=True)
    values = lifecycle.outputs()
    if json_wanted:
        as_json(values)
        return
    for key, value in sorted(values.items()):
        click.echo(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")


@click.command("refresh")
@click.argument("name", required=False)
@target_option
def refresh(name: str | None, target: str | None) -> None:
    """Read the cloud's present state, and register the stack anew."""
    from rayform import stacks

    lifecycle, progress = lifecycle_of(meant_stack(name), target)
    lifecycle.refresh()
    if not lifecycle.learn_host_keys(0):
        progress.note("The head hasn't told its SSH host keys yet; refresh again once it has booted.")
    progress.close()
    stacks.register_deployed(lifecycle.name, lifecycle.registration())
    click.echo(f"Stack '{lifecycle.name}' is up to date.")


@click.command("destroy")
@click.argument("name", required=False)
@click.option("--delete-data", is_flag=True, help="Delete artifacts, images and the catalog too.")
@click.option(
    "--keep-data", is_flag=True, help="Keep the bucket, the registry and a snapshot of the catalog."
)
@yes_option
@target_option
def destroy(name: str | None, delete_data: bool, keep_data: bool, yes: bool, target: str | None) -> None:
    """Remove a deployed stack and all that bears its tag."""
    import sys

    from rayform import stacks
    from rayform.cli.deploy_progress import print_plan
    from rayform_core.errors import UsageError

    lifecycle, progress = lifecycle_of(meant_stack(name), target)
    record = lifecycle.folder.existing()

    def agreed(summary: Any) -> bool:
        progress.close()
        print_plan(summary, destroying=True)
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError("There is no terminal to ask on.", hint="Say --yes to destroy without asking.")
        typed = click.prompt(f"Type the stack's name ({lifecycle.name}) to destroy it", default="", err=True)
        if typed != lifecycle.name:
            click.echo("That is not its name: nothing was destroyed.")
            return False
        return True

    kept = lifecycle.destroy(agreed, delete_data=delete_data, keep_data=keep_data)
    progress.close()
    if kept is None:
        return
    stacks.unregister_deployed(record.reference)
    click.echo(f"Stack '{lifecycle.name}' is gone: the cloud lists nothing that bears its tag.")
    for item in kept:
        click.echo(f"Kept: {item}. {how_to_adopt(item)}")


def how_to_adopt(item: str) -> str:
    """Say which words of a definition take over `item`, which a destroy kept."""
    if item.endswith("-catalog-final"):
        return f"Start from it: `catalog: {{restore_snapshot: {item}}}`."
    section = "container_registry" if "/" in item else "artifact_store"
    return f"Take it over: `{section}: {{adopt: {item}}}`."


@click.command("history")
@click.argument("name", required=False)
@json_option
def history(name: str | None, json_wanted: bool) -> None:
    """Show what was applied to a stack, when and by whom."""
    from rayform_core.errors import NotFoundError
    from rayform_provisioner.stack_folder import StackFolder, deployed_names

    folder = StackFolder(meant_stack(name))
    entries = folder.history()
    if not entries and folder.record() is None:
        raise NotFoundError("deployed stack", folder.name, known=deployed_names())
    if json_wanted:
        as_json([entry.model_dump() for entry in entries])
        return
    for entry in entries:
        counts = f"+{entry.added} ~{entry.changed} -{entry.removed}"
        failure = f"  {entry.error}" if entry.error else ""
        click.echo(
            f"{entry.at}  {entry.operation:<8} {entry.result:<11} {counts:<14} {entry.seconds:7.1f} s  "
            f"{entry.who}  {entry.reference}{failure}"
        )


@click.command("export-terraform")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--definition", default=_FILE, type=click.Path(path_type=Path), help="The stack definition.")
@target_option
def export_terraform(directory: Path, definition: Path, target: str | None) -> None:
    """Write a root module that runs with bare Terraform."""
    loaded = _loaded(definition)
    lifecycle, _ = lifecycle_of(loaded.definition.name, target, quiet=True, may_settle=True)
    files = lifecycle.export(loaded, directory)
    click.echo(
        f"Wrote {len(files)} files to {directory}. Next: cd {directory} && terraform init && terraform plan"
    )
