"""Runs on a cluster while parts of it are killed at random: each ends with the right result, and nothing twice.

Thirty kills: `RAYFORM_CLUSTER_KILLS=30 pytest tests/e2e/test_cluster_kills.py`. Each takes half a minute, and they
are not part of `make test`; `test_cluster_runs.py` kills a node, a worker, the scheduler and the laptop's command
in each run of the suite.
"""

import os
import random
import subprocess
import textwrap
import time
from collections import Counter

import pytest
from support.emulated import eventually
from support.emulated_cluster import registered_cluster
from support.rayform_command import Command

from rayform_core.errors import RemoteError
from rayform_localstack import faults
from rayform_localstack.labels import container_name
from rayform_runtime.artifacts.values import load_value
from rayform_runtime.catalog.entities import Query, RunStatus, StepStatus

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.fault,
    pytest.mark.timeout(3600),
]

PARTS = 6
KILLS = int(os.environ.get("RAYFORM_CLUSTER_KILLS", "0"))
VICTIMS = ["node", "worker", "head job", "registry", "database", "laptop"]
PIPELINE = f"""
import time
from rayform import pipeline, step

@step(enable_cache=False)
def numbers() -> list[int]:
    return list(range({PARTS}))

@step(enable_cache=False)
def square(x: int) -> int:
    time.sleep(1)
    return x * x

@step(enable_cache=False)
def total(xs: list[int]) -> int:
    return sum(xs)

@pipeline
def squares():
    total(square.map(numbers()))
"""
RIGHT = sorted(
    [list(range(PARTS)), sum(x * x for x in range(PARTS)), *(x * x for x in range(PARTS))], key=str
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head and two nodes that are replaced when they die."""
    yield from registered_cluster(tmp_path_factory, {"cpu": {"min": 2, "max": 2}})


@pytest.fixture(scope="module")
def project(tmp_path_factory, cluster):
    """A project whose image the registry and a node have: the kills are of runs, not of builds."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pipelines.py").write_text(textwrap.dedent(PIPELINE))
    first = Command(folder, "run", "pipelines.py:squares")
    try:
        code, said = first.end()
        assert code == 0, said
    finally:
        first.close()
    return folder


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_run_outlives_a_random_kill(cluster, project, seed):
    """Whatever is killed, the run completes or resumes to the right result; no artifact is lost, doubled or wrong."""
    chance = random.Random(seed)
    victim = VICTIMS[seed % len(VICTIMS)]
    command = Command(project, "run", "pipelines.py:squares")
    try:
        name = command.until("Run ").split()[1]
        time.sleep(chance.uniform(0.5, 6.0))
        kill(victim, cluster, command, chance)
        _, said = command.end()
    finally:
        command.close()
    run = settled(cluster, name, said)
    if run is None:
        # A database that is down when the run begins is said at once.
        refused = victim == "database" and "can't be reached" in said
        assert refused or victim in ("laptop", "head job"), f"{victim}: the run was never recorded\n{said}"
        return  # It died before it began: nothing is left of it, and nothing was made.
    resumed = 0
    for _ in range(3):
        if run.status is RunStatus.COMPLETED:
            break
        assert run.status is RunStatus.INTERRUPTED, f"{victim}: {run.status}\n{said}"
        resumed += 1
        again = Command(project, "runs", "resume", str(run.id))
        try:
            _, said = again.end()
        finally:
            again.close()
        run = settled(cluster, name, said)
    assert run.status is RunStatus.COMPLETED, f"{victim}: {said}"
    print(
        f"{victim}: resumed {resumed} times, {said.count('tries again') + said.count('starts again')} restarts"
    )
    check_artifacts(cluster, run)


def kill(victim, cluster, command, chance):
    """Kill one part; a process that isn't there just now is waited for until the run ended."""
    match victim:
        case "node":
            faults.kill(chance.choice(eventually(cluster.workers, "a node runs")))
        case "worker":
            pattern = "^ray::(numbers|square|total)"
            while command.process.poll() is None:
                for node in chance.sample(found := cluster.workers(), len(found)):
                    if killed_inside(cluster, node, "-o", "-f", pattern):
                        return
        case "head job":
            while command.process.poll() is None:
                if killed_inside(cluster, cluster.head, "-f", "on_ray[.]head_job"):
                    return
        case "registry":
            restart(cluster, "registry")
        case "database":
            restart(cluster, f"db-{cluster.reference}-catalog")
        case "laptop":
            command.process.kill()
        case _:
            raise AssertionError(victim)


def killed_inside(cluster, machine, *words):
    """Whether `pkill -9` found something on a machine; one that is just gone has nothing."""
    done = subprocess.run(
        ["docker", "exec", cluster.cloud.container(machine), "pkill", "-9", *words], capture_output=True
    )
    return done.returncode == 0


def restart(cluster, part):
    name = container_name(cluster.cloud.state.id, part)
    subprocess.run(["docker", "restart", "--time", "0", name], check=True, capture_output=True)


def settled(cluster, name, said):
    """Return the run once nothing works on it any more, or `None` where it was never recorded."""
    stack = cluster.stack()

    def found():
        try:
            newest = stack.catalog.list_runs(Query(size=20)).items
        except RemoteError:
            return None  # the database is on its way back, and a first connection isn't tried twice
        return next((run for run in newest if run.name == name), None)

    try:
        deadline = time.monotonic() + 15
        while found() is None:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.5)

        def ended():
            run = found()
            return run if run is not None and run.status.is_finished else None

        return eventually(ended, f"the run {name} ended:\n{said}", 240)
    finally:
        stack.close()


def check_artifacts(cluster, run):
    """Each step completed once; its outputs are whole, right, and the only ones that the catalog has of it."""
    stack = cluster.stack()
    try:
        steps = [s for s in stack.catalog.list_step_runs(run.id) if s.status is StepStatus.COMPLETED]
        assert Counter(s.key for s in steps) == {"numbers": 1, "square": PARTS, "total": 1}
        assert len({(s.key, s.map_index) for s in steps}) == PARTS + 2
        ids = [uuid for s in steps for uuids in s.outputs.values() for uuid in uuids]
        assert len(ids) == len(set(ids)) == PARTS + 2
        records = [stack.catalog.get_artifact_version(uuid) for uuid in ids]
        assert len({(r.name, r.version) for r in records}) == len(records)
        newest = stack.catalog.list_artifact_versions(Query(size=100)).items
        assert {r.id for r in newest if r.producer_run_id == run.id} == set(ids)
        values = [
            load_value(stack.artifact_store, r.uri, digest=r.digest, type=r.type, materializer=r.materializer)
            for r in records
        ]
        assert sorted(values, key=str) == RIGHT
    finally:
        stack.close()
