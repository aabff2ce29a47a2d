"""Pipelines on a Ray cluster in the emulated cloud: real containers, images, registry, bucket and PostgreSQL."""

import json
import textwrap
import threading

import pytest
from support.emulated import eventually
from support.emulated_cluster import registered_cluster
from support.rayform_command import Command

from rayform_runtime.catalog.entities import RunStatus

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

PIPELINE = """
import os, time
from rayform import Resources, pipeline, step
from helper import double

@step(enable_cache=False)
def make(n: int) -> list[int]:
    print("making", n, "as", open("project.txt").read(), flush=True)
    return list(range(n))

@step(enable_cache=False)
def twice(x: int) -> int:
    return double(x)

@step(enable_cache=False)
def total(xs: list[int]) -> int:
    return sum(xs)

@step(enable_cache=False, resources=Resources(cpus=1, gpus=1))
def on_gpu() -> str:
    return f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {os.environ.get('RAYFORM_STEP_CONTAINER', '')[:11]}"

@step(enable_cache=False, resources=Resources(cpus=2))
def slow(x: int) -> int:
    for tick in range(60):
        print("tick", tick, flush=True)
        if os.path.exists("/tmp/ray/rayform/hurry"):
            break
        time.sleep(0.5)
    return x

@step(enable_cache=False, resources=Resources(memory=300 * 2**20))
def hog() -> int:
    kept = []
    while True:
        kept.append(b"x" * 50_000_000)

def attempts() -> str:
    # Try what a confined container can't do; return what was possible after all.
    import ctypes, pathlib

    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
    libc = ctypes.CDLL(None, use_errno=True)
    file = pathlib.Path("mine.txt")
    file.write_text("a step may write next to its code")

    def works(call):
        try:
            call()
        except OSError:
            return False
        return True

    # The kernel's first or second kind of control groups; a kernel without the controller has neither file.
    files = (pathlib.Path("/sys/fs/cgroup", name) for name in ("pids.max", "pids/pids.max"))
    limits = [file.read_text().strip() for file in files if file.exists()]
    possible = {
        "capabilities": any(int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")),
        "new privileges": status["NoNewPrivs"].strip() != "1",
        "mount": libc.mount(b"none", b"/mnt", b"tmpfs", 0, None) == 0,
        "chown": works(lambda: os.chown(file, 1234, 1234)),
        "the node's files": works(lambda: os.listdir("/proc/1/root/etc/rayform")),
        "unlimited processes": "max" in limits,
        "code shared with others": str(pathlib.Path(__file__).resolve()).startswith("/tmp/ray"),
    }
    return "possible: " + (", ".join(name for name, done in possible.items() if done) or "nothing")

@step(enable_cache=False)
def forked() -> str:
    return attempts()

@step(enable_cache=False, resources=Resources(memory=300 * 2**20))
def limited() -> str:
    return attempts()

@pipeline
def attack():
    forked()
    limited()

@pipeline
def adds(n: int = 3):
    total(twice.map(make(n)))

@pipeline
def gpu():
    on_gpu()

@pipeline
def patient():
    total(slow.map(make(2)))

@pipeline
def greedy():
    hog()
"""


@pytest.fixture(scope="module", params=["moto", pytest.param("localstack", marks=pytest.mark.localstack)])
def cluster(request, tmp_path_factory):
    """A head and two groups from 0 nodes, with each engine, for the tests of this file."""
    groups = {
        "cpu": {"max": 2},
        "gpu": {"max": 1, "gpus": 1, "accelerator_type": "T4", "instance_type": "g4dn.xlarge"},
    }
    yield from registered_cluster(tmp_path_factory, groups, request.param)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "pipelines.py").write_text(textwrap.dedent(PIPELINE))
    (folder / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    (folder / "project.txt").write_text("the project says")
    return folder


@pytest.fixture
def rayform(project, cluster):
    started = []

    def run(*words):
        command = Command(project, *words)
        started.append(command)
        return command

    yield run
    for command in started:
        command.close()


def last_run(cluster):
    with_stack = cluster.stack()
    try:
        from rayform_runtime.catalog.entities import Query

        run = with_stack.catalog.list_runs(Query(size=1)).items[0]
        return run, with_stack.catalog.list_step_runs(run.id)
    finally:
        with_stack.close()


def test_a_pipeline_runs_in_images_on_the_cluster(rayform, cluster):
    """The result is right, steps start in the project's folder, logs are live, and the catalog knows every step."""
    code, said = rayform("run", "pipelines.py:adds").end()
    assert code == 0, said
    assert "making 3 as the project says" in said and "total  6" in said
    run, steps = last_run(cluster)
    assert run.status is RunStatus.COMPLETED
    assert sorted(s.key for s in steps) == ["make", "total", "twice", "twice", "twice"]
    log = next(s.log_uri for s in steps if s.key == "make")
    assert log.startswith("s3://")
    stored = cluster.cloud.aws("s3").get_object(Bucket=cluster.bucket, Key=log.split("/", 3)[3])
    assert stored["Body"].read() == b"making 3 as the project says\n"


def test_steps_are_confined(rayform):
    """In both kinds of containers a step has no capability and reaches neither the node nor others' code."""
    code, said = rayform("run", "pipelines.py:attack").end()
    assert code == 0, said
    assert said.count("possible: nothing") == 2, said


def test_a_gpu_step_brings_up_a_gpu_node(rayform, cluster):
    """The autoscaler starts the GPU group's instance, and the step sees GPU 0 inside its image."""
    code, said = rayform("run", "pipelines.py:gpu").end()
    assert code == 0, said
    assert "group 'gpu'" in said
    assert "0 rayform-ste" in said
    assert len(cluster.workers()) == 1


def test_the_cluster_is_seen_and_reached(rayform):
    """Status shows nodes and the countdown; a command runs on the head, whose raylet sets workers up by our script."""
    code, said = rayform("cluster", "status", "--json").end()
    assert code == 0, said
    found = json.loads(said)
    assert found["ready"] and found["autostop"]["enabled"]
    assert {n["role"] for n in found["nodes"]} >= {"head"}
    code, said = rayform("cluster", "logs", "watch").end()
    assert code == 0, said
    code, said = rayform("cluster", "ssh", "cat /proc/[0-9]*/cmdline | cat").end()
    assert code == 0 and "step_workers/setup_worker.py" in said, said
    assert rayform("cluster", "ssh", "sh", "-c", "exit 7").end()[0] == 7


def test_out_of_memory_is_named(rayform):
    """The step's error says that its container used more memory than it asked for."""
    code, said = rayform("run", "pipelines.py:greedy").end()
    assert code == 1 and "OutOfMemory" in said


def steps_on_workers(rayform):
    code, said = rayform("cluster", "status", "--json").end()
    assert code == 0, said
    found = json.loads(said)
    assert [run.partition("-")[0] for run in found["runs"]] == ["patient"]
    return [step for node in found["nodes"] if node["role"] == "worker" for step in node["runs"]]


@pytest.mark.fault
def test_a_killed_worker_node_is_survived(rayform, cluster):
    """A node that dies under a step is an event, the step runs elsewhere, the result is right."""
    command = rayform("run", "pipelines.py:patient")
    command.until("tick 3")
    eventually(lambda: "slow" in steps_on_workers(rayform), "the status to show what runs", 30)
    from rayform_localstack import faults

    faults.kill(cluster.workers()[0])
    command.until("tries again")
    hurry(cluster)
    code, said = command.end()
    assert code == 0, said
    assert "total  1" in said


@pytest.mark.fault
def test_a_killed_scheduler_is_resumed(rayform, cluster):
    """`kill -9` of the head's job interrupts the run; resume runs only what is missing."""
    calm(cluster)
    command = rayform("run", "pipelines.py:patient")
    command.until("tick 1")
    cluster.cloud.inside(cluster.head, "pkill", "-9", "-f", "rayform_runtime.execution.on_ray.head_job")
    code, said = command.end()
    assert code != 0 and "interrupted" in said
    before, steps = last_run(cluster)
    assert before.status is RunStatus.INTERRUPTED
    made = next(s.id for s in steps if s.key == "make")
    hurry(cluster)
    code, said = rayform("runs", "resume", str(before.id)).end()
    assert code == 0, said
    after, steps = last_run(cluster)
    assert (after.id, after.status) == (before.id, RunStatus.COMPLETED)
    assert [s.id for s in steps if s.key == "make"] == [made]
    assert all(s.attempt == 1 for s in steps if s.key == "make")


@pytest.mark.fault
def test_a_killed_laptop_stops_nothing_and_stop_stops_all(rayform, cluster):
    """The run goes on without its laptop, is followed by another process, and is stopped for good."""
    calm(cluster)
    command = rayform("run", "pipelines.py:patient")
    command.until("tick 1")
    command.process.kill()
    run, _ = last_run(cluster)
    assert run.status is RunStatus.RUNNING
    code, said = rayform("runs", "stop", str(run.id)).end()
    assert code == 0, said
    assert last_run(cluster)[0].status is RunStatus.STOPPED

    def quiet():
        said = cluster.cloud.inside(cluster.head, "sh", "-c", "pgrep -f [o]n_ray.head_job || true")
        return not said.strip()

    eventually(quiet, "the run's job is gone", 30)


def test_a_running_head_takes_over_what_a_deploy_changed(cluster):
    """A timer and a higher minimum take effect without a restart: Ray's autoscaler starts another worker."""
    from rayform_runtime.cluster.from_laptop.head import ClusterHead
    from rayform_runtime.cluster.machine.answers import SettingsChanges

    # A group whose steps no test here runs: its one worker comes of its minimum alone.
    few = cluster.workers()
    new = json.loads(json.dumps(cluster.settings))
    new["autostop"]["idle_minutes"] = 45
    new["worker_groups"]["spare"] = {**new["worker_groups"]["cpu"], "min": 1, "max": 1}
    cluster.cloud.aws("s3").put_object(
        Bucket=cluster.bucket, Key="system/bootstrap/stack.json", Body=json.dumps(new).encode()
    )
    head = ClusterHead(cluster.config)
    try:
        assert head.take_settings() == SettingsChanges(taken=["autostop", "worker_groups"])
        eventually(lambda: head.status().autostop.idle_minutes == 45, "the watch goes by it", 30)
        eventually(lambda: set(cluster.workers()) - set(few), "the new group has its worker", 60)
        assert head.take_settings().taken == []
    finally:
        head.close()


@pytest.mark.fault
def test_a_head_that_stopped_is_woken(cluster):
    """`stop` ends the head and all workers, also one that starts while the head stops; `start` brings the head back."""
    from rayform_runtime.cluster.from_laptop.power import head_state, start_head, stop_cluster

    stopping = threading.Event()

    def autoscaler():
        # What Ray's autoscaler does in the worst moment: the head is told to stop, and one more worker starts.
        stopping.wait(60)
        cluster.launch_worker()

    late = threading.Thread(target=autoscaler)
    late.start()
    stop_cluster(cluster.config, lambda _: stopping.set())
    late.join()
    assert head_state(cluster.config) == "stopped"
    assert cluster.workers() == []
    said = []
    status = start_head(cluster.config, said.append, wait=180)
    assert status.ready and any("Starting" in line for line in said)


def hurry(cluster):
    """Let `slow` steps end, on every machine."""
    for machine in [cluster.head, *cluster.workers()]:
        try:
            cluster.cloud.inside(
                machine, "sh", "-c", "mkdir -p /tmp/ray/rayform; touch /tmp/ray/rayform/hurry"
            )
        except AssertionError:
            continue  # It is just going, or not there yet: its step takes half a minute then.


def calm(cluster):
    for machine in [cluster.head, *cluster.workers()]:
        try:
            cluster.cloud.inside(machine, "rm", "-f", "/tmp/ray/rayform/hurry")
        except AssertionError:
            continue
