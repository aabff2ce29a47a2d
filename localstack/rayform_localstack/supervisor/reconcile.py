"""Compares the API's state with what Docker runs, and acts on the differences, many at a time."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from docker import DockerClient
from docker.errors import DockerException

from rayform_core.errors import RayformError
from rayform_localstack.control import Control
from rayform_localstack.desired import Database, Desired, Instance
from rayform_localstack.labels import CLOUD, INSTANCE, KIND, Kind, container_name
from rayform_localstack.state import CloudState
from rayform_localstack.supervisor.errors import BootError
from rayform_localstack.supervisor.machines import Machines
from rayform_localstack.supervisor.networks import Networks
from rayform_localstack.supervisor.services import Services

__all__ = ["Reconciler"]

WORKERS = 10
HEARTBEAT = 5.0
POWERED_OFF, REBOOT_ASKED = 0, 3
RECOVERIES = 3
log = logging.getLogger("rayform.supervisor")


class Container(NamedTuple):
    """A container of the cloud."""

    id: str
    running: bool


Containers = dict[str, Container]
"""Containers of one kind, by the API's identifier of what they are."""


class Reconciler:
    """Makes one pass after another until it is stopped. Each pass starts from what runs, so a crash loses nothing.

    Args:
        client: Docker Engine.
        state: the cloud.
        control: its API process.
        folder: its state folder.
    """

    def __init__(self, client: DockerClient, state: CloudState, control: Control, folder: Path) -> None:
        self.client = client
        """Docker Engine; never changes."""
        self.state = state
        """The cloud; never changes."""
        self.control = control
        """The cloud's API process; never changes."""
        self.networks = Networks(client, state.id)
        """The VPCs' networks."""
        self.machines = Machines(client, state, self.networks)
        """Boots and ends instances."""
        self.services = Services(client, state, self.networks, folder)
        """Starts and ends databases, registry and Elastic IPs."""
        self.pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="work")
        """Threads that act on the differences."""
        self.wake: queue.SimpleQueue[str] = queue.SimpleQueue()
        """An item for each reason to make the next pass now; a pause empties it."""
        self.busy: set[str] = set()
        """Keys of the work that the pool has; guarded by `lock`."""
        self.lock = threading.Lock()
        """Guards `busy`."""
        self.reboots: dict[str, int] = {}
        """How often each instance had been rebooted when its machine was started last."""
        self.recoveries: dict[str, int] = {}
        """How often each instance's machine was started again after a crash."""
        self.seen_version = 0
        """The last version of the API's state that woke a pass."""
        self.stopped = threading.Event()
        """Set by `stop`; ends `run` and all waiting."""

    # Sources of work ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until `stop` is called."""
        for source in (self._follow_api, self._follow_docker):
            threading.Thread(target=source, daemon=True, name=source.__name__).start()
        reported = 0.0
        while not self.stopped.is_set():
            try:
                self.pass_once()
                if time.monotonic() - reported > HEARTBEAT / 2:
                    self.control.report_supervisor()
                    reported = time.monotonic()
            except (RayformError, DockerException, OSError) as error:
                log.warning("A pass failed: %s", error)
                self.stopped.wait(0.5)
            self._pause()

    def stop(self) -> None:
        """End `run` after its present pass."""
        self.stopped.set()
        self.wake.put("stop")

    def _pause(self) -> None:
        try:
            self.wake.get(timeout=HEARTBEAT)
        except queue.Empty:
            return
        while not self.wake.empty():
            self.wake.get()

    def _follow_api(self) -> None:
        while not self.stopped.is_set():
            try:
                answer = self.control.desired(self.seen_version, wait=20)
                if answer["version"] != self.seen_version:
                    self.seen_version = answer["version"]
                    self.wake.put("api")
            except RayformError:
                self.stopped.wait(0.5)

    def _follow_docker(self) -> None:
        filters = {"type": "container", "label": f"{CLOUD}={self.state.id}", "event": ["die", "destroy"]}
        while not self.stopped.is_set():
            try:
                for _ in self.client.events(filters=filters, decode=True):
                    self.wake.put("docker")
            except (DockerException, OSError):
                self.stopped.wait(0.5)

    def _submit(self, key: str, work: Callable[[], None]) -> None:
        with self.lock:
            if key in self.busy:
                return
            self.busy.add(key)

        def run() -> None:
            try:
                work()
            except (RayformError, DockerException, OSError) as error:
                log.warning("%s: %s", key, error)
                self.stopped.wait(0.3)
            except Exception:
                log.exception("%s", key)
                self.stopped.wait(1)
            finally:
                with self.lock:
                    self.busy.discard(key)
                self.wake.put(key)

        self.pool.submit(run)

    # One pass ---------------------------------------------------------------------------------------------------

    def pass_once(self) -> None:
        """Start the work for each difference, unless the pool has that work already."""
        desired = self.control.desired()
        with self.lock:
            busy = set(self.busy)
        containers = self._containers()
        self._machines(desired, containers.get(Kind.MACHINE, {}))
        self._databases(desired, containers.get(Kind.DATABASE, {}))
        self._addresses(desired, containers.get(Kind.ADDRESS, {}))
        self._registry(containers.get(Kind.REGISTRY, {}))
        if not busy:
            vpcs = {instance["vpc"] for instance in desired["instances"]}
            self.networks.keep_only(vpcs | {database["vpc"] for database in desired["databases"]})

    def _containers(self) -> dict[str, Containers]:
        """Return the cloud's containers, by kind and identifier."""
        containers: dict[str, Containers] = {}
        for item in self.client.api.containers(all=True, filters={"label": f"{CLOUD}={self.state.id}"}):
            labels = item["Labels"]
            of_kind = containers.setdefault(labels.get(KIND, ""), {})
            of_kind[labels.get(INSTANCE, item["Id"])] = Container(item["Id"], item["State"] == "running")
        return containers

    def _machines(self, desired: Desired, containers: Containers) -> None:
        items = {item["id"]: item for item in desired["instances"]}
        for identifier, container in containers.items():
            if identifier not in items:
                self._submit(identifier, partial(self.machines.remove, container.id, abruptly=True))
        for identifier, item in items.items():
            action = self._machine_action(item, containers.get(identifier))
            if action is not None:
                self._submit(identifier, action)

    def _machine_action(self, item: Instance, container: Container | None) -> Callable[[], None] | None:
        identifier = item["id"]
        running = container is not None and container.running
        match item["state"]:
            case "pending":
                return lambda: self._boot(item)
            case "running" if container is None:
                return lambda: self._lost(identifier, "Its container was removed.")
            case "running" if not running:
                return lambda: self._ended_by_itself(item)
            case "running" if item["reboots"] > self.reboots.setdefault(identifier, item["reboots"]):
                return lambda: self._reboot(item)
            case "stopping":
                return lambda: self._stop(identifier)
            case "stopped" if running:
                return lambda: self.machines.stop(identifier)
            case "shutting-down":
                return lambda: self._terminate(item)
        return None

    def _boot(self, item: Instance) -> None:
        try:
            self.machines.boot(item)
        except BootError as error:
            log.error("%s can't boot: %s", item["id"], error)
            self._lost(item["id"], str(error))
            return
        self.reboots[item["id"]] = item["reboots"]
        if self.control.report(item["id"], "running", ["pending"]):
            log.info("%s runs at %s", item["id"], item["private_ip"])

    def _lost(self, identifier: str, why: str) -> None:
        self.control.end(identifier, "terminated", "Server.InternalError", why)
        self.machines.remove(self.machines.name(identifier), abruptly=True)

    def _ended_by_itself(self, item: Instance) -> None:
        identifier = item["id"]
        facts = self.client.api.inspect_container(self.machines.name(identifier))["State"]
        if facts["Running"]:
            return
        if facts["ExitCode"] == POWERED_OFF:
            to = "stopped" if item["shutdown_behavior"] == "stop" else "shutting-down"
            self.control.end(
                identifier, to, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown"
            )
            return
        count = self.recoveries.get(identifier, 0)
        if facts["ExitCode"] != REBOOT_ASKED:
            if count >= RECOVERIES:
                self._lost(
                    identifier, f"Its machine ended {count + 1} times (exit code {facts['ExitCode']})."
                )
                return
            self.recoveries[identifier] = count + 1
            log.warning("%s ended with exit code %s: starting it again", identifier, facts["ExitCode"])
        self.machines.restart(identifier)

    def _reboot(self, item: Instance) -> None:
        self.machines.restart(item["id"])
        self.reboots[item["id"]] = item["reboots"]
        log.info("%s rebooted", item["id"])

    def _stop(self, identifier: str) -> None:
        self.machines.stop(identifier)
        self.control.report(identifier, "stopped", ["stopping"])
        log.info("%s stopped", identifier)

    def _terminate(self, item: Instance) -> None:
        self.machines.remove(self.machines.name(item["id"]), abruptly=item["abrupt"])
        self.control.report(item["id"], "terminated", ["shutting-down"])
        self.reboots.pop(item["id"], None)
        log.info("%s is gone", item["id"])

    def _databases(self, desired: Desired, containers: Containers) -> None:
        items = {item["id"]: item for item in desired["databases"]}
        for identifier, container in containers.items():
            if identifier not in items:
                volume = f"{container_name(self.state.id, f'db-{identifier}')}-data"
                self._submit(f"db/{identifier}", partial(self.services.remove, container.id, [volume]))
        for identifier, item in items.items():
            running = identifier in containers and containers[identifier].running
            if item["status"] == "creating" or (item["status"] == "available" and not running):
                self._submit(f"db/{identifier}", partial(self._start_database, item))
            elif item["status"] in {"stopped", "stopping"} and running:
                self._submit(f"db/{identifier}", partial(self.services.stop_database, identifier))

    def _start_database(self, item: Database) -> None:
        identifier = item["id"]
        try:
            self.services.start_database(item, self.control.database_password(identifier))
        except BootError as error:
            log.error("Database %s can't start: %s", identifier, error)
            self.control.report_database(identifier, "failed", str(error))
            return
        self.control.report_database(identifier, "available")
        log.info("Database %s answers at %s:%s", identifier, item["private_ip"], item["port"])

    def _addresses(self, desired: Desired, containers: Containers) -> None:
        items = {f"{item['id']}/{item['private_ip']}": item for item in desired["addresses"]}
        for key, container in containers.items():
            if key not in items:
                self._submit(f"eip/{key}", partial(self.services.remove, container.id))
        for key, item in items.items():
            if key not in containers or not containers[key].running:
                self._submit(f"eip/{key}", partial(self.services.start_address, item))

    def _registry(self, containers: Containers) -> None:
        if not any(container.running for container in containers.values()):
            self._submit("registry", self._start_registry)

    def _start_registry(self) -> None:
        log.warning("The registry doesn't run: starting it again")
        try:
            self.services.start_registry()
        except BootError as error:
            log.error("The registry can't start: %s", error)
            self.stopped.wait(HEARTBEAT)
