"""The services behind RDS, ECR and Elastic IPs: PostgreSQL servers, an OCI registry, forwarders."""

from __future__ import annotations

import http.client
import io
import json
import shlex
import socket
import tarfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.types import LogConfig

from rayform_localstack.desired import Address, Database
from rayform_localstack.labels import CLOUD, INSTANCE, KIND, SLOT, Kind, container_name
from rayform_localstack.state import CloudState
from rayform_localstack.supervisor.authority import DatabaseAuthority
from rayform_localstack.supervisor.errors import BootError
from rayform_localstack.supervisor.networks import Networks

__all__ = ["Services"]

DATABASE_READY_WITHIN = 60.0
REGISTRY_READY_WITHIN = 20.0
LAYERS_FOLDER = "/var/lib/rayform/layers"
LOGS = LogConfig(type="json-file", config={"max-size": "20m", "max-file": "2"})


class Services:
    """Starts and ends the cloud's databases, registry and forwarders. Every method can be called again.

    Args:
        client: Docker Engine.
        state: the cloud.
        networks: the cloud's VPC networks.
        folder: the state folder, which has the registry's certificate and the CA of the databases.
    """

    def __init__(self, client: DockerClient, state: CloudState, networks: Networks, folder: Path) -> None:
        self.api: Any = client.api  # Any: its stubs lack networks by name and log settings
        self.state = state
        self.networks = networks
        self.folder = folder
        self.authority = DatabaseAuthority(folder)

    def _labels(self, kind: str, identifier: str) -> dict[str, str]:
        return {CLOUD: self.state.id, KIND: kind, INSTANCE: identifier, SLOT: str(self.state.slot)}

    def _start(self, name: str) -> None:
        try:
            self.api.start(name)
        except APIError as error:
            raise BootError(f"Docker can't start '{name}': {error.explanation}") from error

    def _put(self, name: str, folder: str, files: dict[str, bytes]) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path, data in files.items():
                info = tarfile.TarInfo(path)
                info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
                tar.addfile(info, io.BytesIO(data))
        self.api.put_archive(name, folder, archive.getvalue())

    # Databases ------------------------------------------------------------------------------------------------

    def start_database(self, database: Database, password: str) -> None:
        """Run a database; return once it accepts connections.

        Raises:
            BootError: it can't be made here, or doesn't start.
        """
        name = container_name(self.state.id, f"db-{database['id']}")
        volume = f"{name}-data"
        network = self.networks.ensure(database["vpc"], database["cidr"])
        labels = self._labels(Kind.DATABASE, database["id"])
        try:
            self.api.create_volume(volume, labels=labels)
            self.api.create_container(
                self.state.images["services"],
                command=["/usr/lib/rayform-services/database.sh"],
                name=name,
                labels=labels,
                stop_signal="SIGINT",  # PostgreSQL's fast shutdown
                volumes=["/var/lib/rayform/data"],
                host_config=self.api.create_host_config(
                    init=True,
                    binds={volume: {"bind": "/var/lib/rayform/data", "mode": "rw"}},
                    shm_size=256 << 20,
                    log_config=LOGS,
                ),
                networking_config=_attached(
                    network, self.api.create_endpoint_config(ipv4_address=database["private_ip"])
                ),
            )
        except APIError as error:
            if error.status_code != 409:
                raise BootError(f"Docker can't make its container: {error.explanation}") from error
        settings = {
            "MASTER_QUOTED": _psql(database["master"] or "postgres"),
            "PASSWORD_QUOTED": _psql(password),
            "NAME_QUOTED": _psql(database["name"]),
            "PORT": str(database["port"]),
        }
        text = "".join(f"{key}={shlex.quote(value)}\n" for key, value in settings.items())
        # Copied in: environment variables would show in `docker inspect` and the process list.
        key, certificate = self.authority.issue(database["private_ip"])
        files = {"database.env": text.encode(), "database.key": key, "database.crt": certificate}
        self._put(name, "/run", {f"rayform/{file}": data for file, data in files.items()})
        self._start(name)
        where = (database["private_ip"], database["port"])
        self._await(name, partial(_takes_connections, *where), DATABASE_READY_WITHIN)

    def _await(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if ready():
                return
            if not self.api.inspect_container(name)["State"]["Running"]:
                break
            time.sleep(0.05)
        tail = self.api.logs(name, tail=8).decode(errors="replace").strip().replace("\n", " | ")
        raise BootError(f"'{name}' doesn't answer: {tail}")

    def stop_database(self, identifier: str) -> None:
        """Stop a database; it keeps its data."""
        try:
            self.api.stop(container_name(self.state.id, f"db-{identifier}"), timeout=10)
        except NotFound:
            pass

    def remove(self, container: str, volumes: list[str] | None = None) -> None:
        """Remove a container of the cloud, with its volumes."""
        try:
            self.api.remove_container(container, force=True, v=True)
        except NotFound:
            pass
        except APIError as error:
            if error.status_code != 409:
                raise
        for volume in volumes or []:
            try:
                self.api.remove_volume(volume, force=True)
            except (NotFound, APIError):
                pass  # a container that ends still holds it: `down` finds it by its label

    # Registry -------------------------------------------------------------------------------------------------

    def start_registry(self) -> None:
        """Run the registry; return once it answers.

        Raises:
            BootError: it can't be made here, or doesn't start.
        """
        name = container_name(self.state.id, "registry")
        volume = f"{name}-data"
        labels = self._labels(Kind.REGISTRY, "registry")
        host = f"127.77.{self.state.slot}.1"
        is_new = True
        try:
            self.api.create_volume(volume, labels=labels)
            self.api.create_volume(self.state.layers_volume, labels={KIND: Kind.LAYERS})
            self.api.create_container(
                self.state.images["services"],
                command=["/usr/lib/rayform-services/registry.sh"],
                name=name,
                labels=labels,
                ports=[5000],
                volumes=["/var/lib/registry", LAYERS_FOLDER],
                environment={"REGISTRY_HTTP_SECRET": "one-server"},
                host_config=self.api.create_host_config(
                    init=True,
                    binds={
                        volume: {"bind": "/var/lib/registry", "mode": "rw"},
                        self.state.layers_volume: {"bind": LAYERS_FOLDER, "mode": "rw"},
                    },
                    port_bindings={5000: (host, self.state.registry_port)},
                    log_config=LOGS,
                ),
                networking_config=_attached(
                    container_name(self.state.id, "net"), self.api.create_endpoint_config()
                ),
            )
        except APIError as error:
            if error.status_code != 409:
                raise BootError(f"Docker can't make the registry's container: {error.explanation}") from error
            is_new = False
        certificate = (self.folder / "registry.pem").read_bytes()
        settings = json.dumps(self._registry_settings()).encode()  # JSON is YAML
        files = {"rayform/registry.yml": settings, "rayform/registry.pem": certificate}
        if is_new and self._no_other_registry():  # a registry that isn't new may have linked layers
            files["rayform/prune"] = str(self.state.layers_limit).encode()
        self._put(name, "/etc", files)
        self._start(name)
        self._await(name, partial(_answers_http, host, self.state.registry_port), REGISTRY_READY_WITHIN)

    def _no_other_registry(self) -> bool:
        """Return whether there is no other registry that may have linked a kept layer, not even a stopped one."""
        users = self.api.containers(all=True, filters={"volume": self.state.layers_volume})
        return all(container["Labels"].get(CLOUD) == self.state.id for container in users)

    def _registry_settings(self) -> dict[str, object]:
        return {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": "/var/lib/registry"},
                "delete": {"enabled": True},
                # No cache of which blobs exist: the registry must notice that a kept layer is lost.
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": ":5000"},
            "auth": {
                "token": {
                    "realm": f"{self.state.endpoint}/_registry/token",
                    "service": "rayform-registry",
                    "issuer": "rayform-localstack",
                    "rootcertbundle": "/etc/rayform/registry.pem",
                }
            },
            "notifications": {
                "endpoints": [
                    {
                        "name": "api",
                        "url": f"{self.state.endpoint}/_registry/events",
                        "headers": {"Authorization": [f"Bearer {self.state.token}"]},
                        "timeout": "2s",
                        "threshold": 5,
                        "backoff": "1s",
                        "ignore": {"actions": ["pull", "mount"]},
                    }
                ]
            },
        }

    # Elastic IPs ------------------------------------------------------------------------------------------------

    def start_address(self, address: Address) -> None:
        """Forward an Elastic IP (here a loopback address) to the SSH port of its instance."""
        target = address["private_ip"]
        name = container_name(self.state.id, f"{address['id']}-{target.replace('.', '-')}")
        try:
            self.api.create_container(
                self.state.images["services"],
                command=[
                    "python3",
                    "/usr/lib/rayform-services/forward.py",
                    address["public_ip"],
                    "22",
                    target,
                    "22",
                ],
                name=name,
                labels=self._labels(Kind.ADDRESS, f"{address['id']}/{target}"),
                host_config=self.api.create_host_config(init=True, network_mode="host", log_config=LOGS),
            )
        except APIError as error:
            if error.status_code != 409:
                raise BootError(f"Docker can't make its forwarder: {error.explanation}") from error
        self._start(name)


def _takes_connections(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def _answers_http(address: str, port: int) -> bool:
    """Return whether a server answers; Docker's proxy accepts connections to a published port before it does."""
    connection = http.client.HTTPConnection(address, port, timeout=1)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status > 0
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _attached(network: str, endpoint: object) -> dict[str, object]:
    """Return a networking configuration with one network."""
    return {"EndpointsConfig": {network: endpoint}}


def _psql(value: str) -> str:
    """Quote a value for psql's `\\set`, which reads single quotes and backslashes as C does."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
