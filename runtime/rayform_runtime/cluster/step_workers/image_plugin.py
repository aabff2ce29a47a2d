"""Runs Ray's workers inside step images: a plugin for Ray's runtime environments.

`RAY_RUNTIME_ENV_PLUGINS` registers it on every node. A task whose runtime environment has `rayform_image` gets a worker
in a container of that image, without capabilities, in the node's own network, PID and IPC namespaces and with Ray's
folder mounted, so that Ray sees a worker like any other. Workers fork in a container that the image's steps share on
this node (`stand_in`); a step with a memory limit has a container of its own (`step_container.sh`). Ray's own
`image_uri` needs podman and passes no GPU.

An error raised here fails the task with its text. So each error begins with a mark and a kind, which
`execution.on_ray.failures` turns into the step's error.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ray._private.runtime_env.plugin import RuntimeEnvPlugin

from rayform_runtime.cluster.machine.settings import MachineSettings
from rayform_runtime.cluster.step_workers.image_errors import IMAGE_ERROR_MARK
from rayform_runtime.images.build_context import LABEL_PYTHON, LABEL_RAY

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.errors import APIError
    from docker.models.images import Image
    from ray._private.runtime_env.context import RuntimeEnvContext
    from ray.runtime_env import RuntimeEnv

__all__ = ["PLUGIN_CLASS", "PLUGIN_NAME", "StepImagePlugin"]

PLUGIN_NAME = "rayform_image"
PLUGIN_CLASS = "rayform_runtime.cluster.step_workers.image_plugin.StepImagePlugin"
_ROOM_FOR_THE_WORKER = 256 * 1024 * 1024
"""Bytes of memory that a container may use beyond its step."""
_SLACK = 1.25
"""How many times its memory a step may use."""
_SCRIPT = Path(__file__).with_name("step_container.sh")
_STAND_IN = Path(__file__).with_name("stand_in.py")


class StepImageError(RuntimeError):
    """Why a step's container can't be started: a kind, and the message for users."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{IMAGE_ERROR_MARK}[{kind}] {' '.join(message.split())}")


class StepImagePlugin(RuntimeEnvPlugin):
    """Makes a worker run in the image that its runtime environment names.

    The environment's value is `{"image": reference, "environment": {...}, "memory": bytes or absent}`. The memory is
    what the step asked for. Its container may use a quarter more, and room for the worker itself; then the kernel
    kills it, so that a runaway step hurts only itself.
    """

    name = PLUGIN_NAME

    @staticmethod
    def validate(runtime_env_dict: Mapping[str, object]) -> None:
        """Refuse a value of another form; Ray calls this for each plugin."""
        value = runtime_env_dict[PLUGIN_NAME]
        if not isinstance(value, Mapping) or not isinstance(value.get("image"), str):
            raise ValueError(f"{PLUGIN_NAME} must be a mapping with the name of an image.")

    async def create(
        self,
        uri: str | None,
        runtime_env: RuntimeEnv,
        context: RuntimeEnvContext,
        logger: logging.Logger | None = None,
    ) -> float:
        """Pull the image if this node lacks it, and check that its versions are the cluster's."""
        image = str(runtime_env[PLUGIN_NAME]["image"])
        await asyncio.get_running_loop().run_in_executor(None, have_image, image)
        return 0.0

    def modify_context(
        self,
        uris: list[str],
        runtime_env: RuntimeEnv,
        context: RuntimeEnvContext,
        logger: logging.Logger | None = None,
    ) -> None:
        """Put a worker's stand-in in Python's place, or `step_container.sh` for a step with a memory limit."""
        value = runtime_env[PLUGIN_NAME]
        variables = {str(k): str(v) for k, v in (value.get("environment") or {}).items()}
        context.env_vars.update(variables)
        context.env_vars["RAYFORM_STEP_VARIABLES"] = " ".join(sorted(variables))
        memory = value.get("memory")
        if memory:
            limit = int(memory * _SLACK) + _ROOM_FOR_THE_WORKER
            command = ["/bin/sh", str(_SCRIPT), str(value["image"]), str(limit)]
        else:
            command = [sys.executable, "-I", "-S", "-E", str(_STAND_IN), str(value["image"])]
        context.py_executable = shlex.join(command)
        # One argument, since Ray quotes it; and no path, since that differs between images.
        context.override_worker_entrypoint = "-mray._private.workers.default_worker"


def have_image(image: str) -> None:
    """Pull an image if this node lacks it, with the node's own rights, and check its versions.

    Raises:
        StepImageError: Docker is missing, the registry refuses or doesn't answer, the image doesn't exist, the
            disk is full, or the image's Ray or Python differs from the cluster's.
    """
    import docker
    from docker.errors import APIError, DockerException, ImageNotFound

    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except (DockerException, OSError) as error:
        raise StepImageError(
            "DockerMissing",
            f"This node has no Docker Engine that answers, and steps run in images: {_first(error)}. "
            "Use a machine image with Docker, or let the node's user data install it.",
        ) from error
    try:
        try:
            local = client.images.get(image)
        except ImageNotFound:
            local = _pull(client, image)
        _check_versions(image, local.labels)
        _try_out(image, str(local.id))
    except APIError as error:
        raise StepImageError(
            "ImagePullError", f"Docker can't provide image '{image}': {_explained(error)}."
        ) from error
    finally:
        client.close()


def _pull(client: DockerClient, image: str) -> Image:
    from docker.errors import APIError

    login = _registry_login(image)
    reference, _, digest = image.partition("@")
    repository, _, tag = reference.rpartition(":")
    try:
        return client.images.pull(repository, tag=digest or tag, auth_config=login)
    except APIError as error:
        reason = _explained(error)
        lowered = reason.lower()
        if "no space left" in lowered:
            raise StepImageError(
                "DiskFull", f"Image '{image}' can't be pulled: the node's disk is full."
            ) from error
        if any(word in lowered for word in ("denied", "unauthorized", "forbidden", "no basic auth")):
            raise StepImageError(
                "RegistryRefused", f"The registry refuses image '{image}' to this node: {reason}."
            ) from error
        if any(word in lowered for word in ("not found", "manifest unknown", "name unknown")):
            raise StepImageError("ImageMissing", f"The registry has no image '{image}': {reason}.") from error
        raise StepImageError("RegistryUnavailable", f"Image '{image}' can't be pulled: {reason}.") from error


def _registry_login(image: str) -> dict[str, str] | None:
    settings = MachineSettings.read_if_present()
    if (
        settings is None
        or not settings.registry
        or image.partition("/")[0] != settings.registry.partition("/")[0]
    ):
        return None
    from rayform_core.errors import RayformError
    from rayform_runtime.images.config import ECRConfig
    from rayform_runtime.images.ecr import ECRRegistry

    config = ECRConfig(
        uri=settings.registry, region=settings.region, endpoint_url=settings.endpoints.get("ecr")
    )
    try:
        login = ECRRegistry(config, stack_name=settings.name).credentials()
    except RayformError as error:
        raise StepImageError("RegistryRefused", str(error)) from error
    return {"username": login.username, "password": login.password} if login else None


def _check_versions(image: str, labels: Mapping[str, str]) -> None:
    import ray

    node = {LABEL_RAY: ray.__version__, LABEL_PYTHON: f"{sys.version_info[0]}.{sys.version_info[1]}"}
    for label, word in ((LABEL_RAY, "Ray"), (LABEL_PYTHON, "Python")):
        has = labels.get(label)
        if has is not None and has != node[label]:
            raise StepImageError(
                "VersionMismatch",
                f"Image '{image}' has {word} {has}, and the cluster has {word} {node[label]}.",
            )


def _try_out(image: str, image_id: str) -> None:
    """Start a container of the image once on this node: Ray would restart a worker that can't start for ever."""
    marker = Path("/tmp/ray/rayform/tried") / image_id.replace(":", "-")  # noqa: S108 - Ray's own folder
    if marker.exists():
        return
    done = subprocess.run(
        ["/bin/sh", str(_SCRIPT), image, "0", "-c", "pass"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        output = " ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise StepImageError(
            "ContainerFailed",
            f"A container of image '{image}' doesn't start (exit code {done.returncode}): {output}",
        )
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


def _explained(error: APIError) -> str:
    return str(error.explanation or error).strip().rstrip(".")


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
