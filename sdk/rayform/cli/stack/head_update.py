"""The last part of a deploy: the head takes over what the deploy changed.

The deploy waits for an awake head and sends it the new settings. It leaves a sleeping head asleep: the head reads the
new settings when it starts.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rayform_core.errors import NotFoundError, RemoteError
from rayform_core.version import __version__

if TYPE_CHECKING:
    from rayform_provisioner.lifecycle import Lifecycle
    from rayform_provisioner.reporting import Reporter
    from rayform_runtime.cluster.config import RayOrchestratorConfig
    from rayform_runtime.cluster.from_laptop.head import ClusterHead
    from rayform_runtime.cluster.machine.answers import HeadStatus

__all__ = ["update_head"]

_TITLES = {
    "ray_version": "Ray's version",
    "python_version": "Python's version",
    "head": "the head's instance type and disk",
}
_ASK_THE_CLOUD_EVERY = 5.0
_HINT = (
    "The stack is deployed and registered. Check its head: rayform stack status. Skip this wait: --no-wait."
)


def update_head(lifecycle: Lifecycle, progress: Reporter, *, wait: bool, timeout: float = 900) -> bool:
    """Let the head take over what a deploy changed.

    Args:
        lifecycle: of the deployed stack.
        progress: receives what happens.
        wait: wait until the head can run pipelines; otherwise update the head only if it already can.
        timeout: seconds to wait at most.

    Returns:
        whether the head is awake.

    Raises:
        RemoteError: the head isn't ready in time.
    """
    from rayform_runtime.cluster.config import RayOrchestratorConfig
    from rayform_runtime.cluster.from_laptop.head import ClusterHead

    config = RayOrchestratorConfig.model_validate(lifecycle.registration()["orchestrator"]["config"])
    deadline = time.monotonic() + timeout
    if _asleep(config):
        lifecycle.learn_host_keys(0)  # the head may have gone to sleep before it was ever reached
        return False
    if not lifecycle.learn_host_keys(timeout if wait else 0):
        if wait:
            raise RemoteError("The head didn't report within 15 minutes.", hint=_HINT)
        return True
    head = ClusterHead(config)
    try:
        status = _ready(head, config, progress, deadline) if wait else _status(head)
        if wait and status is None:
            return False
        if status is not None and status.ready:
            _send_settings(head, status, lifecycle.name, progress)
    finally:
        head.close()
    return True


def _asleep(config: RayOrchestratorConfig) -> bool:
    """Whether the head is stopped, or about to be."""
    from rayform_runtime.cluster.from_laptop.power import head_state

    try:
        return head_state(config) in ("stopping", "stopped")
    except (NotFoundError, RemoteError):
        return False  # unknown; the head is asked next, and its answer says more


def _ready(
    head: ClusterHead, config: RayOrchestratorConfig, progress: Reporter, deadline: float
) -> HeadStatus | None:
    """Wait until the head can run pipelines, and return its status; `None` if it goes to sleep meanwhile."""
    phase, why, last_asked = "", "", time.monotonic()
    while time.monotonic() < deadline:
        try:
            status = head.status()
        except RemoteError as error:
            why = str(error)
            if time.monotonic() - last_asked > _ASK_THE_CLOUD_EVERY:
                if _asleep(config):
                    return None
                last_asked = time.monotonic()
        else:
            if status.ready:
                progress.phase("The head is ready")
                return status
            if status.phase != phase:
                phase = status.phase
                progress.phase(f"Head: {phase}")
        time.sleep(1)
    raise RemoteError(
        "The head isn't ready after 15 minutes.", why=why or f"Its phase is: {phase}.", hint=_HINT
    )


def _status(head: ClusterHead) -> HeadStatus | None:
    try:
        return head.status()
    except RemoteError:
        return None  # it is booting, and reads the new settings while it does


def _send_settings(head: ClusterHead, status: HeadStatus, name: str, progress: Reporter) -> None:
    restart = f"`rayform stack stop {name}`, then `rayform stack start {name}`"
    version = status.version
    if version not in (None, __version__):
        progress.note(
            f"The head runs Rayform {version} and keeps its worker groups and timers. It takes over Rayform "
            f"{__version__} and all changes when it starts next: {restart}."
        )
        return
    try:
        changes = head.take_settings()
    except RemoteError as error:
        progress.note(f"The head didn't receive its new settings: {error}")
        progress.note(f"It keeps its worker groups and timers until it starts next: {restart}.")
        return
    if changes.taken:
        progress.phase(f"The head took over: {_titles(changes.taken)}")
    if changes.waiting:
        progress.note(
            f"When no run is running, the head takes over: {_titles(changes.waiting)}. Now this could end "
            "workers in use."
        )
    if changes.at_start:
        progress.note(f"When it starts next, the head takes over: {_titles(changes.at_start)}. {restart}.")


def _titles(keys: list[str]) -> str:
    return ", ".join(_TITLES.get(key, key.replace("_", " ")) for key in keys)
