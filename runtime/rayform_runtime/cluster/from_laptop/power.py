"""Wakes a head that stopped itself, and puts one to sleep: what `rayform stack start` and `stop` do.

Both call the cloud's API with the user's own rights, since a stopped head doesn't answer by SSH.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from rayform_core.emulated_cloud import keys_for
from rayform_core.errors import NotFoundError, PrerequisiteError, RemoteError, UsageError
from rayform_runtime.cluster.ec2 import EC2, end_workers, instances, workers
from rayform_runtime.cluster.from_laptop.head import ClusterHead

if TYPE_CHECKING:
    from rayform_runtime.cluster.config import RayOrchestratorConfig
    from rayform_runtime.cluster.machine.answers import HeadStatus

__all__ = ["head_state", "start_head", "stop_cluster", "workers_without_head"]

T = TypeVar("T")
Report = Callable[[str], None]
_READY_WITHIN = 600.0
_STOPPED_WITHIN = 300.0


def head_state(config: RayOrchestratorConfig) -> str:
    """Return the head's state in the cloud: `pending`, `running`, `stopping`, `stopped` or `terminated`.

    Raises:
        NotFoundError: the cloud has no such instance.
        RemoteError: the cloud doesn't answer, or refuses.
    """
    return _state(_ec2(config), config)


def workers_without_head(config: RayOrchestratorConfig) -> list[str]:
    """Return the IDs of workers that run, and are billed, though their head doesn't; empty if the head runs.

    Raises:
        NotFoundError: the cloud has no such head.
        RemoteError: the cloud doesn't answer, or refuses.
    """
    ec2 = _ec2(config)
    if _state(ec2, config) in ("pending", "running"):
        return []
    return _call(lambda: workers(ec2, str(config.stack_reference), str(config.instance_id)))


def start_head(config: RayOrchestratorConfig, report: Report, *, wait: float = _READY_WITHIN) -> HeadStatus:
    """Start a stopped head and wait until it can run something; return its status. Idempotent.

    Args:
        config: the stack's orchestrator.
        report: called with each phase, in words.
        wait: seconds at most.

    Raises:
        RemoteError: the head isn't ready in time; the message has its last phase.
    """
    ec2 = _ec2(config)
    deadline = time.monotonic() + wait
    state = _state(ec2, config)
    if state == "terminated":
        raise _no_head(config)
    if state == "stopping":
        report("The head is stopping; waiting until it can be started")
        _until(ec2, config, "stopped", deadline)
        state = "stopped"
    if state == "stopped":
        report("Starting the head")
        _call(lambda: ec2.start_instances(InstanceIds=_ids(config)))
    _until(ec2, config, "running", deadline)
    report("Waiting until the head is ready")
    head = ClusterHead(config)
    phase = "it doesn't answer"
    try:
        while time.monotonic() < deadline:
            try:
                status = head.status()
                if status.ready:
                    return status
                phase = status.phase
            except RemoteError as error:
                phase = error.message
            time.sleep(1)
    finally:
        head.close()
    raise RemoteError(
        f"The head didn't get ready within {wait:g} seconds: {phase.rstrip('.')}.",
        hint="`rayform cluster logs head` shows its boot.",
    )


def stop_cluster(config: RayOrchestratorConfig, report: Report) -> None:
    """End the workers and stop the head; its disk stays. Idempotent.

    It returns once the head has stopped and no worker is left. A head that is stopping still runs its autoscaler, which
    may start one more worker after a look.

    Raises:
        RemoteError: the cloud doesn't answer, or refuses.
    """
    ec2 = _ec2(config)
    # The head first: its autoscaler would start the workers again.
    report("Stopping the head")
    _call(lambda: ec2.stop_instances(InstanceIds=_ids(config)))
    deadline = time.monotonic() + _STOPPED_WITHIN

    def head_runs() -> bool:
        state = _state(ec2, config)
        if state not in ("stopped", "terminated") and time.monotonic() > deadline:
            raise RemoteError(f"The head is {state}; it should be stopped by now.")
        return state not in ("stopped", "terminated")

    def ending(number: int) -> None:
        report(f"Ending {number} worker{'' if number == 1 else 's'}")

    _call(
        lambda: end_workers(
            ec2, str(config.stack_reference), str(config.instance_id), can_start_more=head_runs, report=ending
        )
    )
    _until(ec2, config, "stopped", deadline)


def _ec2(config: RayOrchestratorConfig) -> EC2:
    if config.instance_id is None:
        raise UsageError(
            "This stack's orchestrator has no instance to start or stop.",
            hint="Only stacks that `rayform stack deploy` has created have one.",
        )
    try:
        import boto3
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "Stacks on AWS need the Python package 'boto3'.", hint="Install it: pip install 'rayform[aws]'."
        ) from error
    endpoint = config.endpoint_url
    client = boto3.client("ec2", region_name=config.region, endpoint_url=endpoint, **keys_for(endpoint))
    return cast(EC2, client)


def _ids(config: RayOrchestratorConfig) -> list[str]:
    return [str(config.instance_id)]


def _no_head(config: RayOrchestratorConfig) -> NotFoundError:
    hint = "Deploy the stack again: rayform stack deploy."
    return NotFoundError("head instance", str(config.instance_id), hint=hint)


def _state(ec2: EC2, config: RayOrchestratorConfig) -> str:
    heads = instances(_call(lambda: ec2.describe_instances(InstanceIds=_ids(config))))
    if not heads:
        raise _no_head(config)
    return heads[0]["State"]["Name"]


def _until(ec2: EC2, config: RayOrchestratorConfig, state: str, deadline: float) -> None:
    while True:
        now = _state(ec2, config)
        if now == state:
            return
        if now == "terminated" or time.monotonic() > deadline:
            raise RemoteError(f"The head is {now}; it should be {state} by now.")
        time.sleep(0.5)


def _call(request: Callable[[], T]) -> T:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return request()
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "InvalidInstanceID.NotFound":
            raise NotFoundError(
                "head instance", "of this stack", hint="Deploy the stack again: rayform stack deploy."
            ) from error
        raise RemoteError("AWS refuses the request.", why=f"{error}.") from error
    except BotoCoreError as error:
        raise RemoteError(
            "AWS doesn't answer.", why=f"{error}.", hint="Check your credentials and the network."
        ) from error
