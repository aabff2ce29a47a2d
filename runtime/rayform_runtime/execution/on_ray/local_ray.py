"""A Ray of our own on this machine: started for a run, quiet, reachable from this machine alone, ended with it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import threading
from collections import deque
from typing import Any

from rayform_core.errors import PrerequisiteError, RemoteError

__all__ = ["RayletMessages", "connect_to_cluster", "start_local_ray", "stop_local_ray"]


class RayletMessages:
    """Keeps what the raylets say of dead workers, which Ray would print across the run's progress."""

    def __init__(self) -> None:
        self._recent: deque[str] = deque(maxlen=200)
        self._changed = threading.Condition()

    def install(self) -> None:
        """Take the place of Ray's printing of such messages in this process."""
        import ray._private.worker as ray_worker

        # Ray has no public way to get these; where the name moves they are printed again, nothing else.
        if hasattr(ray_worker, "print_to_stdstream"):
            ray_worker.print_to_stdstream = self._take

    def _take(self, data: dict[str, Any], *_: Any, **__: Any) -> None:
        with self._changed:
            self._recent.append("\n".join(map(str, data.get("lines", []))))
            self._changed.notify_all()

    def about(self, pid: int | None, *, timeout: float = 0.5) -> str:
        """Return the last message about the worker with this process ID, waiting shortly for it to come."""
        if pid is None:
            return ""
        wanted = re.compile(rf"Worker PID: {pid}\b")
        found: list[str] = []

        def said() -> bool:
            found[:] = [m for m in self._recent if wanted.search(m)]
            return bool(found)

        with self._changed:
            self._changed.wait_for(said, timeout)
        return found[-1] if found else ""


def start_local_ray(*, cpus: float | None = None, gpus: float | None = None) -> None:
    """Start a Ray that listens on loopback, with a token of its own and no dashboard, and join it.

    Must be called from a thread that lives as long as the Ray: the kernel ends Ray's processes with the thread
    that started them, so that even `kill -9` leaves none.

    Raises:
        PrerequisiteError: it doesn't start.
    """
    _quiet()
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    import ray
    import ray._raylet as raylet

    # Where the person's own code imported Ray before, it has read its settings already.
    raylet.Config.initialize("")  # type: ignore[attr-defined]
    raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]
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
        )
    except (RuntimeError, OSError, ValueError, TimeoutError) as error:
        with contextlib.suppress(Exception):
            ray.shutdown()
        raise PrerequisiteError(
            "A local Ray could not be started.",
            why=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            hint="Look into /tmp/ray/session_latest/logs, or use an orchestrator of flavor 'local'.",
        ) from error


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
    """Leave Ray, ending what was started here; with `kill` without asking the processes first."""
    import ray
    import ray._private.worker as ray_worker

    node = getattr(ray_worker, "_global_node", None)
    if kill and node is not None and node.is_head():
        # Asking nicely gives each process some seconds; leaving first and killing then hangs on no RPC.
        ask_nicely = node.kill_all_processes
        node.kill_all_processes = lambda **_: ask_nicely(check_alive=False, allow_graceful=False)
    ray.shutdown()


def _quiet() -> None:
    # Nothing leaves the machine, and Ray's own words don't mix with the run's.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_LOG_TO_DRIVER_EVENT_LEVEL", "ERROR")
