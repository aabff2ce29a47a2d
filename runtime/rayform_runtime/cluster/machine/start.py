"""Starts Ray on a machine of the cluster: on the head, or on a worker that joins it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rayform_core.errors import PrerequisiteError, RemoteError
from rayform_core.files import write_atomically
from rayform_runtime.cluster.machine.answers import HeadStatus
from rayform_runtime.cluster.machine.autoscaler_config import autoscaler_config
from rayform_runtime.cluster.machine.instance_metadata import instance_facts
from rayform_runtime.cluster.machine.settings import MachineSettings
from rayform_runtime.cluster.machine.status import write_status
from rayform_runtime.cluster.step_workers.image_plugin import PLUGIN_CLASS
from rayform_runtime.cluster.step_workers.start_hook import START_HOOK

__all__ = ["RAY_PORT", "TOKEN_PATH", "end_ray", "ray_environment", "start_head", "start_worker"]

RAY_PORT = 6379
DASHBOARD_PORT = 8265
TOKEN_PATH = Path("/etc/rayform/ray_token")
AUTOSCALER_PATH = Path("/etc/rayform/autoscaler.yaml")
_JOIN_FOR = 600.0
_RAY_PROCESS = re.compile(r"raylet|gcs_server|ray::|/ray/")


def start_head() -> None:
    """Make this machine the cluster's head, and start the daemon that watches it.

    Dashboard and job server listen on loopback, Ray itself on the private address: laptops come in by SSH alone.

    Raises:
        PrerequisiteError, RemoteError: the settings are missing, the token can't be read, Ray doesn't start.
    """
    settings = MachineSettings.read()
    write_status(HeadStatus(phase="starting Ray", ready=False))
    _write_token(settings)
    facts = instance_facts()
    head = settings.head
    command = [
        "start", "--head", f"--port={RAY_PORT}", f"--node-ip-address={facts.private_ip}",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={DASHBOARD_PORT}",
        f"--autoscaling-config={AUTOSCALER_PATH}", "--disable-usage-stats",
        *_resources(head.cpus, head.gpus, None, {}),
    ]  # fmt: skip
    if settings.worker_groups:
        write_atomically(AUTOSCALER_PATH, json.dumps(autoscaler_config(settings), indent=2))
    else:
        # The file exists exactly while Ray uses it.
        AUTOSCALER_PATH.unlink(missing_ok=True)
        command = [word for word in command if not word.startswith("--autoscaling-config")]
    end_ray(settings)
    _ray(*command, settings=settings)
    write_status(
        HeadStatus(
            phase="Ray runs",
            ready=True,
            private_ip=facts.private_ip,
            instance_id=facts.instance_id,
            ray_version=settings.ray_version,
            python_version=settings.python_version,
        )
    )
    _leave_behind("watch", settings)


def start_worker() -> None:
    """Join the head, trying for ten minutes: the head may still be booting.

    Raises:
        PrerequisiteError, RemoteError: the settings are missing, the token can't be read, the head never answers.
    """
    settings = MachineSettings.read()
    node = settings.node
    if node.head_private_ip is None or node.group is None or node.group not in settings.worker_groups:
        raise PrerequisiteError(
            "This machine's settings name no head, or no worker group of the stack.",
            hint="Its launch template isn't the stack's. Run `rayform stack deploy`.",
        )
    _write_token(settings)
    facts = instance_facts()
    group = settings.worker_groups[node.group]
    offered = group.ray_resources()
    custom = {n: a for n, a in offered.items() if n not in ("CPU", "GPU", "memory")}
    command = [
        "start", f"--address={node.head_private_ip}:{RAY_PORT}", f"--node-ip-address={facts.private_ip}",
        "--disable-usage-stats",
        *_resources(offered["CPU"], offered.get("GPU", 0), offered.get("memory"), custom),
    ]  # fmt: skip
    deadline = time.monotonic() + _JOIN_FOR
    while True:
        try:
            end_ray(settings)
            _ray(*command, settings=settings)
            break
        except RemoteError:
            if time.monotonic() > deadline:
                raise
            time.sleep(2)
    _leave_behind("watch", settings)


def _resources(cpus: float | None, gpus: float, memory: float | None, custom: dict[str, float]) -> list[str]:
    words = []
    if cpus is not None:
        words.append(f"--num-cpus={int(cpus)}")
    # Passed even if there are none: a machine's own count may differ from what the autoscaler plans with.
    words.append(f"--num-gpus={int(gpus)}")
    if memory:
        words.append(f"--memory={int(memory)}")
    if custom:
        words.append(f"--resources={json.dumps(custom)}")
    if (room := _object_store_bytes()) is not None:
        words.append(f"--object-store-memory={room}")
    return words


def _object_store_bytes() -> int | None:
    """Return a limit for Ray's object store if shared memory is small; `None` leaves it to Ray."""
    free = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0  # noqa: S108 - only its size is read
    return max(80 * 2**20, int(free * 0.8)) if free < 2 * 2**30 else None


def end_ray(settings: MachineSettings) -> None:
    """End Ray on this machine, with its autoscaler. If none runs, as at a first boot, don't spend a second on it."""
    if ray_processes():
        _ray("stop", "--force", settings=settings, check=False)


def ray_processes() -> list[str]:
    """Return the command lines of Ray's own processes on this machine."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if _RAY_PROCESS.search(line):
            lines.append(line)
    return lines


def ray_environment(settings: MachineSettings) -> dict[str, str]:
    """Return the environment that every Ray process of the machine gets."""
    return {
        **os.environ,
        **settings.environment(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(TOKEN_PATH),
        "RAY_RUNTIME_ENV_PLUGINS": json.dumps([{"class": PLUGIN_CLASS}]),
        "RAY_START_HOOK": START_HOOK,
        "RAY_USAGE_STATS_ENABLED": "0",
        # A restarted worker process costs a second; a node has memory for some idle ones.
        "RAY_idle_worker_killing_time_threshold_ms": "60000",
        # A lost node is noticed within ten seconds rather than half a minute.
        "RAY_health_check_initial_delay_ms": "5000",
        "RAY_health_check_period_ms": "2000",
        "RAY_health_check_timeout_ms": "4000",
        "RAY_health_check_failure_threshold": "4",
        "HOME": os.environ.get("HOME", "/root"),
    }


def _ray(*arguments: str, settings: MachineSettings, check: bool = True) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", *arguments],
        env=ray_environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    sys.stdout.flush()
    if check and done.returncode != 0:
        last = [line for line in (done.stdout + done.stderr).strip().splitlines() if line.strip()][-5:]
        raise RemoteError(
            f"`ray {arguments[0]}` failed with exit code {done.returncode}.", why=" ".join(last)
        )


def _write_token(settings: MachineSettings) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    error: Exception | None = None
    for attempt in range(8):  # A new role works only after some seconds.
        try:
            answer = settings.client("secretsmanager").get_secret_value(SecretId=settings.ray_token_secret)
            write_atomically(TOKEN_PATH, str(answer["SecretString"]).strip())
            return
        except (BotoCoreError, ClientError) as failed:
            error = failed
            time.sleep(min(2**attempt, 15))
    raise RemoteError(
        "This machine can't read the cluster's token.",
        why=f"{error}.",
        hint=f"Check that the machine's role may read the secret '{settings.ray_token_secret}'.",
    ) from error


def _leave_behind(command: str, settings: MachineSettings) -> None:
    log = Path("/var/log/rayform-watch.log")
    with log.open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "rayform_runtime.cluster.machine", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=ray_environment(settings),
            start_new_session=True,
            cwd="/",
        )
