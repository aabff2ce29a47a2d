"""An emulated cloud for tests: its clients, and the helpers that every test of it needs."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from rayform_localstack import cloud, inspection
from rayform_localstack.engine import docker_client
from rayform_localstack.labels import CLOUD, container_name
from rayform_localstack.state import CloudState
from rayform_localstack.supervisor.networks import overlapping

T = TypeVar("T")

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


def eventually(read: Callable[[], T | None], what: str, seconds: float = 30.0) -> T:
    """Call `read` until it returns a true value, and return that; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = read()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


class EmulatedCloud:
    """A running cloud, with an SSH key and a VPC of its own.

    Args:
        state: the cloud.
        folder: receives the SSH key.
    """

    def __init__(self, state: CloudState, folder: Path) -> None:
        self.state = state
        self.key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        self._clients: dict[str, Any] = {}

    def aws(self, service: str) -> Any:
        """Return a client of a service with the administrator's keys."""
        if service not in self._clients:
            import boto3

            self._clients[service] = boto3.client(
                service,
                endpoint_url=self.state.endpoint,
                region_name=self.state.region,
                aws_access_key_id=self.state.access_key,
                aws_secret_access_key=self.state.secret_key,
            )
        return self._clients[service]

    def close(self) -> None:
        """Close the clients' connections."""
        for client in self._clients.values():
            client.close()

    def make_network(self, *, public: bool = True) -> tuple[str, str]:
        """Make a VPC with a CIDR that is free on this machine, and a subnet; return both identifiers."""
        ec2 = self.aws("ec2")
        cidr = free_cidr()
        vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        first = str(next(iter(ipaddress.ip_network(cidr).subnets(new_prefix=24))))
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=first)["Subnet"]["SubnetId"]
        ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": public})
        return vpc, subnet

    def import_key(self, name: str = "key") -> str:
        """Import the cloud's public key as a key pair."""
        self.aws("ec2").import_key_pair(
            KeyName=name, PublicKeyMaterial=self.key.with_suffix(".pub").read_bytes()
        )
        return name

    def make_role(self, name: str, statements: list[dict[str, Any]]) -> str:
        """Make a role with an instance profile of the same name."""
        iam = self.aws("iam")
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy)
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        return name

    def run(self, subnet: str, *, user_data: str = "", count: int = 1, **more: Any) -> list[str]:
        """Run instances; return their identifiers."""
        reservation = self.aws("ec2").run_instances(
            **{
                "ImageId": "ami-12c6146b",
                "MinCount": count,
                "MaxCount": count,
                "InstanceType": "t3.small",
                "SubnetId": subnet,
                "UserData": user_data,
                **more,
            }
        )
        return [i["InstanceId"] for i in reservation["Instances"]]

    def describe(self, instance: str) -> dict[str, Any]:
        """Return an instance as the API describes it."""
        answer: dict[str, Any] = self.aws("ec2").describe_instances(InstanceIds=[instance])
        described: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
        return described

    def await_state(self, instance: str, state: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until the API reports this state of the instance, and return the instance."""

        def read() -> dict[str, Any] | None:
            described = self.describe(instance)
            return described if described["State"]["Name"] == state else None

        return eventually(
            read, f"{instance} is {state}: {self.describe(instance).get('StateReason')}", seconds
        )

    def await_boot(self, instance: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until an instance's user data has ended, and return how it ended."""

        def read() -> dict[str, Any] | None:
            for row in inspection.status()["instances"]:
                if row["id"] == instance and (row["boot"] or {}).get("phase") == "done":
                    return dict(row["boot"])
            return None

        return eventually(read, f"{instance} booted", seconds)

    def container(self, instance: str) -> str:
        """Return the name of an instance's container."""
        return container_name(self.state.id, instance)

    def inside(self, instance: str, *command: str) -> str:
        """Run a command in a machine as root; return its output."""
        done = subprocess.run(
            ["docker", "exec", self.container(instance), *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ssh(self, address: str, command: str, *, user: str = "ubuntu") -> str:
        """Run a command over SSH with the cloud's key; return its output."""
        done = subprocess.run(
            ["ssh", "-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", "-o", "BatchMode=yes", f"{user}@{address}", command],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def free_cidr() -> str:
    """Return a /16 that nothing on this machine uses."""
    client = docker_client()
    for second in range(100, 250):
        cidr = f"10.{second}.0.0/16"
        if overlapping(client, cidr) is None:
            return cidr
    raise AssertionError("no free CIDR on this machine")


def left_in_docker(identifier: str) -> list[str]:
    """Return the names of the containers, networks and volumes with a cloud's label."""
    api = docker_client().api
    filters = {"label": f"{CLOUD}={identifier}"}
    names = [c["Names"][0] for c in api.containers(all=True, filters=filters)]
    names += [n["Name"] for n in api.networks(filters=filters)]
    names += [v["Name"] for v in api.volumes(filters=filters).get("Volumes") or []]
    return names


def running_cloud(folder: Path, engine: str = "moto", **settings: Any) -> Iterator[EmulatedCloud]:
    """Start a cloud and take it down afterwards; no other cloud may use `RAYFORM_HOME`."""
    state = cloud.up(engine, **settings)
    emulated = EmulatedCloud(state, folder)
    try:
        yield emulated
    finally:
        emulated.close()
        cloud.down()
        assert left_in_docker(state.id) == []
