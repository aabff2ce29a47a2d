"""Stops an idle cluster from the head itself: no laptop and no server is needed for it.

Two timers: Ray's autoscaler ends idle workers first (each group's `idle_timeout_minutes`); once no worker beyond
the groups' minimum is left, no job runs and nobody is logged in, the head's own `idle_minutes` begin. A job that
is submitted meanwhile starts them anew.
"""

from __future__ import annotations

import json
import logging
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from rayform_runtime.cluster.machine.instance_metadata import instance_facts
from rayform_runtime.cluster.machine.settings import MachineSettings

__all__ = ["Activity", "IdleTimer", "observe", "stop_cluster"]

_log = logging.getLogger(__name__)
_RUNNING = ("PENDING", "RUNNING")


@dataclass(frozen=True, slots=True)
class Activity:
    """What goes on in the cluster.

    `known` is false where Ray didn't answer: an unknown cluster is taken for a busy one, never for an idle one.
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
        """Take another time; the count begins anew, so that a shorter one doesn't stop the head at once."""
        if idle_seconds != self.idle_seconds:
            self.idle_seconds = idle_seconds
            self._idle_since = now

    def look(self, activity: Activity, *, now: float) -> float | None:
        """Take note of what goes on; return seconds left until the stop, or `None` where none is due."""
        if not activity.idle:
            self._idle_since = now
            return None
        if self.idle_seconds is None:
            return None
        return max(0.0, self._idle_since + self.idle_seconds - now)


def observe(settings: MachineSettings, *, token: str, dashboard: str = "http://127.0.0.1:8265") -> Activity:
    """Ask Ray's job server and its node list what goes on, and the system who is logged in."""
    try:
        jobs = _get(f"{dashboard}/api/jobs/", token)
        nodes = _get(f"{dashboard}/nodes?view=summary", token)
    except (OSError, ValueError):
        return Activity(known=False)
    running = sum(1 for job in jobs if job.get("status") in _RUNNING)
    summary = (nodes.get("data") or {}).get("summary") or []
    alive = [n for n in summary if ((n.get("raylet") or {}).get("state")) == "ALIVE"]
    workers = max(0, len(alive) - 1 - sum(group.min for group in settings.worker_groups.values()))
    return Activity(True, running, workers, _logins())


def stop_cluster(settings: MachineSettings, *, why: str) -> None:
    """End the workers, then stop this machine. Idempotent.

    The workers go first: their autoscaler stops with the head, and they would run on for nobody.
    """
    _log.info("Stopping the cluster: %s", why)
    ec2 = settings.client("ec2")
    workers = [
        instance["InstanceId"]
        for page in ec2.get_paginator("describe_instances").paginate(
            Filters=[
                {"Name": "tag:ray-cluster-name", "Values": [settings.reference]},
                {"Name": "tag:ray-node-type", "Values": ["worker"]},
                {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
            ]
        )
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
    ]
    if workers:
        ec2.terminate_instances(InstanceIds=workers)
    ec2.stop_instances(InstanceIds=[instance_facts().instance_id])


def _get(url: str, token: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def _logins() -> int:
    """Count interactive logins; tunnels have no terminal and don't count: a run's job does."""
    done = subprocess.run(["who"], capture_output=True, text=True, check=False)
    return len([line for line in done.stdout.splitlines() if "pts/" in line])
