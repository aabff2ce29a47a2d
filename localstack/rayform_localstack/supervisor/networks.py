"""One bridge network for each VPC, with the VPC's own CIDR, so that machines have the API's private addresses."""

from __future__ import annotations

import ipaddress
import threading
from pathlib import Path

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from rayform_localstack.labels import CLOUD, INSTANCE, KIND, Kind, container_name
from rayform_localstack.supervisor.errors import BootError

__all__ = ["Networks", "bridge_options", "overlapping"]


def bridge_options() -> dict[str, str]:
    """Return driver options for the MTU of this machine's default route, which may be smaller than Docker's."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000":
            mtu = Path(f"/sys/class/net/{fields[0]}/mtu").read_text().strip()
            return {"com.docker.network.driver.mtu": mtu}
    return {}


def overlapping(client: DockerClient, cidr: str) -> str | None:
    """Return what already uses addresses of `cidr` on this machine, in words, or `None`."""
    addresses = ipaddress.ip_network(cidr)
    bridges = set()
    for network in client.api.networks():
        bridges.add(f"br-{network['Id'][:12]}")
        bridges.add((network.get("Options") or {}).get("com.docker.network.bridge.name", ""))
        for pool in (network.get("IPAM") or {}).get("Config") or []:
            if pool.get("Subnet") and ":" not in pool["Subnet"]:
                used = ipaddress.ip_network(pool["Subnet"])
                if used.overlaps(addresses):
                    return f"Docker's network '{network['Name']}' ({used})"
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        device, target, _, _, _, _, _, mask = line.split()[:8]
        if device in bridges or target == "00000000":
            continue
        address, netmask = (
            ipaddress.ip_address(int.from_bytes(bytes.fromhex(h), "little")) for h in (target, mask)
        )
        used = ipaddress.ip_network(f"{address}/{netmask}", strict=False)
        if used.overlaps(addresses):
            return f"this machine's own network {used} at '{device}'"
    return None


class Networks:
    """Makes and removes the networks of one cloud's VPCs.

    Args:
        client: Docker Engine.
        cloud: the cloud's identifier.
    """

    def __init__(self, client: DockerClient, cloud: str) -> None:
        self.client = client
        self.cloud = cloud
        self._lock = threading.Lock()
        self._networks: dict[str, str] = {}

    def ensure(self, vpc: str, cidr: str) -> str:
        """Return the name of a VPC's network; make the network if it is missing.

        Raises:
            BootError: its addresses are in use on this machine.
        """
        name = container_name(self.cloud, vpc)
        with self._lock:
            if vpc in self._networks:
                return name
            if not self.client.api.networks(names=[name]):
                self._create(name, vpc, cidr)
            self._networks[vpc] = name
            return name

    def _create(self, name: str, vpc: str, cidr: str) -> None:
        user = overlapping(self.client, cidr)
        if user is not None:
            raise BootError(
                f"The CIDR {cidr} of VPC {vpc} overlaps {user}. Give the VPC another CIDR, or remove that network."
            )
        gateway = str(ipaddress.ip_network(cidr)[1])
        try:
            self.client.api.create_network(
                name,
                driver="bridge",
                options=bridge_options(),
                ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=cidr, gateway=gateway)]),
                labels={CLOUD: self.cloud, KIND: Kind.VPC, INSTANCE: vpc},
                check_duplicate=True,
            )
        except APIError as error:
            raise BootError(
                f"Docker can't make the network of VPC {vpc} ({cidr}): {error.explanation}"
            ) from error

    def keep_only(self, vpcs: set[str]) -> None:
        """Remove the networks of all other VPCs."""
        with self._lock:
            labels = [f"{CLOUD}={self.cloud}", f"{KIND}={Kind.VPC}"]
            for network in self.client.api.networks(filters={"label": labels}):
                vpc = network["Labels"].get(INSTANCE, "")
                if vpc in vpcs:
                    continue
                try:
                    self.client.api.remove_network(network["Id"])
                except NotFound:
                    pass
                except APIError:
                    continue  # a container in it still ends: the next round removes the network
                self._networks.pop(vpc, None)
