"""Faults that tests and users inject into the emulated cloud: spot interruptions, failed hardware, cut networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayform_localstack.control import Control, OrderedInterruption
from rayform_localstack.engine import docker_client
from rayform_localstack.instances import find_instance, run_in_machine
from rayform_localstack.labels import NODE, container_name

if TYPE_CHECKING:
    import docker

__all__ = ["cut", "interrupt", "kill"]


def interrupt(identifier: str, notice_seconds: float | None = None) -> OrderedInterruption:
    """Order a spot interruption: the notice appears in the instance's metadata now, the end follows.

    Args:
        identifier: the instance's identifier or Name.
        notice_seconds: time until the end; by default the cloud's setting (two minutes).
    """
    state, item = find_instance(identifier)
    return Control(state).interrupt(item["id"], notice_seconds)


def kill(identifier: str) -> None:
    """Let an instance's hardware fail: it ends at once, without a notice, and the API reports `terminated`."""
    state, item = find_instance(identifier)
    _pull_plug(docker_client(), container_name(state.id, item["id"]))
    Control(state).end(
        item["id"], "shutting-down", "Server.InternalError", "killed by rayform localstack kill"
    )


def _pull_plug(client: docker.DockerClient, machine: str) -> None:
    """Stop every process of a machine at one moment, before the metadata service and the API forget the machine.

    Otherwise its steps would live on for a moment without credentials, and report that as their own failure.
    """
    from docker.errors import APIError, NotFound

    try:
        container = client.containers.get(machine)
        container.pause()
        for step in client.containers.list(filters={"label": f"{NODE}={container.id}"}):
            step.kill()
    except (NotFound, APIError):
        pass  # it ends by itself already; the supervisor removes the rest


def cut(identifier: str, *, restore: bool = False) -> None:
    """Cut an instance from the network: packets in both directions are lost silently, as with a broken cable.

    Args:
        identifier: the instance's identifier or Name.
        restore: connect it again instead.
    """
    state, item = find_instance(identifier)
    client = docker_client()
    name = container_name(state.id, item["id"])
    for chain, direction in (("INPUT", "-i"), ("OUTPUT", "-o")):
        rule = ["!", direction, "lo", "-j", "DROP"]
        run_in_machine(client, name, ["sh", "-c", _drop(chain, rule, restore=restore)])


def _drop(chain: str, rule: list[str], *, restore: bool) -> str:
    """Return a shell line that adds or removes a rule; running it again changes nothing."""
    words = " ".join(rule)
    check = f"iptables -w -C {chain} {words} 2>/dev/null"
    if restore:
        return f"while {check}; do iptables -w -D {chain} {words}; done"
    return f"{check} || iptables -w -I {chain} 1 {words}"
