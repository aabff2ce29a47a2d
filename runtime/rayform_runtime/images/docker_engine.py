"""Connects to the Docker Engine of this machine, or raises an error that says what to do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rayform_core.errors import PrerequisiteError

if TYPE_CHECKING:
    import docker

__all__ = ["docker_engine"]


def docker_engine(*, timeout: float = 600.0) -> docker.DockerClient:
    """Connect to the Docker Engine that `DOCKER_HOST`, or Docker's default socket, names.

    Args:
        timeout: seconds that one call may take; for builds and pushes, seconds between two messages.

    Raises:
        PrerequisiteError: the engine isn't installed, doesn't run, or refuses this user.
    """
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=int(timeout))
        client.ping()
    except DockerException as error:
        text = str(error)
        if "Permission denied" in text or "PermissionError" in text:
            hint = "Add your user to the group 'docker' and log in again."
        else:
            hint = "Start it with `sudo systemctl start docker` or Docker Desktop, or set DOCKER_HOST to its address."
        raise PrerequisiteError(
            f"The Docker Engine at '{os.environ.get('DOCKER_HOST', 'unix:///var/run/docker.sock')}' doesn't answer.",
            why=text.splitlines()[0] if text else None,
            hint=hint,
        ) from error
    return client
