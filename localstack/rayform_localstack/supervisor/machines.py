"""Instances as containers: boot, stop, start, reboot, end."""

from __future__ import annotations

import logging
import os
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.types import LogConfig

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
    """Return the CPUs and bytes of memory that one machine may use at most on this host."""
    facts = client.info()
    return int(facts["NCPU"]), int(facts["MemTotal"] * MEMORY_SHARE)


class Machines:
    """Boots and ends the machines of one cloud. Every method may be repeated after a crash at any point.

    Args:
        client: Docker Engine.
        state: the cloud.
        networks: the cloud's VPC networks.
    """

    def __init__(self, client: DockerClient, state: CloudState, networks: Networks) -> None:
        self.client = client
        self.api: Any = client.api  # its stubs know neither networks by name nor log settings
        self.state = state
        self.networks = networks
        self.cpus, self.memory = host_limits(client)

    def name(self, instance: str) -> str:
        """Return the name of an instance's container."""
        return container_name(self.state.id, instance)

    def limits(self, machine: dict[str, Any]) -> tuple[int, int]:
        """Return CPUs and memory that a machine of this type really gets here."""
        return min(int(machine["cpus"]), self.cpus), min(int(machine["memory_bytes"]), self.memory)

    def boot(self, instance: dict[str, Any]) -> None:
        """Make an instance's container where it is missing, and start it.

        Raises:
            BootError: it can't be made here.
        """
        name = self.name(instance["id"])
        network = self.networks.ensure(instance["vpc"], instance["cidr"])
        try:
            self._create(name, network, instance)
        except APIError as error:
            if error.status_code != 409:  # made before a crash, or by this very call repeated
                raise BootError(f"its container can't be made: {error.explanation}") from error
        try:
            self.api.start(name)
        except APIError as error:
            raise BootError(f"its container can't be started: {error.explanation}") from error

    def _create(self, name: str, network: str, instance: dict[str, Any]) -> None:
        cpus, memory = self.limits(instance["machine"])
        engine = _socket()
        host_config = self.api.create_host_config(
            init=True,
            # NET_ADMIN for the route to the metadata service, in the machine's own network namespace;
            # SYS_PTRACE for py-spy and debuggers. `--privileged` is refused on some hosts and not needed.
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
        """End a machine and what it started, its disk included.

        Args:
            container: its name or identifier.
            abruptly: pull the plug, with no time to shut down.
        """
        self._end_steps(container)
        try:
            if not abruptly:
                self.api.stop(container, timeout=STOP_SECONDS)
            self.api.remove_container(container, force=True, v=True)
        except NotFound:
            pass
        except APIError as error:
            if error.status_code != 409:  # somebody else removes it at this moment
                raise

    def _end_steps(self, container: str) -> None:
        """End the containers that a machine started: they live in its namespaces and would hold them."""
        try:
            identifier = self.api.inspect_container(container)["Id"]
        except NotFound:
            return
        label = f"{CLOUD}={self.state.id}"
        found = self.api.containers(all=True, filters={"label": [label, f"{NODE}={identifier}"]})
        # Whoever spoke to the host's engine past the machine's socket left no label, but shares the network.
        for other in self.api.containers(all=True):
            if (other.get("HostConfig") or {}).get("NetworkMode") == f"container:{identifier}":
                found.append(other)
        for step in {item["Id"] for item in found}:
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
