"""One bridge network for each VPC, with the VPC's own CIDR, so that private addresses are the API's."""

from __future__ import annotations

import ipaddress
import threading
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from rayform_localstack.labels import CLOUD, INSTANCE, KIND, Kind, container_name
from rayform_localstack.supervisor.errors import BootError

__all__ = ["Networks", "bridge_options", "overlapping"]


def bridge_options() -> dict[str, str]:
    """Return driver options that fit the machine's way out: its MTU may be smaller than Docker's default."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000":
            mtu = Path(f"/sys/class/net/{fields[0]}/mtu").read_text().strip()
            return {"com.docker.network.driver.mtu": mtu}
    return {}


def overlapping(client: DockerClient, cidr: str) -> str | None:
    """Say what already uses addresses of `cidr` on this machine, or return `None`."""
    wanted = ipaddress.ip_network(cidr)
    bridges = set()
    for network in client.api.networks():
        bridges.add(f"br-{network['Id'][:12]}")
        bridges.add((network.get("Options") or {}).get("com.docker.network.bridge.name", ""))
        for pool in (network.get("IPAM") or {}).get("Config") or []:
            if pool.get("Subnet") and ":" not in pool["Subnet"]:
                taken = ipaddress.ip_network(pool["Subnet"])
                if taken.overlaps(wanted):
                    return f"Docker's network '{network['Name']}' ({taken})"
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        device, target, _, _, _, _, _, mask = line.split()[:8]
        if device in bridges or target == "00000000":
            continue
        address, netmask = (
            ipaddress.ip_address(int.from_bytes(bytes.fromhex(h), "little")) for h in (target, mask)
        )
        taken = ipaddress.ip_network(f"{address}/{netmask}", strict=False)
        if taken.overlaps(wanted):
            return f"this machine's own network {taken} at '{device}'"
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
        self._known: dict[str, str] = {}

    def ensure(self, vpc: str, cidr: str) -> str:
        """Return the name of a VPC's network, made where it is missing.

        Raises:
            BootError: its addresses are in use on this machine.
        """
        name = container_name(self.cloud, vpc)
        with self._lock:
            if vpc in self._known:
                return name
            if not self.client.api.networks(names=[name]):
                self._create(name, vpc, cidr)
            self._known[vpc] = name
            return name

    def _create(self, name: str, vpc: str, cidr: str) -> None:
        user = overlapping(self.client, cidr)
        if user is not None:
            raise BootError(
                f"VPC {vpc} wants {cidr}, which overlaps {user}; give the VPC another CIDR, or remove that network"
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
                f"the network of VPC {vpc} ({cidr}) can't be made: {error.explanation}"
            ) from error

    def forget(self, wanted: set[str]) -> None:
        """Remove networks of VPCs in which nothing is wanted any more."""
        with self._lock:
            found: list[dict[str, Any]] = self.client.api.networks(
                filters={"label": [f"{CLOUD}={self.cloud}", f"{KIND}={Kind.VPC}"]}
            )
            for network in found:
                vpc = network["Labels"].get(INSTANCE, "")
                if vpc in wanted:
                    continue
                try:
                    self.client.api.remove_network(network["Id"])
                except NotFound:
                    pass
                except APIError:
                    continue  # a container still ends in it: the next round removes it
                self._known.pop(vpc, None)
