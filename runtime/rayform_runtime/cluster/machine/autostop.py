"""Stops an idle cluster from the head itself, without a laptop or a server.

There are two timers. Ray's autoscaler ends idle workers first (each group's `idle_timeout_minutes`). Once no worker
beyond the groups' minimum is left, no job runs and nobody is logged in, the head's own `idle_minutes` begin. A job
that is submitted meanwhile starts them again.
"""

from __future__ import annotations

import json
import logging
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass

from rayform_runtime.cluster.ec2 import EC2, end_workers
from rayform_runtime.cluster.machine.instance_metadata import instance_facts
from rayform_runtime.cluster.machine.settings import MachineSettings
from rayform_runtime.cluster.ray_answers import at, objects

__all__ = ["Activity", "IdleTimer", "observe", "stop_cluster"]

_log = logging.getLogger(__name__)
_RUNNING = ("PENDING", "RUNNING")


@dataclass(frozen=True, slots=True)
class Activity:
    """What is running in the cluster.

    `known` is false if Ray didn't answer. Such a cluster counts as busy, never as idle.
    """

    known: bool
    jobs: int = 0
    workers: int = 0
    logins: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing needs the head."""
        return self.known and not (self.jobs or self.workers or self.logins)

    def __str__(self) -> str:
        if not self.known:
            return "Ray doesn't answer"
        if self.idle:
            return "idle"
        words = [("job", self.jobs), ("worker", self.workers), ("login", self.logins)]
        return ", ".join(f"{n} {w}{'' if n == 1 else 's'}" for w, n in words if n)


class IdleTimer:
    """Counts how long the cluster has been idle.

    Args:
        idle_seconds: after which it stops; `None` never stops it.
        now: a monotonic clock's value at the start: a head that just booted is not idle yet.
    """

    def __init__(self, idle_seconds: float | None, *, now: float) -> None:
        self.idle_seconds = idle_seconds
        self._idle_since = now

    def set_idle_seconds(self, idle_seconds: float | None, *, now: float) -> None:
        """Change the time. The count begins again, so that a shorter time doesn't stop the head at once."""
        if idle_seconds != self.idle_seconds:
            self.idle_seconds = idle_seconds
            self._idle_since = now

    def look(self, activity: Activity, *, now: float) -> float | None:
        """Note the activity; return the seconds that are left until the stop, or `None` if none is due."""
        if not activity.idle:
            self._idle_since = now
            return None
        if self.idle_seconds is None:
            return None
        return max(0.0, self._idle_since + self.idle_seconds - now)


def observe(settings: MachineSettings, *, token: str, dashboard: str = "http://127.0.0.1:8265") -> Activity:
    """Return the activity, by Ray's job server, its list of nodes, and the system's list of logins."""
    try:
        jobs = _get(f"{dashboard}/api/jobs/", token)
        nodes = _get(f"{dashboard}/nodes?view=summary", token)
    except (OSError, ValueError):
        return Activity(known=False)
    if not isinstance(jobs, list):
        return Activity(known=False)
    running = sum(1 for job in objects(jobs) if job.get("status") in _RUNNING)
    alive = [node for node in objects(at(nodes, "data", "summary")) if at(node, "raylet", "state") == "ALIVE"]
    workers = max(0, len(alive) - 1 - sum(group.min for group in settings.worker_groups.values()))
    return Activity(True, running, workers, _logins())


def stop_cluster(settings: MachineSettings, *, why: str) -> None:
    """End the workers, then stop this machine. Idempotent.

    Ray ends first: its autoscaler could start a worker after the last look, which would then run, and be billed,
    without a head that ends it.
    """
    from rayform_runtime.cluster.machine.start import end_ray

    _log.info("Stopping the cluster: %s", why)
    ec2: EC2 = settings.client("ec2")
    this_machine = instance_facts().instance_id
    end_ray(settings)
    end_workers(ec2, settings.reference, this_machine, can_start_more=lambda: False)
    ec2.stop_instances(InstanceIds=[this_machine])


def _get(url: str, token: str) -> object:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - Ray's own address on this machine
        content: object = json.load(answer)
        return content


def _logins() -> int:
    """Count interactive logins. Tunnels have no terminal and don't count; a run's job counts by itself."""
    done = subprocess.run(["who"], capture_output=True, text=True, check=False)
    return len([line for line in done.stdout.splitlines() if "pts/" in line])
