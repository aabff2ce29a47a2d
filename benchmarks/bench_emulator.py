"""The emulated cloud: up, boots, down, and the recovery of a killed supervisor, compared with their bars."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import row

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

KILLS = 10


def run() -> list[dict[str, Any]]:
    """Measure on this machine's Docker Engine; images are built before the clock starts."""
    from rayform_localstack import cloud, images

    images.ensure()
    before = os.environ.get("RAYFORM_HOME")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="rayform-bench-") as folder:
        os.environ["RAYFORM_HOME"] = folder
        try:
            for engine in ("moto", "localstack"):
                rows += measure(engine, Path(folder))
        finally:
            cloud.down()
            if before is None:
                del os.environ["RAYFORM_HOME"]
            else:
                os.environ["RAYFORM_HOME"] = before
    return rows


def command(*words: str) -> float:
    """Run a `rayform` command; return how many seconds it took."""
    began = time.perf_counter()
    rayform = str(Path(sys.executable).with_name("rayform"))
    done = subprocess.run([rayform, "localstack", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"rayform localstack {' '.join(words)}: {done.stderr}")
    return time.perf_counter() - began


def measure(engine: str, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of one engine."""
    from support.emulated import EmulatedCloud, left_in_docker

    from rayform_localstack.state import CloudState

    ups, downs = [], []
    for _ in range(2):
        ups.append(command("up", "--engine", engine))
        downs.append(command("down"))
    ups.append(command("up", "--engine", engine))
    state = CloudState.load()
    assert state is not None
    place = folder / f"keys-{engine}"
    place.mkdir()
    emulated = EmulatedCloud(state, place)
    _, subnet = emulated.make_network()
    single = [boot_seconds(emulated, subnet, 1) for _ in range(3)]
    eight = boot_seconds(emulated, subnet, 8)
    agree = [killed_supervisor(emulated, subnet, engine) for _ in range(KILLS)] if engine == "moto" else []
    emulated.close()
    downs.append(command("down"))
    left = left_in_docker(state.id)
    rows = [
        row(f"up with cached images, {engine}", ups, "s", bar=5),
        row(f"running to user data finished, {engine}", [s[1] for s in single], "s", bar=3),
        row(f"RunInstances to running, {engine}", [s[0] for s in single], "s"),
        row(f"eight instances at once, {engine}", [eight[0] + eight[1]], "s", bar=15),
        row(
            f"down (the last with eleven machines or more), {engine}",
            downs,
            "s",
            bar=10,
            note=f"left: {left}",
        ),
    ]
    if agree:
        note = f"median {statistics.median(agree):.2f} s, worst {max(agree):.2f} s of {KILLS} kills"
        rows.append(row("agreement after up, supervisor killed", [max(agree)], "s", bar=5, note=note))
    return rows


def boot_seconds(emulated: Any, subnet: str, count: int) -> tuple[float, float]:
    """Run instances with an empty script; return seconds to `running`, and from there to user data's end."""
    began = time.perf_counter()
    started = emulated.run(subnet, user_data="#!/bin/sh\n", count=count)
    for identifier in started:
        emulated.await_state(identifier, "running", 60)
    running = time.perf_counter()
    for identifier in started:
        emulated.await_boot(identifier, 60)
    return running - began, time.perf_counter() - running


def killed_supervisor(emulated: Any, subnet: str, engine: str) -> float:
    """Kill the supervisor during boots and terminations; return the seconds from the end of `up` to agreement."""
    from support.emulated import eventually

    from rayform_localstack import cloud, inspection

    state = emulated.state
    alive = [row["id"] for row in inspection.status()["instances"] if row["state"] == "running"]
    emulated.run(subnet, count=2)
    emulated.aws("ec2").terminate_instances(InstanceIds=alive[:2])
    time.sleep(0.3)
    os.kill(cloud.CloudState.load().processes["supervisor"][0], signal.SIGKILL)  # type: ignore[union-attr]
    cloud.up(engine)
    began = time.perf_counter()
    eventually(agreement(state), "API and containers agree", 30)
    return time.perf_counter() - began


def agreement(state: Any) -> Callable[[], bool | None]:
    """Return a check that is true once the containers of instances are those that the API wants, in the same states."""
    from rayform_localstack.control import Control
    from rayform_localstack.engine import docker_client
    from rayform_localstack.labels import CLOUD, INSTANCE, KIND, Kind

    def check() -> bool | None:
        states = {i["id"]: i["state"] for i in Control(state).desired()["instances"]}
        filters = {"label": [f"{CLOUD}={state.id}", f"{KIND}={Kind.MACHINE}"]}
        containers = docker_client().api.containers(all=True, filters=filters)
        return (states == {c["Labels"][INSTANCE]: c["State"] for c in containers}) or None

    return check
