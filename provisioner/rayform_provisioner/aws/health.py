"""Asks AWS for the health of a deployed stack: all components at once, and what it costs right now."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rayform_core.errors import RayformError
from rayform_provisioner.aws import prices
from rayform_provisioner.aws.calls import aws_calls
from rayform_provisioner.aws.clients import AwsClient, client
from rayform_provisioner.aws.costs import estimate
from rayform_provisioner.aws.inventory import stack_instances
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.health import ComponentHealth, StackHealth
from rayform_provisioner.targets import Target

__all__ = ["health"]


def health(
    target: Target, region: str, outputs: Mapping[str, Any], definition: StackDefinition
) -> StackHealth:
    """Return the health of the stack with these outputs; a component without answer is `missing` or `unreachable`."""
    ec2, s3, ecr, rds = (client(target, service, region) for service in ("ec2", "s3", "ecr", "rds"))
    questions = [
        lambda: _head(ec2, outputs["head_instance_id"]),
        lambda: _bucket(s3, outputs["bucket"]),
        lambda: _registry(ecr, outputs["registry_name"]),
        lambda: _catalog(rds, outputs),
    ]
    with ThreadPoolExecutor(5) as pool:
        workers = pool.submit(_workers, target, ec2, region, outputs["reference"])
        components = list(pool.map(lambda question: _answer(target, question), questions))
        counts = workers.result()
    asleep = components[0].state != "healthy"
    return StackHealth(components, counts, _hourly(definition, counts, asleep=asleep))


def _hourly(definition: StackDefinition, workers: Mapping[str, int], *, asleep: bool) -> float:
    """Return dollars an hour with these workers; an estimate."""
    hourly = sum(
        line.always + (0 if asleep or line.what.startswith("workers ") else line.awake)
        for line in estimate(definition).lines
    )
    factor = prices.region_factor(definition.region)
    spot = {group.instance_type: group.spot for group in definition.compute.workers.values()}
    for instance_type, count in workers.items():
        price = prices.INSTANCE_HOURLY.get(instance_type, 0.0) * factor
        hourly += count * price * (prices.SPOT_FACTOR if spot.get(instance_type) else 1)
    return hourly


def _answer(target: Target, question: Callable[[], ComponentHealth]) -> ComponentHealth:
    try:
        with aws_calls(target):
            return question()
    except RayformError as error:
        missing = any(word in str(error) for word in ("NotFound", "NoSuchBucket", "404"))
        return ComponentHealth("", "", "missing" if missing else "unreachable", str(error.why or error))


def _head(ec2: AwsClient, instance: str) -> ComponentHealth:
    answer = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [instance]}])
    states = [i["State"]["Name"] for r in answer["Reservations"] for i in r["Instances"]]
    state = states[0] if states else "terminated"
    meaning = {"running": "healthy", "stopped": "asleep", "stopping": "asleep", "pending": "starting"}
    return ComponentHealth("orchestrator", instance, meaning.get(state, "missing"), f"head is {state}")


def _bucket(s3: AwsClient, bucket: str) -> ComponentHealth:
    s3.head_bucket(Bucket=bucket)
    return ComponentHealth("artifact-store", bucket, "healthy")


def _registry(ecr: AwsClient, name: str) -> ComponentHealth:
    ecr.describe_repositories(repositoryNames=[name])
    return ComponentHealth("container-registry", name, "healthy")


def _catalog(rds: AwsClient, outputs: Mapping[str, Any]) -> ComponentHealth:
    identifier = outputs.get("catalog_identifier")
    if not identifier:
        return ComponentHealth(
            "catalog", outputs["catalog_host"], "healthy", "a server of your own; not asked"
        )
    state = rds.describe_db_instances(DBInstanceIdentifier=identifier)["DBInstances"][0]["DBInstanceStatus"]
    meaning = {"available": "healthy", "stopped": "asleep", "creating": "starting", "starting": "starting"}
    return ComponentHealth("catalog", identifier, meaning.get(state, "unreachable"), f"database is {state}")


def _workers(target: Target, ec2: AwsClient, region: str, reference: str) -> dict[str, int]:
    """Return instance type to how many of Ray's workers run."""
    with aws_calls(target):
        ids = [
            instance.id
            for instance in stack_instances(target, region, reference)
            if instance.worker and instance.state in ("running", "pending")
        ]
        if not ids:
            return {}
        answer = ec2.describe_instances(InstanceIds=ids)
    return dict(
        collections.Counter(item["InstanceType"] for r in answer["Reservations"] for item in r["Instances"])
    )
