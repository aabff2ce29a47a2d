"""What a deploy does about the head once the cloud is as the definition says.

An awake head is waited for and told what changed; one that sleeps is left asleep, since it reads the new settings
when it wakes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rayform_core.errors import NotFoundError, RemoteError
from rayform_core.version import __version__

if TYPE_CHECKING:
    from rayform_provisioner.lifecycle import Lifecycle
    from rayform_runtime.cluster.config import RayOrchestratorConfig
    from rayform_runtime.cluster.from_laptop.head import ClusterHead

__all__ = ["bring_to_head"]

_WORDS = {
    "ray_version": "Ray's version",
    "python_version": "Python's version",
    "head": "the head's own shape",
}
_ASK_THE_CLOUD_EVERY = 5.0
_HINT = (
    "The stack is deployed and registered; `rayform stack status` shows its head, and --no-wait skips this."
)


def bring_to_head(lifecycle: Lifecycle, progress: Any, *, wait: bool, timeout: float = 900) -> bool:
    """Bring what was deployed to the head.

    Args:
        lifecycle: of the deployed stack.
        progress: told what goes on.
        wait: wait until the head can run pipelines; else only a head that can is told what changed.
        timeout: seconds to wait at most.

    Returns:
        whether the head is awake.

    Raises:
        RemoteError: the head is not ready in time.
    """
    from rayform_runtime.cluster.config import RayOrchestratorConfig
    from rayform_runtime.cluster.from_laptop.head import ClusterHead

    config = RayOrchestratorConfig.model_validate(lifecycle.registration()["orchestrator"]["config"])
    deadline = time.monotonic() + timeout
    if _asleep(config):
        lifecycle.learn_host_keys(0)  # of a head that was put to sleep before it was ever reached
        return False
    if not lifecycle.learn_host_keys(timeout if wait else 0):
        if wait:
            raise RemoteError("The head did not report within 15 minutes.", hint=_HINT)
        return True
    head = ClusterHead(config)
    try:
        status = _ready(head, config, progress, deadline) if wait else _status(head)
        if wait and status is None:
            return False
        if status is not None and status["ready"]:
            _tell_changes(head, status, lifecycle.name, progress)
    finally:
        head.close()
    return True


def _asleep(config: RayOrchestratorConfig) -> bool:
    """Whether the head is stopped, or about to be."""
    from rayform_runtime.cluster.from_laptop.power import head_state

    try:
        return head_state(config) in ("stopping", "stopped")
    except (NotFoundError, RemoteError):
        return False  # not known: the head itself is asked next, and says more


def _ready(
    head: ClusterHead, config: RayOrchestratorConfig, progress: Any, deadline: float
) -> dict[str, Any] | None:
    """Wait until the head can run pipelines, and return its status; `None` where it went to sleep meanwhile."""
    shown, why, asked = "", "", time.monotonic()
    while time.monotonic() < deadline:
        try:
            status = head.status()
        except RemoteError as error:
            why = str(error)
            if time.monotonic() - asked > _ASK_THE_CLOUD_EVERY:
                if _asleep(config):
                    return None
                asked = time.monotonic()
        else:
            if status["ready"]:
                progress.phase("The head is ready")
                return status
            if status["phase"] != shown:
                shown = str(status["phase"])
                progress.phase(f"Head: {shown}")
        time.sleep(1)
    raise RemoteError("The head is not ready after 15 minutes.", why=why or f"It says: {shown}.", hint=_HINT)


def _status(head: ClusterHead) -> dict[str, Any] | None:
    try:
        return head.status()
    except RemoteError:
        return None  # it boots, and reads the new settings then


def _tell_changes(head: ClusterHead, status: dict[str, Any], name: str, progress: Any) -> None:
    restart = f"`rayform stack stop {name}`, then `rayform stack start {name}`"
    version = status.get("version")
    if version not in (None, __version__):
        progress.note(
            f"The head runs Rayform {version} and keeps its worker groups and timers; it takes {__version__} and what "
            f"changed when it starts next: {restart}."
        )
        return
    try:
        said = head.take_settings()
    except RemoteError as error:
        progress.note(f"The head couldn't be told what changed: {error}")
        progress.note(f"It keeps its worker groups and timers until it starts next: {restart}.")
        return
    if said["taken"]:
        progress.phase(f"The head took over what changed: {_words(said['taken'])}")
    if said["waiting"]:
        progress.note(
            f"Once no run goes on, the head takes over: {_words(said['waiting'])}. Now, that could end workers in use."
        )
    if said["at_start"]:
        progress.note(f"Only when the head starts next: {_words(said['at_start'])}. {restart}.")


def _words(keys: list[str]) -> str:
    return ", ".join(_WORDS.get(key, key.replace("_", " ")) for key in keys)
