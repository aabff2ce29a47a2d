"""Up, down, crashes and refusals of the emulated cloud."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.emulated import EmulatedCloud, eventually, left_in_docker

from rayform_core.errors import ConflictError, NotFoundError, PrerequisiteError
from rayform_localstack import cloud, engine, inspection, processes
from rayform_localstack.control import Control
from rayform_localstack.engine import docker_client
from rayform_localstack.labels import CLOUD, INSTANCE, KIND, Kind
from rayform_localstack.state import CloudState, folder

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for each test."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    return tmp_path


def machines(state: CloudState) -> dict[str, str]:
    """Return the state of each machine's container by its instance."""
    filters = {"label": [f"{CLOUD}={state.id}", f"{KIND}={Kind.MACHINE}"]}
    found = docker_client().api.containers(all=True, filters=filters)
    return {c["Labels"][INSTANCE]: c["State"] for c in found}


def agreed(state: CloudState) -> bool | None:
    """Return true once every instance of the API has a machine in the same state, and none is left over."""
    wanted = {i["id"]: i["state"] for i in Control(state).desired()["instances"]}
    if any(s not in {"running", "stopped"} for s in wanted.values()):
        return None
    return (
        {k: "running" if v == "running" else "exited" for k, v in wanted.items()} == machines(state)
    ) or None


@pytest.mark.fault
def test_a_supervisor_that_is_killed_ten_times_ends_in_agreement(own_home: Path) -> None:
    """Killed at random moments of boots and terminations, the next `up` brings API and containers together."""
    generator = random.Random(5)
    state = cloud.up()
    emulated = EmulatedCloud(state, own_home)
    try:
        _, subnet = emulated.make_network()
        alive: list[str] = []
        for _ in range(10):
            alive += emulated.run(subnet, count=2)
            ended = [alive.pop(generator.randrange(len(alive))) for _ in range(2 if len(alive) > 4 else 1)]
            emulated.aws("ec2").terminate_instances(InstanceIds=ended)
            time.sleep(generator.uniform(0.0, 1.0))
            pid = (CloudState.load() or state).processes["supervisor"][0]
            os.kill(pid, signal.SIGKILL)
            state = cloud.up()
        began = time.monotonic()
        eventually(lambda: agreed(state), f"agreement: {machines(state)}", 20)
        took = time.monotonic() - began
        assert sorted(machines(state)) == sorted(alive)
        print(f"agreed {took:.1f} s after the last up")
    finally:
        emulated.close()
        cloud.down()
    assert left_in_docker(state.id) == []


def test_up_is_idempotent_and_refuses_another_engine(own_home: Path) -> None:
    """A second `up` keeps the cloud and its processes; another engine or region is a conflict."""
    first = cloud.up()
    try:
        second = cloud.up()
        assert (second.id, second.processes) == (first.id, first.processes)
        with pytest.raises(ConflictError, match="engine 'moto'"):
            cloud.up(region="eu-west-1")
        assert inspection.status()["running"]
        endpoints = folder() / "endpoints.json"
        assert json.loads(endpoints.read_text())["services"]["rds"] == first.endpoint
        assert [p.stat().st_mode & 0o077 for p in (endpoints, folder() / "cloud.json", folder())] == [0, 0, 0]
    finally:
        removed = cloud.down()
    assert removed
    assert left_in_docker(first.id) == []
    assert not any(processes.alive(i) for i in first.processes.values())
    assert not inspection.status()["running"]
    assert cloud.down() == []


def test_two_clouds_run_side_by_side(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clouds of two homes have addresses of their own, and the end of one leaves the other alone."""
    one = cloud.up()
    monkeypatch.setenv("RAYFORM_HOME", str(own_home / "other"))
    two = cloud.up()
    try:
        assert one.slot != two.slot
        assert {one.gateway, one.registry}.isdisjoint({two.gateway, two.registry})
    finally:
        cloud.down()
        monkeypatch.setenv("RAYFORM_HOME", str(own_home / "home"))
        assert inspection.status()["running"]
        cloud.down()
    assert left_in_docker(one.id) + left_in_docker(two.id) == []


@pytest.mark.fault
def test_a_dead_api_process_is_said_and_what_it_left_is_removed(own_home: Path) -> None:
    """Without the API's state nothing of the old cloud can be kept: `up` says so and starts an empty one."""
    state = cloud.up()
    emulated = EmulatedCloud(state, own_home)
    (instance,) = emulated.run(emulated.make_network()[1])
    emulated.await_state(instance, "running")
    emulated.close()
    os.kill(state.processes["api"][0], signal.SIGKILL)
    said: list[str] = []
    try:
        fresh = cloud.up(report=said.append)
        assert any("its state is lost" in line for line in said)
        assert fresh.id != state.id
        assert left_in_docker(state.id) == []
        assert Control(fresh).desired()["instances"] == []
    finally:
        cloud.down()


def test_down_finds_a_cloud_whose_state_file_was_lost(own_home: Path) -> None:
    """What a lost file described is found by its labels."""
    state = cloud.up()
    known = dict(state.processes)
    (folder() / "cloud.json").unlink()
    try:
        assert cloud.down()
        assert left_in_docker(state.id) == []
        assert not any(processes.alive(identity) for identity in known.values())
    finally:
        for identity in known.values():
            processes.stop(identity)


def test_a_taken_port_is_refused_before_anything_is_started(own_home: Path) -> None:
    """A port that is taken is an error that names it, and leaves nothing behind."""
    before = {n["Name"] for n in docker_client().api.networks()}
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PrerequisiteError, match=f"Port {port} .* is in use"):
            cloud.up(port=port)
    assert CloudState.load() is None
    assert {n["Name"] for n in docker_client().api.networks()} <= before | others_networks()


def others_networks() -> set[str]:
    """Return networks of clouds that other processes started meanwhile."""
    return {n["Name"] for n in docker_client().api.networks() if str(folder()) not in str(n.get("Labels"))}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the client leaves the socket open that found nobody
def test_a_daemon_that_does_not_run_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    """No engine is a missing prerequisite, told before anything is written."""
    engine.docker_client().close()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{own_home}/no.sock")
    engine.docker_client.cache_clear()
    try:
        with pytest.raises(PrerequisiteError, match=r"Docker Engine doesn't answer\. .* Start it"):
            cloud.up()
    finally:
        monkeypatch.undo()
        engine.docker_client.cache_clear()
        gc.collect()


def test_no_disk_is_said_before_anything_is_started(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    """Too little disk is refused up front with the numbers."""
    monkeypatch.setattr(cloud, "space_in_gib", lambda: 0.2)
    with pytest.raises(PrerequisiteError, match="0.2 GiB are free"):
        cloud.up()
    assert CloudState.load() is None


def test_the_command_line_runs_a_cloud_and_names_what_it_does_not_know(own_home: Path) -> None:
    """`up`, `status --json`, `logs` and `down` work as commands; an unknown instance is an error with exit code 3."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        rayform = str(Path(sys.executable).with_name("rayform"))
        return subprocess.run([rayform, "localstack", *words], capture_output=True, text=True, check=False)

    assert "There is no emulated cloud" in run("status").stdout
    assert run("up").returncode == 0
    try:
        status = json.loads(run("status", "--json").stdout)
        assert status["running"]
        assert all(p["alive"] for p in status["processes"].values())
        assert "export AWS_ENDPOINT_URL=http://198.18." in run("env").stdout
        assert run("logs", "supervisor").returncode == 0
        lost = run("kill", "i-0")
        assert (lost.returncode, "no instance 'i-0'" in lost.stderr) == (3, True)
    finally:
        assert run("down").returncode == 0
    with pytest.raises(NotFoundError):
        inspection.log_of("api")
