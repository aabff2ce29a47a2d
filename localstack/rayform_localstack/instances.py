"""Finds instances of the running cloud by ID or name, and runs commands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayform_core.errors import NotFoundError, RemoteError
from rayform_localstack.control import Control
from rayform_localstack.desired import Instance
from rayform_localstack.state import CloudState, cloud_of_home

if TYPE_CHECKING:
    import docker

__all__ = ["find_instance", "run_in_machine"]


def find_instance(identifier: str) -> tuple[CloudState, Instance]:
    """Find an instance of this home's cloud.

    Args:
        identifier: the instance's identifier or Name tag.

    Returns:
        The cloud and the instance.

    Raises:
        NotFoundError: there is no such instance, or no cloud.
    """
    state = cloud_of_home()
    items = Control(state).desired()["instances"]
    for item in items:
        if identifier in {item["id"], item["name"]}:
            return state, item
    raise NotFoundError("instance", identifier, known=[n for i in items for n in (i["id"], i["name"]) if n])


def run_in_machine(client: docker.DockerClient, name: str, command: list[str]) -> str:
    """Run a command as root in the container that an instance is, and return its output.

    Args:
        client: Docker Engine.
        name: the container's name.
        command: the program and its arguments.

    Returns:
        What it wrote to stdout and stderr together.

    Raises:
        RemoteError: the machine can't be reached, or the command failed in it.
    """
    from docker.errors import APIError

    try:
        run = client.api.exec_create(name, command, user="root")
        output = client.api.exec_start(run["Id"]).decode(errors="replace")
        code = client.api.exec_inspect(run["Id"])["ExitCode"]
    except APIError as error:
        raise RemoteError(f"The machine '{name}' can't be reached.", why=str(error.explanation)) from error
    if code != 0:
        raise RemoteError(f"A command failed in the machine '{name}'.", why=output.strip()[-300:])
    return output
