"""The emulated cloud's life cycle: up, down, reset.

The state file records every process, and everything in Docker has the cloud's label. So whatever a crash leaves
behind can be found.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayform_core.errors import ConflictError, PrerequisiteError, RemoteError, UsageError
from rayform_core.files import file_lock, private_folder
from rayform_localstack import images, processes
from rayform_localstack.control import Control
from rayform_localstack.engine import docker_client, space_in_gib
from rayform_localstack.labels import CLOUD, HOME, KIND, SLOT, Kind, container_name
from rayform_localstack.state import ENGINES, LAYERS_LIMIT, CloudState, cloud_of_home, folder, layers_volume

if TYPE_CHECKING:
    import docker

__all__ = ["Report", "down", "reset", "up"]

Report = Callable[[str], None]
"""Called with what is being done, one line each time."""

SLOTS = range(1, 250)
API_PORT, METADATA_PORT, REGISTRY_PORT = 4566, 4567, 5000
MIN_FREE_GIB = 1.0
START_WITHIN = 90.0
GONE_WITHIN = 30.0
ANSWERS_WITHIN = 20.0


def _quiet(_: str) -> None: ...


def _locked() -> AbstractContextManager[None]:
    return file_lock(private_folder(folder()) / "lock", timeout=60, what="The emulated cloud of this home")


def up(
    engine: str = "moto",
    *,
    region: str = "us-east-1",
    enforce_iam: bool = True,
    notice_seconds: float = 120.0,
    port: int | None = None,
    layers_limit: int = LAYERS_LIMIT,
    report: Report = _quiet,
) -> CloudState:
    """Start the emulated cloud of this home, or the parts of it that don't run.

    Idempotent: a cloud that runs stays as it is. A supervisor that died is started again, and takes over what runs.
    If the API process died, its state is gone, and everything that it had started is removed first.

    Args:
        engine: `"moto"`, or `"localstack"` for real LocalStack, with moto for the services that it lacks.
        region: region of the services' own resources.
        enforce_iam: check callers' policies.
        notice_seconds: seconds from the notice of a spot interruption to the end.
        port: port of the API; by default 4566, or another one if that is in use.
        layers_limit: bytes that image layers may take that outlive the clouds of this machine, so that a push to
            the next cloud finds them; 0 keeps none.
        report: called with what is being done.

    Returns:
        The running cloud.

    Raises:
        PrerequisiteError: no engine, no disk, no image, or a port that is in use; nothing was started.
        ConflictError: the cloud runs with another engine or region.
    """
    if engine not in ENGINES:
        raise UsageError(f"There is no engine '{engine}'.", hint=f"Known: {', '.join(ENGINES)}.")
    client = docker_client()
    _check_disk()
    with _locked():
        state = CloudState.load()
        if state is not None and _api_answers(state):
            _same_cloud(state, engine, region)
        elif state is not None:
            report("The API process has died, and its state is lost: removing what it had started")
            _remove_everything(client, state)
            state = None
        tags = images.ensure(report)
        localstack = _localstack_ready(engine, report)
        if state is None:
            state = _new_state(client, engine, region, enforce_iam, notice_seconds, port, layers_limit)
        state.images = tags
        state.save()
        _start_processes(state, localstack, report)
        state.save()
        return state


def _api_answers(state: CloudState) -> bool:
    """Return whether the API answers; that its process exists isn't enough, since it may be ending."""
    api = state.processes.get("api")
    patience = time.monotonic() + ANSWERS_WITHIN
    while processes.alive(api):
        if Control(state).health() is not None:
            return True
        if time.monotonic() > patience:
            raise PrerequisiteError(
                "The emulated cloud's API process runs, but doesn't answer.",
                why=f"Its health page gave no answer within {ANSWERS_WITHIN:.0f} s.",
                hint=f"Its log is {folder() / 'api.log'}. `rayform localstack down` ends it, with everything in it.",
            )
        time.sleep(0.05)
    return False


def _same_cloud(state: CloudState, engine: str, region: str) -> None:
    if (state.engine, state.region) != (engine, region):
        raise ConflictError(
            f"The emulated cloud of this home runs with engine '{state.engine}' in {state.region}.",
            hint="Take it down first (rayform localstack down), or set RAYFORM_HOME to another folder.",
        )


def _check_disk() -> None:
    free = space_in_gib()
    if free is not None and free < MIN_FREE_GIB:
        raise PrerequisiteError(
            f"The emulated cloud needs at least {MIN_FREE_GIB:.0f} GiB of disk, and {free:.1f} GiB are free.",
            hint="Free some space where Docker keeps its data, for example: docker system prune.",
        )


def _localstack_ready(engine: str, report: Report) -> Path | None:
    if engine != "localstack":
        return None
    from rayform_localstack.localstack_engine import ensure_localstack

    return ensure_localstack(report)


def _new_state(
    client: docker.DockerClient,
    engine: str,
    region: str,
    enforce_iam: bool,
    notice_seconds: float,
    port: int | None,
    layers_limit: int,
) -> CloudState:
    """Take a slot, which is a network that no other cloud can have, and choose ports on its addresses."""
    identifier = secrets.token_hex(4)
    slot = _take_slot(client, identifier)
    gateway = f"198.18.{slot}.1"
    state = CloudState(
        id=identifier,
        slot=slot,
        engine=engine,
        region=region,
        gateway=gateway,
        api_port=0,
        metadata_port=0,
        registry_port=0,
        token=secrets.token_urlsafe(32),
        access_key="AKIA" + secrets.token_hex(8).upper(),
        secret_key=secrets.token_urlsafe(30),
        registry_password=secrets.token_urlsafe(24),
        enforce_iam=enforce_iam,
        notice_seconds=notice_seconds,
        layers_limit=layers_limit,
        account="000000000000" if engine == "localstack" else "123456789012",
        started=time.time(),
    )
    try:
        state.api_port = _port(gateway, port or API_PORT, exact=port is not None)
        state.metadata_port = _port(gateway, METADATA_PORT, exact=False, besides=state.api_port)
        state.registry_port = _port(f"127.77.{slot}.1", REGISTRY_PORT, exact=False)
        for log in folder().glob("*.log"):
            log.unlink()  # of an earlier cloud
        state.save()
    except PrerequisiteError:
        client.api.remove_network(container_name(identifier, "net"))
        raise
    return state


def _take_slot(client: docker.DockerClient, identifier: str) -> int:
    from docker.errors import APIError
    from docker.types import IPAMConfig, IPAMPool

    from rayform_localstack.supervisor.networks import bridge_options, overlapping

    used = {n.get("Labels", {}).get(SLOT) for n in client.api.networks(filters={"label": SLOT})}
    for slot in SLOTS:
        cidr = f"198.18.{slot}.0/24"
        if str(slot) in used or overlapping(client, cidr) is not None:
            continue
        try:
            client.api.create_network(
                container_name(identifier, "net"),
                driver="bridge",
                options=bridge_options(),
                ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=cidr, gateway=f"198.18.{slot}.1")]),
                labels={CLOUD: identifier, KIND: Kind.MANAGEMENT, SLOT: str(slot), HOME: str(folder())},
            )
        except APIError as error:
            if "overlap" in str(error.explanation).lower():
                continue  # another cloud has just taken it
            raise PrerequisiteError(
                "Docker Engine can't make a bridge network.",
                why=str(error.explanation),
                hint="iptables or kernel modules may be missing; Docker's log says more.",
            ) from error
        return slot
    raise PrerequisiteError(
        "This machine has no free slot for another emulated cloud.",
        hint="Take one down: rayform localstack down. `docker network ls --filter label=rayform.slot` lists them.",
    )


def _port(address: str, preferred: int, *, exact: bool, besides: int = 0) -> int:
    """Return a free port of this address, other than `besides`: `preferred`, or any unless it must be `exact`."""
    cause: OSError | None = None
    for port in (preferred, *(() if exact else (0, 0, 0))):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                cause = error
                continue
            free = int(probe.getsockname()[1])
            if free != besides:
                return free
    raise PrerequisiteError(
        f"Port {preferred} of {address} is in use.",
        why=str(cause),
        hint="End the process that listens there (`ss -ltnp` shows it), or choose another port with --port.",
    )


def _start_processes(state: CloudState, localstack: Path | None, report: Report) -> None:
    """Start the processes that don't run, both at once, and wait until each is ready."""
    home = folder()
    state_file = str(home / "cloud.json")
    starting = {}
    if not processes.alive(state.processes.get("api")):
        report(f"Starting the API ({state.engine})")
        python, environment = sys.executable, _environment()
        if localstack is not None:
            from rayform_localstack.localstack_engine import localstack_environment

            python, environment = str(localstack), localstack_environment(home, environment)
        command = [python, "-m", "rayform_localstack.api.server", state_file]
        starting["api"] = processes.start("API process", command, home / "api.log", environment)
        # Saved at once: a crash of this command must not leave a process that the state doesn't have.
        _record(state, "api", starting["api"])
    if not processes.alive(state.processes.get("supervisor")):
        report("Starting the supervisor and the registry")
        command = [sys.executable, "-m", "rayform_localstack.supervisor.main", state_file]
        starting["supervisor"] = processes.start(
            "supervisor", command, home / "supervisor.log", _environment()
        )
        _record(state, "supervisor", starting["supervisor"])
    failed = None
    for name, process in starting.items():
        try:
            state.processes[name] = process.wait(START_WITHIN)
        except PrerequisiteError as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _record(state: CloudState, name: str, starting: processes.Starting) -> None:
    pid = starting.process.pid
    state.processes[name] = (pid, processes.started(pid))
    state.save()


def _environment() -> dict[str, str]:
    """Return the environment of the cloud's processes: this one's, without what could lead them to a real cloud."""
    return {k: v for k, v in os.environ.items() if not k.startswith("AWS_") or k == "AWS_CA_BUNDLE"}


def down(report: Report = _quiet, *, layers: bool = False) -> list[str]:
    """End the emulated cloud of this home, with everything that it has made.

    Idempotent. It goes by labels too, so it also removes a cloud whose state file is lost.

    Args:
        report: called with what is being done.
        layers: also remove the image layers that outlive the clouds of this machine.

    Returns:
        Names of what was removed.

    Raises:
        ConflictError: another cloud uses the layers; nothing was removed.
    """
    client = docker_client()
    with _locked():
        state = CloudState.load()
        volume = state.layers_volume if state is not None else layers_volume()
        if layers:
            _refuse_if_others_use_layers(client, volume, _clouds_of_home(client, state))
        removed = _remove_everything(client, state, report)
        return removed + (_remove_layers(client, volume) if layers else [])


def _refuse_if_others_use_layers(client: docker.DockerClient, volume: str, own: list[str]) -> None:
    users = client.api.containers(all=True, filters={"volume": volume})
    others = sorted({c["Labels"].get(CLOUD) or c["Names"][0].lstrip("/") for c in users}.difference(own))
    if others:
        raise ConflictError(
            f"The kept image layers are in use by {', '.join(others)}.",
            why="Every emulated cloud of this machine shares them.",
            hint="Take the others down first: `docker network ls --filter label=rayform.slot` lists them.",
        )


def _remove_layers(client: docker.DockerClient, volume: str) -> list[str]:
    from docker.errors import APIError, NotFound

    try:
        client.api.remove_volume(volume)
    except NotFound:
        return []
    except APIError as error:
        raise ConflictError("The kept image layers are in use.", why=str(error.explanation)) from error
    return [volume]


def _remove_everything(
    client: docker.DockerClient, state: CloudState | None, report: Report = _quiet
) -> list[str]:
    if state is not None:
        # The supervisor survives `kill -9` by design, so it needs no time to finish its work.
        processes.stop(state.processes.get("supervisor"), patience=0.1)
        processes.stop(state.processes.get("api"))
    for identity in processes.with_argument(str(folder() / "cloud.json")):
        processes.stop(identity)  # one that isn't in the state, since the file was lost
    removed: list[str] = []
    for cloud in _clouds_of_home(client, state):
        removed += _remove_from_docker(client, cloud)
    for name in ("cloud.json", "endpoints.json", "registry.pem", "database-ca.pem", "database-ca.key"):
        (folder() / name).unlink(missing_ok=True)
    if removed:
        report(f"Removed {len(removed)} containers, volumes and networks")
    return removed


def _remove_from_docker(client: docker.DockerClient, cloud: str) -> list[str]:
    """Remove everything with a cloud's label, again and again until nothing is left; return the names.

    Once is not enough: a machine that ends may still start a step container, and the engine may still work on what
    the supervisor requested just before it was stopped.
    """
    from docker.errors import APIError, NotFound

    removed: dict[str, None] = {}
    refused: dict[str, str] = {}
    filters = {"label": f"{CLOUD}={cloud}"}

    def attempt(name: str, action: Callable[[], object]) -> None:
        removed[name] = None
        try:
            action()
        except NotFound:
            pass  # gone already
        except APIError as error:
            # It is ending, or something that is ending uses it: the next round tries again.
            refused[name] = str(error.explanation)

    def remove(item: dict[str, Any]) -> None:
        name = item["Names"][0].lstrip("/") if item.get("Names") else item["Id"][:12]
        attempt(name, lambda: client.api.remove_container(item["Id"], force=True, v=True))

    deadline = time.monotonic() + GONE_WITHIN
    while True:
        refused.clear()
        containers = client.api.containers(all=True, filters=filters)
        steps = [c for c in containers if c["Labels"].get(KIND) == Kind.STEP]
        for batch in (steps, [c for c in containers if c not in steps]):
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(remove, batch))
        volumes = client.api.volumes(filters=filters).get("Volumes") or []
        for volume in volumes:
            attempt(volume["Name"], partial(client.api.remove_volume, volume["Name"], force=True))
        networks = client.api.networks(filters=filters)
        for network in networks:
            attempt(network["Name"], partial(client.api.remove_network, network["Id"]))
        if not (containers or volumes or networks):
            return list(removed)
        if time.monotonic() > deadline:
            raise RemoteError(
                f"Docker Engine doesn't remove {', '.join(sorted(refused)) or 'what is left of the cloud'}.",
                why="; ".join(sorted(set(refused.values()))) or None,
                hint="Run `rayform localstack down` again. If that doesn't help, restart Docker Engine.",
            )
        if refused:
            time.sleep(0.2)


def _clouds_of_home(client: docker.DockerClient, state: CloudState | None) -> list[str]:
    """Return the identifiers of this home's clouds: the saved one, and any whose file was lost."""
    networks = client.api.networks(filters={"label": f"{HOME}={folder()}"})
    saved = [state.id] if state is not None else []
    return sorted({*saved, *(network["Labels"][CLOUD] for network in networks)})


def reset(report: Report = _quiet) -> CloudState:
    """Replace the cloud by an empty one with the same engine and settings."""
    state = cloud_of_home()
    down(report)
    return up(
        state.engine,
        region=state.region,
        enforce_iam=state.enforce_iam,
        notice_seconds=state.notice_seconds,
        layers_limit=state.layers_limit,
        report=report,
    )
