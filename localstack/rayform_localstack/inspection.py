"""Reads the status and the logs of the emulated cloud; nothing here changes anything."""

from __future__ import annotations

from typing import Any

from rayform_localstack import processes
from rayform_localstack.control import Control
from rayform_localstack.desired import Instance
from rayform_localstack.engine import docker_client
from rayform_localstack.instances import find_instance, run_in_machine
from rayform_localstack.labels import container_name
from rayform_localstack.state import CloudState, cloud_of_home, folder

__all__ = ["log_of", "status"]


def status() -> dict[str, Any]:
    """Return the state of the emulated cloud as plain data; `{"running": False}` if there is none."""
    state = CloudState.load()
    if state is None:
        return {"running": False}
    control = Control(state)
    health = control.health()
    facts: dict[str, Any] = {
        "running": health is not None,
        "cloud": state.id,
        "engine": state.engine,
        "region": state.region,
        "endpoint": state.endpoint,
        "registry": state.registry,
        "started": state.started,
        "processes": {
            name: {"pid": identity[0], "alive": processes.alive(identity)}
            for name, identity in state.processes.items()
        },
        "health": health,
        "instances": [],
        "databases": [],
    }
    if health is not None:
        desired = control.desired()
        cpus, memory = _limits()
        facts["instances"] = [_instance_row(item, cpus, memory) for item in desired["instances"]]
        facts["databases"] = desired["databases"]
        facts["limits"] = {"cpus": cpus, "memory_bytes": memory}
    return facts


def _limits() -> tuple[int, int]:
    from rayform_localstack.supervisor.machines import host_limits

    return host_limits(docker_client())


def _instance_row(item: Instance, cpus: int, memory: int) -> dict[str, Any]:
    machine = item["machine"]
    return {
        "id": item["id"],
        "name": item["name"],
        "state": item["state"],
        "type": item["type"],
        "private_ip": item["private_ip"],
        "public_ip": item["public_ip"],
        "lifecycle": item["lifecycle"],
        "boot": item["boot"],
        "ssh": f"ssh -i KEY ubuntu@{item['public_ip'] or item['loopback']}",
        "interruption": item["interruption"],
        "cpus": machine["cpus"],
        "cpu_limit": min(machine["cpus"], cpus),
        "memory_bytes": machine["memory_bytes"],
        "memory_limit_bytes": min(machine["memory_bytes"], memory),
        "gpus": machine["gpus"],
        "accelerator_type": machine["accelerator_type"],
    }


def log_of(what: str, lines: int = 200) -> str:
    """Return the last lines of a log.

    Args:
        what: `"api"`, `"supervisor"`, `"registry"`, or the identifier of a database or an instance (its console
            and its user data's output).
        lines: number of lines.
    """
    state = cloud_of_home()
    if what in {"api", "supervisor"}:
        file = folder() / f"{what}.log"
        text = file.read_text(errors="replace") if file.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
    client = docker_client()
    if what == "registry":
        return client.api.logs(container_name(state.id, "registry"), tail=lines).decode(errors="replace")
    desired = Control(state).desired()
    if what in {d["id"] for d in desired["databases"]}:
        return client.api.logs(container_name(state.id, f"db-{what}"), tail=lines).decode(errors="replace")
    _, item = find_instance(what)
    name = container_name(state.id, item["id"])
    console = client.api.logs(name, tail=lines).decode(errors="replace")
    if item["state"] != "running":
        return console
    output = run_in_machine(client, name, ["tail", "-n", str(lines), "/var/log/cloud-init-output.log"])
    return f"{console}--- user data ---\n{output}"
