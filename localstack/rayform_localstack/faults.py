"""The faults that tests order of the emulated cloud: a spot interruption, failed hardware, a cut network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayform_localstack.control import Control
from rayform_localstack.engine import docker_client
from rayform_localstack.instances import find_instance, run_in_machine
from rayform_localstack.labels import NODE, container_name

if TYPE_CHECKING:
    import docker

__all__ = ["cut", "interrupt", "kill"]


def interrupt(identifier: str, notice_seconds: float | None = None) -> dict[str, Any]:
    """Order a spot interruption: the notice appears in the instance's metadata now, the end follows.

    Args:
        identifier: the instance's identifier or Name.
        notice_seconds: time until the end; the cloud's setting (two minutes) unless told.

    Returns:
        The notice: `{"action": "terminate", "time": …}`, and under `spot` whether it is a spot instance.
    """
    state, item = find_instance(identifier)
    return Control(state).interrupt(item["id"], notice_seconds)


def kill(identifier: str) -> None:
    """Let an instance's hardware fail: it ends at once, unwarned, and the API says `terminated`."""
    state, item = find_instance(identifier)
    _pull_plug(docker_client(), container_name(state.id, item["id"]))
    Control(state).end(
        item["id"], "shutting-down", "Server.InternalError", "killed by rayform localstack kill"
    )


def _pull_plug(client: docker.DockerClient, machine: str) -> None:
    """Stop every process of a machine at one moment, before its metadata service and the API forget it.

    Otherwise its steps live on for a moment without credentials, and report that as their own failure.
    """
    from docker.errors import APIError, NotFound

    try:
        container = client.containers.get(machine)
        container.pause()
        for step in client.containers.list(filters={"label": f"{NODE}={container.id}"}):
            step.kill()
    except (NotFound, APIError):
        pass  # it is on its way out by itself; the supervisor ends what is left


def cut(identifier: str, *, restore: bool = False) -> None:
    """Cut an instance from the network: packets both ways are lost without a word, as with a broken cable.

    Args:
        identifier: the instance's identifier or Name.
        restore: mend it instead.
    """
    state, item = find_instance(identifier)
    client = docker_client()
    name = container_name(state.id, item["id"])
    for chain, direction in (("INPUT", "-i"), ("OUTPUT", "-o")):
        rule = ["!", direction, "lo", "-j", "DROP"]
        run_in_machine(client, name, ["sh", "-c", _drop(chain, rule, restore=restore)])


def _drop(chain: str, rule: list[str], *, restore: bool) -> str:
    """Return the shell line that adds or removes a rule once, however often it is asked."""
    words = " ".join(rule)
    check = f"iptables -w -C {chain} {words} 2>/dev/null"
    if restore:
        return f"while {check}; do iptables -w -D {chain} {words}; done"
    return f"{check} || iptables -w -I {chain} 1 {words}"
