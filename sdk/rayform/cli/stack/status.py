"""`rayform stack status`: the state of a deployed stack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rayform.cli.output import echo, json_option, print_json, secho
from rayform.cli.stack.selection import lifecycle_of, selected_stack, target_option

if TYPE_CHECKING:
    from rayform_provisioner.lifecycle import Lifecycle
    from rayform_provisioner.stack_folder import Running, StackRecord
    from rayform_provisioner.terraform.plans import PlanSummary

__all__ = ["running_runs", "status"]

_NOT_RUNNING = ("asleep", "missing")
"""States of a head whose autoscaler ends no worker."""


@click.command("status")
@click.argument("name", required=False)
@click.option(
    "--no-drift", is_flag=True, help="Don't compare each resource with the definition; that takes a while."
)
@target_option
@json_option
def status(name: str | None, no_drift: bool, target: str | None, json_wanted: bool) -> None:
    """Show a deployed stack's health, drift, age and cost, its nodes, and what runs on them."""
    lifecycle, progress = lifecycle_of(selected_stack(name), target, quiet=json_wanted)
    record = lifecycle.folder.existing()
    facts, drift = _look(lifecycle, record, with_drift=not no_drift)
    progress.close()
    if json_wanted:
        print_json(facts)
    else:
        _print_status(lifecycle, record, facts, drift)


def _look(
    lifecycle: Lifecycle, record: StackRecord, *, with_drift: bool
) -> tuple[dict[str, Any], PlanSummary | None]:
    """Return the facts that `--json` prints, and the drift if it was looked for and could be read."""
    from rayform_core.errors import RayformError
    from rayform_provisioner.definitions.definition import load_definition

    facts: dict[str, Any] = {
        "name": record.name,
        "reference": record.reference,
        "state": record.status,
        "region": record.region,
        "target": record.target,
        "created": record.created,
        "deployed": record.deployed,
    }
    if not record.outputs:
        return facts, None
    definition = load_definition(lifecycle.folder.definition_file, applied=True).definition
    health = lifecycle.cloud.health(lifecycle.target, record.region, record.outputs, definition)
    kinds = ("orchestrator", "artifact-store", "container-registry", "catalog")
    facts["components"] = [
        {"component": kind, "name": item.name, "state": item.state, "detail": item.detail}
        for kind, item in zip(kinds, health.components, strict=True)
    ]
    facts["workers"] = health.workers
    facts["workers_without_head"] = bool(health.workers) and health.components[0].state in _NOT_RUNNING
    facts["dollars_an_hour"] = round(health.hourly, 4)
    if health.components[0].state == "healthy":
        facts["cluster"] = _cluster_of(lifecycle)
    if not with_drift:
        return facts, None
    try:
        drift = lifecycle.drift()
    except RayformError as error:
        facts["drift_error"] = str(error)
        return facts, None
    facts["drift"] = [
        {"address": c.address, "action": c.action, "fields": list(c.fields)} for c in drift.changes
    ]
    return facts, drift


def _cluster_of(lifecycle: Lifecycle) -> dict[str, Any]:
    """Ask an awake head for its nodes; if it can't be reached from here, return the reason."""
    from rayform.cli.cluster_view import ask_cluster
    from rayform_runtime.cluster.config import RayOrchestratorConfig
    from rayform_runtime.cluster.from_laptop.head import ClusterHead

    config = RayOrchestratorConfig.model_validate(lifecycle.registration()["orchestrator"]["config"])
    if config.known_hosts and not Path(config.known_hosts).is_file():
        return {"unreachable": "The head's host key isn't pinned yet. Pin it: rayform stack refresh."}
    return ask_cluster(ClusterHead(config))


def running_runs(lifecycle: Lifecycle) -> list[str]:
    """Return the names of the runs on the stack's cluster; empty if it is asleep or can't be asked."""
    from rayform_core.errors import RayformError
    from rayform_provisioner.definitions.definition import load_definition

    record = lifecycle.folder.existing()
    if not record.outputs or not lifecycle.folder.definition_file.exists():
        return []
    definition = load_definition(lifecycle.folder.definition_file, applied=True).definition
    try:
        health = lifecycle.cloud.health(lifecycle.target, record.region, record.outputs, definition)
        if health.components[0].state != "healthy":
            return []
        runs: list[str] = _cluster_of(lifecycle).get("runs", [])
    except RayformError:
        return []  # a stack that is half gone must still be destroyed
    return runs


def _print_status(
    lifecycle: Lifecycle, record: StackRecord, facts: dict[str, Any], drift: PlanSummary | None
) -> None:
    echo(f"{record.name} ({record.reference}): {record.status}, {record.target}, {record.region}")
    echo(
        f"  created {_when(record.created)}"
        + (f", last deployed {_when(record.deployed)}" if record.deployed else "")
    )
    if record.status != "deployed":
        echo(f"  {_unfinished(lifecycle.folder.holder(), record)}")
    for item in facts.get("components", []):
        colour = {"healthy": "green", "asleep": "cyan"}.get(item["state"], "red")
        detail = f"  {item['detail']}" if item["detail"] else ""
        echo(f"  {item['component']:<20}{click.style(item['state'], fg=colour)}  {item['name']}{detail}")
    for kind, count in facts.get("workers", {}).items():
        echo(f"  workers             {count} × {kind}")
    if facts.get("workers_without_head"):
        warning = (
            "  warning             the workers run, and are billed, without their head. End them: "
            f"rayform stack stop {record.name}"
        )
        echo(click.style(warning, fg="yellow"))
    if "dollars_an_hour" in facts:
        echo(f"  cost now            about ${facts['dollars_an_hour']:.3f} an hour")
    if drift is not None:
        _print_drift(drift)
    elif "drift_error" in facts:
        secho(f"  drift               unknown: {facts['drift_error']}", fg="yellow")
    if "cluster" in facts:
        _print_cluster(facts["cluster"])


def _unfinished(holder: Running | None, record: StackRecord) -> str:
    """Say what is happening to a stack that isn't fully deployed, or how to continue."""
    if holder is not None:
        by = f"{holder.who} (process {holder.pid})"
        return f"`{holder.operation}` of {by} has been running since {_when(holder.started)}"
    if record.status == "planned":
        return "never deployed: none of it is in the cloud"
    if record.status == "deploying":
        return (
            f"not finished. Continue: rayform stack deploy. Or remove it: rayform stack destroy {record.name}"
        )
    return f"not finished. Continue: rayform stack destroy {record.name}"


def _print_drift(drift: PlanSummary) -> None:
    from rayform.cli.stack.progress import print_plan

    drift.cost = None
    if drift.changes:
        secho("  Drift: the cloud has changed since the last deploy. A deploy would do this:", fg="yellow")
        print_plan(drift)
    else:
        echo("  drift               none")


def _print_cluster(overview: dict[str, Any]) -> None:
    from rayform.cli.cluster_view import print_cluster

    if "unreachable" in overview:
        secho(f"  cluster             unknown: {overview['unreachable']}", fg="yellow")
        return
    echo()
    print_cluster(overview)


def _when(text: str) -> str:
    from datetime import datetime

    from rayform.cli.output import human_time

    return human_time(datetime.fromisoformat(text))
