"""A cluster that stops leaves no worker, whenever its autoscaler starts one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from support.servers.moto import CREDENTIALS, moto_server

from rayform import stacks
from rayform.cli.stack.registration import stack
from rayform_runtime.cluster import ec2 as cluster_ec2
from rayform_runtime.cluster.config import RayOrchestratorConfig
from rayform_runtime.cluster.from_laptop.power import stop_cluster, workers_without_head
from rayform_runtime.cluster.machine import autostop
from rayform_runtime.cluster.machine import start as machine_start
from rayform_runtime.cluster.machine.settings import MachineSettings

REFERENCE = "vision-1a2b3c4d"


@pytest.fixture(scope="module")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto_server(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url


class Cluster:
    """A head and its workers in moto."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ec2: Any = boto3.client("ec2", region_name="us-east-1", endpoint_url=url)
        self.head = self.launch("head")

    def launch(self, kind: str | None) -> str:
        """Start a machine of the cluster; Ray hasn't tagged its kind yet if `kind` is None."""
        tags = {"ray-cluster-name": REFERENCE, "rayform:stack": REFERENCE}
        if kind:
            tags["ray-node-type"] = kind
        answer = self.ec2.run_instances(
            ImageId="ami-12345678",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
            ],
        )
        return str(answer["Instances"][0]["InstanceId"])

    def state(self, instance: str) -> str:
        answer = self.ec2.describe_instances(InstanceIds=[instance])
        return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])

    def orchestrator(self) -> RayOrchestratorConfig:
        return RayOrchestratorConfig(
            address="ssh://ubuntu@192.0.2.1",
            region="us-east-1",
            instance_id=self.head,
            stack_reference=REFERENCE,
            endpoint_url=self.url,
        )


@pytest.fixture
def cluster(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cluster_ec2, "QUIET_SECONDS", 1.0)
    made = Cluster(moto_url)
    yield made
    ids = cluster_ec2.workers(made.ec2, REFERENCE, head="")
    made.ec2.terminate_instances(InstanceIds=ids)


def test_a_worker_that_starts_while_the_head_stops_ends_too(cluster: Cluster) -> None:
    """`rayform stack stop` looks again after the head has stopped, until no worker is left."""
    first, late = cluster.launch("worker"), []
    looking = threading.Event()

    def autoscaler() -> None:
        looking.wait(30)
        while cluster.state(cluster.head) == "running" or cluster.state(first) == "running":
            pass
        late.extend([cluster.launch("worker"), cluster.launch(None)])

    thread = threading.Thread(target=autoscaler)
    thread.start()
    said: list[str] = []

    def report(line: str) -> None:
        said.append(line)
        looking.set()

    stop_cluster(cluster.orchestrator(), report)
    thread.join()
    assert cluster.state(cluster.head) == "stopped"
    assert [cluster.state(worker) for worker in [first, *late]] == ["terminated"] * 3
    assert said[0] == "Stopping the head" and "Ending 1 worker" in said and len(said) >= 3


def test_a_stopped_cluster_with_a_worker_is_cleaned_by_another_stop(cluster: Cluster) -> None:
    """A worker that an earlier version left running without its head ends with the next stop."""
    cluster.ec2.stop_instances(InstanceIds=[cluster.head])
    forgotten = cluster.launch("worker")
    assert workers_without_head(cluster.orchestrator()) == [forgotten]
    stop_cluster(cluster.orchestrator(), lambda _: None)
    assert cluster.state(forgotten) == "terminated"
    assert workers_without_head(cluster.orchestrator()) == []
    assert cluster.state(cluster.head) == "stopped"


def test_a_list_of_stacks_warns_of_workers_without_a_head(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`rayform stack list --check` names the machines and the command that ends them; a dead cloud is no error."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))
    settings = cluster.orchestrator()
    for name, url in (("vision", cluster.url), ("gone", "http://127.0.0.1:9")):
        config = {**settings.model_dump(exclude_none=True), "endpoint_url": url}
        stacks.register_deployed(
            name, {"reference": f"{name}-1a2b3c4d", "orchestrator": {"flavor": "ray", "config": config}}
        )
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    forgotten = cluster.launch("worker")
    assert "billed" not in CliRunner().invoke(stack, ["list", "--check"], catch_exceptions=False).output
    cluster.ec2.stop_instances(InstanceIds=[cluster.head])
    said = CliRunner().invoke(stack, ["list", "--check"], catch_exceptions=False).output
    assert f"{forgotten}. End them: rayform stack stop vision" in said
    assert "Stack 'gone' was not checked: AWS doesn't answer." in said


def test_a_head_that_stops_itself_ends_ray_first(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The autoscaler's last worker, started while Ray ends, doesn't outlive the head."""
    first, late = cluster.launch("worker"), []

    class Facts:
        instance_id = cluster.head

    def end_ray(settings: MachineSettings) -> None:
        assert cluster.state(cluster.head) == cluster.state(first) == "running"
        late.append(cluster.launch("worker"))

    monkeypatch.setattr(autostop, "instance_facts", Facts)
    monkeypatch.setattr(machine_start, "end_ray", end_ray)
    settings = MachineSettings(
        name="vision",
        reference=REFERENCE,
        region="us-east-1",
        bucket="b",
        ray_version="2.60.0",
        python_version="3.11",
        ray_token_secret="t",
        endpoints={"ec2": cluster.url},
    )
    autostop.stop_cluster(settings, why="idle")
    assert [cluster.state(worker) for worker in [first, *late]] == ["terminated"] * 2
    assert cluster.state(cluster.head) == "stopped"
