"""Instances as containers: boot, stop, start, reboot, end."""

from __future__ import annotations

import logging
import os
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.types import LogConfig

from rayform_localstack.desired import Instance, MachineFacts
from rayform_localstack.labels import CLOUD, INSTANCE, KIND, NODE, Kind, container_name
from rayform_localstack.state import CloudState
from rayform_localstack.supervisor.errors import BootError
from rayform_localstack.supervisor.networks import Networks

__all__ = ["Machines", "host_limits"]

STOP_SECONDS = 6
MEMORY_SHARE = 0.6
SHARED_MEMORY_SHARE = 0.35
log = logging.getLogger(__name__)


def host_limits(client: DockerClient) -> tuple[int, int]:
    """Return how many CPUs and bytes of memory one machine may use on this host."""
    facts = client.info()
    return int(facts["NCPU"]), int(facts["MemTotal"] * MEMORY_SHARE)


class Machines:
    """Boots and ends the machines of one cloud. After a crash at any point, every method can be called again.

    Args:
        client: Docker Engine.
        state: the cloud.
        networks: the cloud's VPC networks.
    """

    def __init__(self, client: DockerClient, state: CloudState, networks: Networks) -> None:
        self.client = client
        self.api: Any = client.api  # Any: its stubs lack networks by name and log settings
        self.state = state
        self.networks = networks
        self.cpus, self.memory = host_limits(client)

    def name(self, instance: str) -> str:
        """Return the name of an instance's container."""
        return container_name(self.state.id, instance)

    def limits(self, machine: MachineFacts) -> tuple[int, int]:
        """Return the CPUs and the memory that a machine of this type really gets on this host."""
        return min(machine["cpus"], self.cpus), min(machine["memory_bytes"], self.memory)

    def boot(self, instance: Instance) -> None:
        """Make an instance's container if it is missing, and start it.

        Raises:
            BootError: the container can't be made or started here.
        """
        name = self.name(instance["id"])
        network = self.networks.ensure(instance["vpc"], instance["cidr"])
        try:
            self._create(name, network, instance)
        except APIError as error:
            if error.status_code != 409:  # it was made before a crash, or by an earlier call
                raise BootError(f"Docker can't make its container: {error.explanation}") from error
        try:
            self.api.start(name)
        except APIError as error:
            raise BootError(f"Docker can't start its container: {error.explanation}") from error

    def _create(self, name: str, network: str, instance: Instance) -> None:
        cpus, memory = self.limits(instance["machine"])
        engine = _socket()
        host_config = self.api.create_host_config(
            init=True,
            # NET_ADMIN for the route to the metadata service, in the machine's own network namespace;
            # SYS_PTRACE for py-spy and debuggers. Some hosts refuse `--privileged`, and it isn't needed.
            cap_add=["NET_ADMIN", "SYS_PTRACE"],
            binds={engine: {"bind": "/run/host/docker.sock", "mode": "rw"}} if engine else None,
            port_bindings={22: (instance["loopback"], 22)},
            ipc_mode="shareable",
            shm_size=int(memory * SHARED_MEMORY_SHARE),
            mem_limit=memory,
            nano_cpus=cpus * 1_000_000_000,
            log_config=LogConfig(type="json-file", config={"max-size": "20m", "max-file": "2"}),
        )
        hostname = "ip-" + instance["private_ip"].replace(".", "-")
        endpoint = self.api.create_endpoint_config(
            ipv4_address=instance["private_ip"],
            aliases=[
                hostname,
                f"{hostname}.ec2.internal",
                f"{hostname}.{self.state.region}.compute.internal",
            ],
        )
        self.api.create_container(
            self.state.images["machine"],
            name=name,
            hostname=hostname,
            ports=[22],
            stop_signal="SIGTERM",
            labels={CLOUD: self.state.id, KIND: Kind.MACHINE, INSTANCE: instance["id"]},
            environment={
                "RAYFORM_METADATA": f"{self.state.gateway}:{self.state.metadata_port}",
                "RAYFORM_CONTAINER": name,
                "RAYFORM_CPU_LIMIT": str(cpus),
                "RAYFORM_MEMORY_LIMIT": str(memory),
                "AWS_ENDPOINT_URL": self.state.endpoint,
                "AWS_DEFAULT_REGION": self.state.region,
            },
            host_config=host_config,
            networking_config=self.api.create_networking_config({network: endpoint}),
        )

    def stop(self, instance: str) -> None:
        """Shut an instance down, as its operating system would."""
        self._end_steps(self.name(instance))
        try:
            self.api.stop(self.name(instance), timeout=STOP_SECONDS)
        except NotFound:
            pass

    def restart(self, instance: str) -> None:
        """Reboot an instance: it keeps its disk and addresses."""
        self.stop(instance)
        self.api.start(self.name(instance))

    def remove(self, container: str, *, abruptly: bool = False) -> None:
        """End a machine, the containers that it started, and its disk.

        Args:
            container: its name or identifier.
            abruptly: give it no time to shut down.
        """
        self._end_steps(container)
        try:
            if not abruptly:
                self.api.stop(container, timeout=STOP_SECONDS)
            self.api.remove_container(container, force=True, v=True)
        except NotFound:
            pass
        except APIError as error:
            if error.status_code != 409:  # another thread is removing it
                raise

    def _end_steps(self, container: str) -> None:
        """End the containers that a machine started, since they would keep its namespaces alive."""
        try:
            identifier = self.api.inspect_container(container)["Id"]
        except NotFound:
            return
        label = f"{CLOUD}={self.state.id}"
        labelled = self.api.containers(all=True, filters={"label": [label, f"{NODE}={identifier}"]})
        # A container that wasn't started through the machine's socket has no label, but shares the network.
        sharing = [
            other
            for other in self.api.containers(all=True)
            if (other.get("HostConfig") or {}).get("NetworkMode") == f"container:{identifier}"
        ]
        for step in {item["Id"] for item in (*labelled, *sharing)}:
            try:
                self.api.remove_container(step, force=True, v=True)
            except (NotFound, APIError) as error:
                log.debug("step container %s: %s", step[:12], error)


def _socket() -> str | None:
    """Return the path of the engine's socket on its own host, which machines may use."""
    host = os.environ.get("DOCKER_HOST", "")
    if host.startswith("unix://"):
        return host.removeprefix("unix://")
    return None if host else "/var/run/docker.sock"
