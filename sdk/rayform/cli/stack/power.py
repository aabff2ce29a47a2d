"""`rayform stack start` and `stop`: start and stop the cluster of a deployed stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rayform.cli.options import confirm, yes_option
from rayform.cli.output import echo

if TYPE_CHECKING:
    from rayform.stacks import StackRecord
    from rayform_runtime.cluster.config import RayOrchestratorConfig

__all__ = ["forgotten_workers", "start", "stop"]


def _orchestrator(name: str | None) -> tuple[str, RayOrchestratorConfig]:
    from rayform import stacks
    from rayform_core.errors import UsageError
    from rayform_runtime.cluster.config import RayOrchestratorConfig
    from rayform_runtime.components import ComponentKind

    spec = stacks.active_stack(name)
    config = spec.components[ComponentKind.ORCHESTRATOR].validated_config()
    if not isinstance(config, RayOrchestratorConfig) or config.instance_id is None:
        raise UsageError(
            f"Stack '{spec.name}' has no cluster to start or stop.",
            hint="Name a deployed stack, or deploy one: rayform stack deploy.",
        )
    return spec.name, config


def forgotten_workers(record: StackRecord) -> list[str]:
    """Return the IDs of a stack's workers that run without their head.

    Raises:
        RayformError: the stack can't be read, or its cloud doesn't answer.
    """
    from rayform.stacks import components
    from rayform_runtime.cluster.config import RayOrchestratorConfig
    from rayform_runtime.cluster.from_laptop.power import workers_without_head

    part = components.read_component("orchestrator", record.components["orchestrator"])
    config = components.to_component_spec(part).validated_config()
    if not isinstance(config, RayOrchestratorConfig) or config.instance_id is None:
        return []
    return workers_without_head(config)


@click.command("start")
@click.argument("name", required=False)
def start(name: str | None) -> None:
    """Start the head of a sleeping stack, and wait until it is ready."""
    from rayform_runtime.cluster.from_laptop.power import start_head

    stack, config = _orchestrator(name)
    start_head(config, echo)
    echo(f"The cluster of stack '{stack}' is ready.")


@click.command("stop")
@click.argument("name", required=False)
@yes_option
def stop(name: str | None, yes: bool) -> None:
    """Remove a stack's workers and stop its head; its disk, data and address stay."""
    from rayform_runtime.cluster.from_laptop.power import stop_cluster

    stack, config = _orchestrator(name)
    confirm(f"Stop the cluster of stack '{stack}' and every run on it?", yes=yes)
    stop_cluster(config, echo)
    echo(f"The cluster of stack '{stack}' is stopped. Start it again: rayform stack start {stack}")
