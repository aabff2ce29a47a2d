"""The client of this machine's Docker Engine."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_core.errors import PrerequisiteError

if TYPE_CHECKING:
    import docker

__all__ = ["docker_client", "space_in_gib"]


@cache
def docker_client() -> docker.DockerClient:
    """Return a client of this machine's Docker Engine, shared by all threads of the process.

    Raises:
        PrerequisiteError: the package is missing, the engine doesn't run, or this user may not use it.
    """
    try:
        import docker
        from docker.errors import DockerException
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "The emulated cloud needs the Python package 'docker'.",
            hint="Install it: pip install 'rayform[localstack]'.",
        ) from error
    client = None
    try:
        client = docker.from_env(timeout=120, max_pool_size=32)
        client.version()
    except (DockerException, OSError) as error:
        if client is not None:
            client.close()
        text = str(error)
        if "Permission denied" in text or "PermissionError" in text:
            why, hint = "This user may not use it.", "Run `sudo usermod -aG docker $USER` and log in again."
        else:
            why = "It isn't running, or isn't installed."
            hint = (
                "Start it: `sudo systemctl start docker`; from a checkout of Rayform, `scripts/setup_system.sh` "
                "installs and starts it."
            )
        raise PrerequisiteError("Docker Engine doesn't answer.", why=why, hint=hint) from error
    return client


def space_in_gib() -> float | None:
    """Return the free disk space for the engine's data, or `None` if that folder isn't on this machine."""
    root = Path(str(docker_client().info().get("DockerRootDir", "")))
    try:
        return shutil.disk_usage(root).free / 2**30
    except OSError:
        return None
