"""Wakes a head that stopped itself, and puts one to sleep: what `rayform stack start` and `stop` do.

Both go to the cloud's API with the person's own rights: a stopped head has no SSH to ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayform_core.emulated_cloud import keys_for
from rayform_core.errors import NotFoundError, PrerequisiteError, RemoteError, UsageError
from rayform_runtime.cluster.from_laptop.head import ClusterHead

if TYPE_CHECKING:
    from rayform_runtime.cluster.config import RayOrchestratorConfig

__all__ = ["head_state", "start_head", "stop_cluster"]

Report = Callable[[str], None]
_READY_WITHIN = 600.0
_STOPPED_WITHIN = 300.0


def head_state(config: RayOrchestratorConfig) -> str:
    """Return the head's state by the cloud's API: `pending`, `running`, `stopping`, `stopped`, `terminated`.

    Raises:
        NotFoundError: the cloud has no such instance.
        RemoteError: the cloud doesn't answer, or refuses.
    """
    return str(_describe(_ec2(config), config)["State"]["Name"])


def start_head(
    config: RayOrchestratorConfig, report: Report, *, wait: float = _READY_WITHIN
) -> dict[str, Any]:
    """Start a stopped head and wait until it can run something. Idempotent.

    Args:
        config: the stack's orchestrator.
        report: told what is waited for.
        wait: seconds at most.

    Returns:
        what the head says of itself.

    Raises:
        RemoteError: it doesn't come up; says how far it came.
    """
    ec2 = _ec2(config)
    deadline = time.monotonic() + wait
    state = _describe(ec2, config)["State"]["Name"]
    if state == "terminated":
        raise NotFoundError(
            "head instance", str(config.instance_id), hint="Deploy the stack again: rayform stack deploy."
        )
    if state == "stopping":
        report("The head is stopping; waiting until it can be started")
        _until(ec2, config, "stopped", deadline)
        state = "stopped"
    if state == "stopped":
        report("Starting the head")
        _call(lambda: ec2.start_instances(InstanceIds=[config.instance_id]))
    _until(ec2, config, "running", deadline)
    report("Waiting until the head is ready")
    head = ClusterHead(config)
    said = "it doesn't answer"
    try:
        while time.monotonic() < deadline:
            try:
                status = head.status()
                if status["ready"]:
                    return status
                said = str(status["phase"])
            except RemoteError as error:
                said = error.message
            time.sleep(1)
    finally:
        head.close()
    raise RemoteError(
        f"The head didn't get ready within {wait:g} seconds: {said}.",
        hint="`rayform cluster logs head` shows its boot.",
    )


def stop_cluster(config: RayOrchestratorConfig, report: Report) -> None:
    """End the workers and stop the head; its disk stays. Idempotent.

    Raises:
        RemoteError: the cloud doesn't answer, or refuses.
    """
    ec2 = _ec2(config)
    filters = [
        {"Name": "tag:ray-cluster-name", "Values": [str(config.stack_reference)]},
        {"Name": "tag:ray-node-type", "Values": ["worker"]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    # The head first: its autoscaler would start the workers again.
    report("Stopping the head")
    _call(lambda: ec2.stop_instances(InstanceIds=[config.instance_id]))
    pages = _call(lambda: list(ec2.get_paginator("describe_instances").paginate(Filters=filters)))
    workers = [i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]]
    if workers:
        report(f"Ending {len(workers)} worker{'' if len(workers) == 1 else 's'}")
        _call(lambda: ec2.terminate_instances(InstanceIds=workers))
    _until(ec2, config, "stopped", time.monotonic() + _STOPPED_WITHIN)


def _ec2(config: RayOrchestratorConfig) -> Any:
    if config.instance_id is None:
        raise UsageError(
            "This stack's orchestrator has no instance of its own to start or stop.",
            hint="Only stacks that `rayform stack deploy` made have one.",
        )
    try:
        import boto3
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "Stacks on AWS need the Python package 'boto3'.", hint="Install it: pip install 'rayform[aws]'."
        ) from error
    make: Any = boto3.client
    endpoint = config.endpoint_url
    return make("ec2", region_name=config.region, endpoint_url=endpoint, **keys_for(endpoint))


def _describe(ec2: Any, config: RayOrchestratorConfig) -> dict[str, Any]:
    found = _call(lambda: ec2.describe_instances(InstanceIds=[config.instance_id]))
    for reservation in found["Reservations"]:
        for instance in reservation["Instances"]:
            return dict(instance)
    raise NotFoundError(
        "head instance", str(config.instance_id), hint="Deploy the stack again: rayform stack deploy."
    )


def _until(ec2: Any, config: RayOrchestratorConfig, state: str, deadline: float) -> None:
    while True:
        now = _describe(ec2, config)["State"]["Name"]
        if now == state:
            return
        if now == "terminated" or time.monotonic() > deadline:
            raise RemoteError(f"The head is {now}, and was waited for to be {state}.")
        time.sleep(0.5)


def _call(make: Callable[[], Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return make()
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "InvalidInstanceID.NotFound":
            raise NotFoundError("head instance", "of this stack", hint="Deploy the stack again.") from error
        raise RemoteError("AWS refuses.", why=f"{error}.") from error
    except BotoCoreError as error:
        raise RemoteError(
            "AWS doesn't answer.", why=f"{error}.", hint="Check your credentials and the network."
        ) from error
