"""Pipelines on Ray: what Rayform adds to bare Ray tasks, on this machine and on an emulated cluster.

The cluster's part needs Docker. If the engine doesn't answer, that part is left out with a message.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bench_execution import CHAIN, quietly
from benchmarks.measuring import Row, row, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterator

FAN = 200
FAN_ROUNDS = 5
PIPELINES = """
import os, time
from rayform import Resources, pipeline, step

@step(enable_cache=False)
def first() -> int:
    print("began", time.time(), flush=True)
    return 0

@step(enable_cache=False)
def increment(number: int) -> int:
    return number + 1

@step(enable_cache=False)
def count_to(count: int) -> list[int]:
    return list(range(count))

@step(enable_cache=False, resources=Resources(cpus=0.1))
def rest(number: int) -> int:
    time.sleep(0.1)
    return number

@step(enable_cache=False)
def add_up(numbers: list[int]) -> int:
    return sum(numbers)

@pipeline
def one():
    first()

@pipeline
def chain(length: int = 50):
    number = first()
    for _ in range(length - 1):
        number = increment(number)

@pipeline
def fan(count: int = 200):
    add_up(rest.map(count_to(count)))
"""


def run() -> list[Row]:
    """Measure in a fresh home."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(_environment(RAYFORM_HOME=str(home), RAYFORM_STACK="bench-ray"))
        rows = _local(home)
        try:
            rows += _cluster(home)
        except ImportError as error:
            rows.append(row("on an emulated cluster", [0], "s", note=f"left out: {error}"))
    return rows


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _local(home: Path) -> list[Row]:
    import ray

    from benchmarks import execution_pipelines as pipelines
    from rayform.stacks import register_deployed
    from rayform.stacks.open import close_stacks

    register_deployed(
        "bench-ray", {"reference": "bench-ray", "orchestrator": {"flavor": "ray", "config": {}}}
    )
    quietly(pipelines.chain)()

    @ray.remote
    def increment(number: int) -> int:
        return number + 1

    def bare() -> None:
        number = 0
        for _ in range(CHAIN):
            number = ray.get(increment.remote(number))

    baseline = [t / CHAIN * 1000 for t in seconds_of(bare, repeat=7, warm=2)]
    times = [t / CHAIN * 1000 for t in seconds_of(quietly(pipelines.chain), repeat=7, warm=1)]
    over = [t - statistics.median(baseline) for t in times]
    close_stacks()
    return [
        row(
            "chain of 50 on a local Ray, warm, local artifacts: overhead a step over a bare Ray task",
            over,
            "ms",
            bar=3,
            baseline=statistics.median(baseline),
            baseline_name="a bare Ray task in a chain",
        )
    ]


def _cluster(home: Path) -> list[Row]:
    """Measure on a head and two nodes in the emulated cloud, through the command line as a user would."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.emulated import running_cloud
    from support.emulated_cluster import EmulatedCluster

    project = home / "project"
    project.mkdir()
    (project / "pipelines.py").write_text(textwrap.dedent(PIPELINES))
    for emulated in running_cloud(home):
        state = emulated.state
        keys = {"AWS_ACCESS_KEY_ID": state.access_key, "AWS_SECRET_ACCESS_KEY": state.secret_key}
        with _environment(**keys, AWS_DEFAULT_REGION=state.region, RAYFORM_STACK="emulated"):
            groups = {"cpu": {"min": 2, "max": 2, "cpus": 2}}
            cluster = EmulatedCluster(emulated, home, groups=groups)
            cluster.make_database()
            cluster.await_head()
            cluster.register("emulated")
            return _measure_cluster(cluster, project)
    return []


def _measure_cluster(cluster: Any, project: Path) -> list[Row]:
    _rayform(project, "chain")  # builds and pushes the image, and nodes pull it
    rows = []
    began = []
    for _ in range(5):
        output, started, seconds = _rayform(project, "one")
        began.append(float(output.split("began ")[1].split()[0]) - started)
        del seconds
    rows.append(row("`rayform run` to first step started, code and image as before", began, "s"))
    changed = []
    for number in range(3):
        (project / "helper.py").write_text(f"VALUE = {number}\n")
        output, started, _ = _rayform(project, "one")
        changed.append(float(output.split("began ")[1].split()[0]) - started)
    rows.append(row("code change to first step started, dependencies unchanged", changed, "s", bar=5))
    accepted, whole = [], []
    for _ in range(5):
        _, started, seconds = _rayform(project, "one", "--detach")
        accepted.append(_newest_job(cluster) - started)
        whole.append(seconds)
    rows.append(
        row(
            "`rayform run` to job accepted by Ray's job server, code and image as before",
            accepted,
            "s",
            bar=2,
        )
    )
    rows.append(row("`rayform run --detach`, whole command: until the head has recorded the run", whole, "s"))
    steps = [
        (s - o) * 1000 / (CHAIN - 1)
        for s, o in zip(_took(cluster, project, "chain"), _took(cluster, project, "one"), strict=True)
    ]
    bare_chain = _bare(cluster, _BARE_CHAIN) / CHAIN * 1000
    rows.append(
        row(
            "chain of 50 in a step image, artifacts in the S3 emulator: overhead a step over a bare Ray task",
            [s - bare_chain for s in steps],
            "ms",
            bar=15,
            baseline=bare_chain,
            baseline_name="a bare Ray task in a chain on the cluster",
        )
    )
    # In turns, since this machine's speed changes within minutes: bare Ray, the fixed cost of a run, the fan.
    bare, fan = [], []
    for _ in range(FAN_ROUNDS):
        bare.append(_bare(cluster, _BARE_FAN))
        (one,), (whole,) = (_took(cluster, project, name, 1) for name in ("one", "fan"))
        fan.append(whole - one)
    bare_fan = statistics.median(bare)
    rows.append(
        row(
            f"{FAN} steps of 0.1 s at cpus=0.1 on two nodes",
            fan,
            "s",
            bar=bare_fan * 1.25,
            baseline=bare_fan,
            baseline_name="bare Ray doing the same",
            note="Machines of the emulated cloud share this machine's processors. Ratios of the rounds: "
            + ", ".join(f"{ours / theirs:.2f}" for ours, theirs in zip(fan, bare, strict=True)),
        )
    )
    return rows


def _rayform(project: Path, pipeline: str, *words: str) -> tuple[str, float, float]:
    command = [sys.executable, "-W", "ignore", "-m", "rayform.cli", "run", f"pipelines.py:{pipeline}", *words]
    started = time.time()
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout + done.stderr, started, time.time() - started


def _took(cluster: Any, project: Path, pipeline: str, times: int = 3) -> list[float]:
    """Return the durations of runs as the catalog has them, which leave out the laptop and the start of the job."""
    from rayform_runtime.catalog.entities import Query

    durations = []
    for _ in range(times):
        _rayform(project, pipeline)
        stack = cluster.stack()
        try:
            latest = stack.catalog.list_runs(Query(size=1)).items[0]
        finally:
            stack.close()
        durations.append((latest.ended_at - latest.started_at).total_seconds())
    return durations


_BARE = """
import os, time, ray
ray.init(address="auto", log_to_driver=False)
"""
_BARE_CHAIN = (
    _BARE
    + """
@ray.remote
def step(x): return x + 1
x = ray.get(step.remote(0))
for turn in range(3):
    t = time.time()
    for _ in range(50): x = ray.get(step.remote(x))
    print("took", time.time() - t)
"""
)
_BARE_FAN = (
    _BARE
    + """
@ray.remote(num_cpus=0.1)
def step(x):
    time.sleep(0.1)
    return x
t = time.time()
ray.get([step.remote(i) for i in range(200)])
print("took", time.time() - t)
"""
)


_JOBS = """
import json, urllib.request
token = open("/etc/rayform/ray_token").read().strip()
ask = urllib.request.Request("http://127.0.0.1:8265/api/jobs/", headers={"Authorization": "Bearer " + token})
print(max(job["start_time"] for job in json.load(urllib.request.urlopen(ask)) if job.get("submission_id")))
"""


def _newest_job(cluster: Any) -> float:
    """Return when Ray's job server took the newest job, in seconds since 1970; all machines share one clock."""
    start_time = cluster.cloud.inside(cluster.head, "/opt/rayform/venv/bin/python", "-c", _JOBS)
    return float(start_time) / 1000


def _bare(cluster: Any, script: str) -> float:
    """Run plain Ray on the cluster's head; return the median of what it prints."""
    token = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/etc/rayform/ray_token"
    output = cluster.cloud.inside(
        cluster.head,
        "sh",
        "-c",
        f"cat > /tmp/bare.py <<'E'\n{script}\nE\n{token} /opt/rayform/venv/bin/python /tmp/bare.py",
    )
    return statistics.median(
        float(line.split()[1]) for line in output.splitlines() if line.startswith("took")
    )
