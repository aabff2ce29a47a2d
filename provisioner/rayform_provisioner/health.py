"""How a deployed stack is: its components, asked at once, and what it costs right now."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rayform_core.errors import RayformError
from rayform_provisioner.aws import prices
from rayform_provisioner.aws.calls import aws_calls
from rayform_provisioner.aws.inventory import stack_instances
from rayform_provisioner.definitions.costs import estimate
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.targets import Target

__all__ = ["ComponentHealth", "StackHealth", "look"]


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """One component: `state` is `healthy`, `asleep`, `starting`, `missing` or `unreachable`."""

    component: str
    name: str
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StackHealth:
    """The stack now.

    Args:
        components: one for each kind.
        workers: instance type to how many of Ray's workers run.
        hourly: dollars an hour, as it runs now; an estimate.
    """

    components: list[ComponentHealth]
    workers: dict[str, int]
    hourly: float

    @property
    def healthy(self) -> bool:
        """Whether every component is well, or asleep on purpose."""
        return all(item.state in ("healthy", "asleep") for item in self.components)


def look(target: Target, region: str, outputs: dict[str, Any], definition: StackDefinition) -> StackHealth:
    """Ask the cloud how the stack with these outputs is."""
    reference = outputs["reference"]
    clients = {name: target.client(name, region) for name in ("ec2", "s3", "ecr", "rds")}
    asks = [
        lambda: _head(clients["ec2"], outputs["head_instance_id"]),
        lambda: _bucket(clients["s3"], outputs["bucket"]),
        lambda: _registry(clients["ecr"], outputs["registry_name"]),
        lambda: _catalog(clients["rds"], outputs),
    ]
    with ThreadPoolExecutor(5) as pool:
        workers = pool.submit(_workers, target, clients["ec2"], region, reference)
        components = list(pool.map(lambda ask: _asked(target, ask), asks))
        running = workers.result()
    costs = estimate(definition)
    asleep = components[0].state != "healthy"
    hourly = sum(
        line.always + (0 if asleep or line.what.startswith("workers ") else line.awake)
        for line in costs.lines
    )
    factor = prices.REGION_FACTORS.get(definition.region, 1.25)
    spot = {group.instance_type: group.spot for group in definition.compute.workers.values()}
    for kind, count in running.items():
        price = prices.INSTANCE_HOURLY.get(kind, 0.0) * factor
        hourly += count * price * (prices.SPOT_FACTOR if spot.get(kind) else 1)
    return StackHealth(components, running, hourly)


def _asked(target: Target, ask: Any) -> ComponentHealth:
    try:
        with aws_calls(target):
            found: ComponentHealth = ask()
            return found
    except RayformError as error:
        missing = any(word in str(error) for word in ("NotFound", "NoSuchBucket", "404"))
        return ComponentHealth("", "", "missing" if missing else "unreachable", str(error.why or error))


def _head(ec2: Any, instance: str) -> ComponentHealth:
    answer = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [instance]}])
    states = [i["State"]["Name"] for r in answer["Reservations"] for i in r["Instances"]]
    state = states[0] if states else "terminated"
    meaning = {"running": "healthy", "stopped": "asleep", "stopping": "asleep", "pending": "starting"}
    return ComponentHealth("orchestrator", instance, meaning.get(state, "missing"), f"head is {state}")


def _bucket(s3: Any, bucket: str) -> ComponentHealth:
    s3.head_bucket(Bucket=bucket)
    return ComponentHealth("artifact-store", bucket, "healthy")


def _registry(ecr: Any, name: str) -> ComponentHealth:
    ecr.describe_repositories(repositoryNames=[name])
    return ComponentHealth("container-registry", name, "healthy")


def _catalog(rds: Any, outputs: dict[str, Any]) -> ComponentHealth:
    identifier = outputs.get("catalog_identifier")
    if not identifier:
        return ComponentHealth(
            "catalog", outputs["catalog_host"], "healthy", "a server of your own; not asked"
        )
    state = rds.describe_db_instances(DBInstanceIdentifier=identifier)["DBInstances"][0]["DBInstanceStatus"]
    meaning = {"available": "healthy", "stopped": "asleep", "creating": "starting", "starting": "starting"}
    return ComponentHealth("catalog", identifier, meaning.get(state, "unreachable"), f"database is {state}")


def _workers(target: Target, ec2: Any, region: str, reference: str) -> dict[str, int]:
    with aws_calls(target):
        ids = [
            i.id
            for i in stack_instances(target, region, reference)
            if i.worker and i.state in ("running", "pending")
        ]
        if not ids:
            return {}
        counts: dict[str, int] = {}
        for reservation in ec2.describe_instances(InstanceIds=ids)["Reservations"]:
            for item in reservation["Instances"]:
                counts[item["InstanceType"]] = counts.get(item["InstanceType"], 0) + 1
        return counts
