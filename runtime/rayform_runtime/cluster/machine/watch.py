"""The daemon on each machine: on the head it watches for idleness and Ray's health, on workers for the spot notice.

It holds nothing that a restart would lose, and keeps watching if Ray or the cloud doesn't answer.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from rayform_core.errors import ConflictError, RayformError
from rayform_core.files import file_lock
from rayform_runtime.cluster.machine.answers import AutostopStatus, HeadStatus
from rayform_runtime.cluster.machine.autostop import IdleTimer, observe, stop_cluster
from rayform_runtime.cluster.machine.instance_metadata import spot_notice
from rayform_runtime.cluster.machine.new_settings import settings_wait, take_settings
from rayform_runtime.cluster.machine.settings import MachineSettings
from rayform_runtime.cluster.machine.start import RAY_PORT, TOKEN_PATH, ray_environment, start_head
from rayform_runtime.cluster.machine.status import write_status

__all__ = ["watch"]

_log = logging.getLogger("rayform.watch")
_HEAD_EVERY = float(os.environ.get("RAYFORM_WATCH_SECONDS", "10"))
_SPOT_EVERY = 2.0
_DEAD_AFTER = 3


def watch() -> None:
    """Watch this machine until it goes down. Each machine has one watcher: a second one ends at once."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    settings = MachineSettings.read()
    try:
        with file_lock(Path("/run/rayform/watch.lock"), timeout=0, what="the machine's watch"):
            if settings.node.role == "head":
                _watch_head(settings)
            else:
                _watch_worker(settings)
    except ConflictError:
        _log.info("This machine is watched already.")


def _watch_head(settings: MachineSettings) -> None:
    timer = IdleTimer(settings.autostop.idle_seconds, now=time.monotonic())
    unanswered = 0
    while True:
        settings = _present_settings(settings)
        autostop = settings.autostop
        timer.set_idle_seconds(autostop.idle_seconds, now=time.monotonic())
        activity = observe(settings, token=TOKEN_PATH.read_text().strip())
        left = timer.look(activity, now=time.monotonic())
        write_status(
            HeadStatus(
                activity=str(activity),
                jobs=activity.jobs,
                workers=activity.workers,
                autostop=AutostopStatus(
                    enabled=autostop.enabled,
                    idle_minutes=autostop.idle_minutes,
                    stops_at=None if left is None else time.time() + left,
                ),
            )
        )
        unanswered = 0 if activity.known else unanswered + 1
        try:
            if left == 0:
                write_status(HeadStatus(phase="stopped itself: idle", ready=False))
                stop_cluster(settings, why=f"idle for {autostop.idle_minutes:g} minutes")
                time.sleep(60)
            elif unanswered >= _DEAD_AFTER and not _ray_lives():
                _log.warning("Ray is dead; starting it again.")
                start_head()
                unanswered = 0
            elif settings_wait() and activity.known and not activity.jobs:
                changes = take_settings(busy=False)
                _log.info("No run goes on any more: took over %s.", ", ".join(changes.taken) or "nothing")
        except RayformError as error:
            _log.error("%s", error)
        except Exception:  # noqa: BLE001 - the cloud's API may fail in any way; the next look tries again
            _log.exception("A look at the cluster failed; the watch goes on.")
        time.sleep(_HEAD_EVERY)


def _present_settings(settings: MachineSettings) -> MachineSettings:
    """Return the machine's settings, which a deploy may have changed; `settings` if the file can't be read."""
    try:
        return MachineSettings.read()
    except (RayformError, OSError) as error:
        _log.error("The settings can't be read again, so the last ones stay: %s", error)
        return settings


def _watch_worker(settings: MachineSettings) -> None:
    """Drain Ray on a spot notice: nothing new starts here, and lost steps report the cause."""
    while True:
        notice = spot_notice()
        if notice is not None:
            _log.info("Spot notice: %s", notice)
            _drain(settings)
            return
        time.sleep(_SPOT_EVERY)


def _drain(settings: MachineSettings) -> None:
    import ray

    head = f"{settings.node.head_private_ip}:{RAY_PORT}"
    script = (
        "import ray,sys;ray.init(address='auto',logging_level='ERROR');"
        "print(ray.get_runtime_context().get_node_id())"
    )
    environment = ray_environment(settings)
    question = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    node_id = (question.stdout.strip().splitlines() or [""])[-1]
    done = subprocess.run(
        [
            sys.executable, "-m", "ray.scripts.scripts", "drain-node", f"--address={head}", f"--node-id={node_id}",
            "--reason=DRAIN_NODE_REASON_PREEMPTION",
            "--reason-message=the cloud takes the spot machine back (two minutes' notice)",
            "--deadline-remaining-seconds=110",
        ],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    _log.info(
        "Drained node %s of Ray %s: %s", node_id, ray.__version__, (done.stdout + done.stderr).strip()[-500:]
    )


def _ray_lives() -> bool:
    done = subprocess.run(["pgrep", "-f", "gcs_server"], capture_output=True, check=False)
    return done.returncode == 0
