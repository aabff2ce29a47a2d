"""Starts and ends a Ray on this machine: quiet, and reachable from this machine alone."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import secrets
import threading
from collections import deque
from collections.abc import Mapping

from rayform_core.errors import PrerequisiteError, RemoteError
from rayform_core.files import storage_error
from rayform_runtime.execution.on_ray.session_folder import SessionFolder

__all__ = ["RayletMessages", "connect_to_cluster", "start_local_ray", "stop_local_ray"]


class RayletMessages:
    """Collects what the raylets report about dead workers.

    Ray would print it across the run's progress; from now on this process doesn't.
    """

    def __init__(self) -> None:
        self._recent: deque[str] = deque(maxlen=200)
        self._changed = threading.Condition()
        import ray._private.worker as ray_worker

        # Ray has no public way to get these. If Ray renames this function, Ray merely prints the messages again.
        if hasattr(ray_worker, "print_to_stdstream"):
            ray_worker.print_to_stdstream = self._collect

    def _collect(self, data: Mapping[str, object], *_: object, **__: object) -> None:
        lines = data.get("lines")
        with self._changed:
            self._recent.append("\n".join(map(str, lines)) if isinstance(lines, list) else "")
            self._changed.notify_all()

    def about(self, pid: int, *, timeout: float = 0.5) -> str:
        """Return the last message about the worker with this process ID; wait shortly if there is none yet."""
        pattern = re.compile(rf"Worker PID: {pid}\b")

        def last() -> str:
            return next((message for message in reversed(self._recent) if pattern.search(message)), "")

        with self._changed:
            return self._changed.wait_for(last, timeout)


_folder: SessionFolder | None = None
"""Folder of the Ray that this process has started; `None` if there is none."""


def start_local_ray(*, cpus: float | None = None, gpus: float | None = None) -> None:
    """Start a Ray that listens on loopback, with a token of its own, no dashboard and no metrics, and join it.

    Its files lie in a folder that only this user can read; `stop_local_ray`, or the end of this process, removes it.

    Call it from a thread that lives as long as this Ray: the kernel ends Ray's processes with the thread that
    started them, so that even `kill -9` leaves none.

    Raises:
        PrerequisiteError: it doesn't start.
    """
    _quiet()
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    # Ray replaces a node's address 127.0.0.1 with one that others reach, unless it is told that there are no others.
    # The setting has this name because Ray does the same by itself on Windows and macOS.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Metrics answer without a token. Two servers have no switch; Ray goes on without one that can't have its port.
    os.environ["RAY_enable_metrics_collection"] = "0"  # noqa: SIM112 - the name of Ray's setting
    os.environ["AUTOSCALER_METRIC_PORT"] = os.environ["DASHBOARD_METRIC_PORT"] = "-1"
    import ray
    import ray._private.ray_constants as ray_constants
    import ray._raylet as raylet

    ray_constants.ENABLE_RAY_CLUSTER = False

    # If the user's code has imported Ray before, Ray has read its settings already.
    raylet.Config.initialize("")  # type: ignore[attr-defined]
    raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]
    global _folder
    try:
        folder = SessionFolder()
    except OSError as error:
        raise storage_error(error, "/tmp") from error  # noqa: S108 - named, not used
    try:
        ray.init(
            address="local",
            num_cpus=None if cpus is None else max(1, int(cpus)),
            num_gpus=None if gpus is None else int(gpus),
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder.for_ray),
        )
    except (RuntimeError, OSError, ValueError, TimeoutError) as error:
        with contextlib.suppress(Exception):
            ray.shutdown()
        folder.close(keep=True)
        raise PrerequisiteError(
            "A local Ray could not be started.",
            why=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            hint=f"Read the logs in {folder.for_ray}/session_latest/logs, or use an orchestrator of flavor 'local'.",
        ) from error
    _folder = folder
    atexit.register(_remove_folder)


def connect_to_cluster(address: str) -> None:
    """Join a running cluster as a driver on one of its nodes.

    Raises:
        RemoteError: it can't be joined.
    """
    _quiet()
    import ray

    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
    except (RuntimeError, OSError, ValueError, ConnectionError) as error:
        raise RemoteError(
            f"The Ray cluster at '{address}' can't be joined.",
            why=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            hint="`rayform cluster status` shows whether the head's Ray runs.",
        ) from error


def stop_local_ray(*, kill: bool) -> None:
    """Leave Ray, and end what was started here; with `kill` without asking the processes first."""
    import ray
    import ray._private.worker as ray_worker

    node = getattr(ray_worker, "_global_node", None)
    if kill and node is not None and node.is_head():
        # A graceful end gives each process some seconds. Killing after leaving can't hang on an RPC.
        end_processes = node.kill_all_processes
        node.kill_all_processes = lambda **_: end_processes(check_alive=False, allow_graceful=False)
    ray.shutdown()
    _close_folder()


def _close_folder() -> None:
    global _folder
    folder, _folder = _folder, None
    if folder is not None:
        folder.close()


def _remove_folder() -> None:
    """End Ray, which writes to the folder, and remove the folder when the process ends."""
    if _folder is not None:
        import ray

        with contextlib.suppress(Exception):
            ray.shutdown()
        _close_folder()


def _quiet() -> None:
    # Nothing leaves the machine, and Ray's messages don't mix with the run's.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_LOG_TO_DRIVER_EVENT_LEVEL", "ERROR")
