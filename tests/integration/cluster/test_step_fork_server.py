"""Workers of a step image fork from one server: real processes; only `docker` is a script that starts them here."""

import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from support.emulated import eventually

from rayform_runtime.cluster.step_workers import stand_in
from rayform_runtime.processes.identity import process_started

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

DOCKER = """\
#!{python}
import os, signal, subprocess, sys
here = {here!r}
words = sys.argv[1:]
open(os.path.join(here, "commands"), "a").write(" ".join(words) + "\\n")
if words[0] == "run" and "--detach" in words:
    if os.path.exists(os.path.join(here, "old")):
        arguments = [sys.executable, "-c", "raise SystemExit('No module named fork_server')"]
    else:
        arguments = [sys.executable, *words[words.index("image") + 1:], *os.environ.get("RAY_TEST_IDLE", "").split()]
    names = [words[i + 1] for i, word in enumerate(words) if word == "--env"]
    kept = [*names, "PATH", "HOME", "PYTHONPATH"]
    log = open(os.path.join(here, "server.log"), "a")
    server = subprocess.Popen(arguments, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        env={{**{{name: os.environ[name] for name in kept if name in os.environ}}, "OF_IMAGE": "1"}})
    open(os.path.join(here, words[words.index("--name") + 1]), "w").write(str(server.pid))
    open(os.path.join(here, "servers"), "a").write(f"{{server.pid}}\\n")
elif words[0] == "run":
    print("a container of its own")
elif words[0] == "wait":
    import time
    pid = open(os.path.join(here, words[1])).read()
    while os.path.exists(f"/proc/{{pid}}") and ") Z " not in open(f"/proc/{{pid}}/stat").read():
        time.sleep(0.05)
"""

PROBE = """
import json, os, signal, subprocess, sys, threading, time
what, *rest = sys.argv[1:]
if what == "environment":
    print(json.dumps({"variables": dict(os.environ), "main": __name__, "session": os.getsid(0) == os.getpid(),
        "sigchld": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL, "streams": sorted(os.listdir("/proc/self/fd")),
        "ray": "ray._raylet" in sys.modules, "pid": os.getpid(), "parent": os.getppid()}))
    os.environ["LEFT"] = "1"
elif what == "prepared":
    from rayform_runtime.artifacts.stores import s3
    print(len(s3._prepared))
elif what == "exit":
    sys.exit(int(rest[0]))
elif what == "signal":
    os.kill(os.getpid(), int(rest[0]))
elif what == "family":
    child = subprocess.Popen(["sleep", "1000"])
    loose = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    print(os.getpid(), child.pid, loose.pid, flush=True)
    if rest:
        sys.exit(0)
    time.sleep(1000)
"""

FULL = """
import errno, os
fork = os.fork
def fork_if_there_is_room():
    if os.path.exists(os.path.join({here!r}, "full")):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return fork()
os.fork = fork_if_there_is_room
"""


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path)
    yield node
    node.close()


class Node:
    """A folder in a node's place, with a `docker` that runs its containers as processes."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "bin").mkdir()
        docker = folder / "bin/docker"
        docker.write_text(DOCKER.format(python=sys.executable, here=str(folder)))
        docker.chmod(0o755)
        (folder / "probe.py").write_text(textwrap.dedent(PROBE))
        # Python runs it before anything else, so that a test can fill the node.
        (folder / "sitecustomize.py").write_text(textwrap.dedent(FULL.format(here=str(folder))))
        self.forks, self.exits = folder / "forks", folder / "exits"
        # A Unix socket's path has room for 107 bytes.
        self.link = Path(f"/tmp/rf-{os.getpid()}-{time.monotonic_ns()}")
        self.link.symlink_to(folder)
        self.variables = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "RAYFORM_STEP_FORKS": str(self.link / "forks"),
            "RAYFORM_STEP_EXITS": str(self.exits),
        }

    def worker(self, *arguments, **variables):
        command = [sys.executable, "-I", "-S", "-E", stand_in.__file__, "image", "-mprobe", *arguments]
        return subprocess.Popen(
            command,
            env={**self.variables, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def output(self, *arguments, **variables):
        worker = self.worker(*arguments, **variables)
        output = worker.communicate(timeout=60)[0]
        assert worker.returncode == 0, output + self.log()
        return output

    def log(self):
        path = self.folder / "server.log"
        return path.read_text() if path.exists() else ""

    def servers(self):
        path = self.folder / "servers"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def socket(self):
        return next(path for path in self.forks.iterdir() if not path.suffix)

    def close(self):
        for server in self.servers():
            if alive(server):
                os.killpg(server, signal.SIGKILL)
        self.link.unlink()


def alive(pid):
    return process_started(pid) is not None


@pytest.mark.parametrize(
    "setting", ["AWS_PROFILE", "AWS_RETRY_MODE", "AWS_ENDPOINT_URL_S3", "AWS_MAX_ATTEMPTS"]
)
def test_a_setting_that_aws_refuses_is_no_reason_not_to_fork(node, setting):
    """A missing profile, for example, matters only to a step that uses it."""
    output = node.output("environment", RAYFORM_STEP_VARIABLES=setting, **{setting: "nonsense"})
    assert json.loads(output)["variables"][setting] == "nonsense"


def gone(pids):
    eventually(lambda: not any(alive(int(pid)) for pid in pids), "the processes are gone", 10)


def test_a_worker_is_what_python_would_start(node):
    """A forked worker has the variables of image and request, three streams, its own session, and Ray imported."""
    worker = json.loads(node.output("environment", RAY_JOB_ID="01", SECRET="no"))
    variables = worker["variables"]
    assert variables["OF_IMAGE"] == "1" and variables["RAY_JOB_ID"] == "01"
    assert variables["RAYFORM_STEP_CONTAINER"].startswith("rayform-step-")
    assert "SECRET" not in variables
    assert worker["main"] == "__main__" and worker["session"] and worker["sigchld"] and worker["ray"]
    assert worker["streams"] == ["0", "1", "2", "3"]  # 3 is the listing's own


def test_one_server_serves_all_and_keeps_nothing_of_a_worker(node):
    """The next worker comes from the same server and sees no variable of the first one; the folder is private."""
    first = json.loads(node.output("environment"))
    second = json.loads(node.output("environment"))
    assert first["parent"] == second["parent"] == node.servers()[0]
    assert "LEFT" not in second["variables"]
    names = [worker["variables"]["RAYFORM_STEP_CONTAINER"] for worker in (first, second)]
    assert names[0] != names[1]
    assert stat.S_IMODE(node.forks.stat().st_mode) == 0o700


def test_other_variables_have_another_server(node):
    """Workers share a server only if they agree in all variables that are read at import, and in the job's ID."""
    step = {"RAYFORM_STEP_VARIABLES": "OMP_NUM_THREADS"}
    first = json.loads(node.output("environment", **step, OMP_NUM_THREADS="1"))
    second = json.loads(node.output("environment", **step, OMP_NUM_THREADS="2"))
    assert first["parent"] != second["parent"]
    assert second["variables"]["OMP_NUM_THREADS"] == "2"
    jobs = [json.loads(node.output("environment", RAY_JOB_ID=job)) for job in ("01", "02")]
    assert jobs[0]["parent"] != jobs[1]["parent"]
    assert "OMP_NUM_THREADS" not in jobs[1]["variables"]


def test_both_kinds_of_containers_are_confined(node):
    """The server's container and a container of its own get the same confinement, whichever starts them."""
    node.output("environment")
    script = Path(stand_in.__file__).with_name("step_container.sh")
    subprocess.run(
        ["/bin/sh", script, "image", "0", "-c", "pass"], env=node.variables, check=True, capture_output=True
    )
    runs = [line for line in (node.folder / "commands").read_text().splitlines() if line.startswith("run ")]
    assert len(runs) == 2
    for line in runs:
        assert "--cap-drop ALL --security-opt no-new-privileges --pids-limit " in line
        assert not any(word in line for word in ("--privileged", "--cap-add", "docker.sock"))
    limits = {line.split("--pids-limit ")[1].split()[0] for line in runs}
    assert limits == {str(4096 + 512 * (os.cpu_count() or 1))}


def test_no_value_is_on_a_command_line(node):
    """Docker's command line has the names of variables and no values."""
    node.output("environment", RAY_AUTH_TOKEN="the-token")
    commands = (node.folder / "commands").read_text()
    assert "RAY_AUTH_TOKEN" in commands and "the-token" not in commands


@pytest.mark.parametrize(("how", "number", "code"), [("exit", 7, 7), ("signal", signal.SIGKILL, 137)])
def test_the_exit_code_is_passed_on(node, how, number, code):
    """The stand-in exits with the worker's exit code, and writes it to a file with the worker's name."""
    worker = node.worker(how, str(int(number)))
    worker.communicate(timeout=60)
    assert worker.returncode == code, node.log()
    (end,) = node.exits.glob("rayform-step-*.json")
    assert json.loads(end.read_text()) == {"exit_code": code, "oom_killed": False, "error": ""}


@pytest.mark.fault
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_stand_in_takes_its_worker_along(node, how):
    """All processes of the worker die, even those in other sessions; the server goes on."""
    worker = node.worker("family")
    pids = worker.stdout.readline().split()
    worker.send_signal(how)
    worker.wait(10)
    gone(pids)
    worker.stdout.close()
    assert json.loads(node.output("environment"))["parent"] == node.servers()[0]


def test_a_worker_leaves_nothing_behind(node):
    """When a worker ends, the processes that it left behind are killed, and no process of another worker is."""
    other = node.worker("family")
    others = other.stdout.readline().split()
    pids = node.output("family", "leave").split()
    gone(pids)
    assert all(alive(int(pid)) for pid in others)
    other.kill()
    other.communicate()
    gone(others)


@pytest.mark.fault
def test_a_killed_server_is_replaced(node):
    """Workers die with their server, their stand-ins exit as if killed, and the next worker has a new server."""
    worker = node.worker("family")
    pids = worker.stdout.readline().split()
    os.kill(node.servers()[0], signal.SIGKILL)
    assert worker.wait(10) == 137
    gone(pids[:2])
    os.kill(int(pids[2]), signal.SIGKILL)  # in a session of its own: the container's end takes it
    worker.stdout.close()
    assert json.loads(node.output("environment"))["parent"] == node.servers()[1]


@pytest.mark.fault
def test_a_worker_that_finds_no_room_harms_no_other(node):
    """If the server can't fork, the worker has a container of its own, and running workers go on."""
    worker = node.worker("family")
    pids = worker.stdout.readline().split()
    (node.folder / "full").touch()
    assert "a container of its own" in node.output("environment")
    (node.folder / "full").unlink()
    assert all(alive(int(pid)) for pid in pids)
    assert json.loads(node.output("environment"))["parent"] == node.servers()[0]
    worker.kill()
    worker.communicate()


@pytest.mark.fault
def test_a_server_without_free_descriptors_serves_later(node):
    """A stand-in whose connection can't be accepted yet waits, and connected ones keep their workers."""
    worker = node.worker("family")
    pids = worker.stdout.readline().split()
    server = node.servers()[0]
    limits = resource.prlimit(server, resource.RLIMIT_NOFILE)
    resource.prlimit(server, resource.RLIMIT_NOFILE, (3, limits[1]))
    second = node.worker("environment")
    time.sleep(0.5)
    assert alive(server) and all(alive(int(pid)) for pid in pids) and second.poll() is None
    resource.prlimit(server, resource.RLIMIT_NOFILE, limits)
    assert json.loads(second.communicate(timeout=60)[0])["parent"] == server
    worker.kill()
    worker.communicate()


def test_a_worker_gets_no_stream_of_another(node):
    """A forked worker inherits no streams of a stand-in whose request isn't complete."""
    node.output("environment")
    reader, writer = os.pipe()
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(node.link / "forks" / node.socket().name))
        socket.send_fds(other, [b"\0\0"], [writer])
        os.close(writer)
        time.sleep(0.2)
        assert json.loads(node.output("environment"))["streams"] == ["0", "1", "2", "3"]
    with open(reader, "rb") as end:
        assert end.read() == b""


def test_many_at_once_share_one_server(node):
    """Stand-ins that start together start one container."""
    workers = [node.worker("environment") for _ in range(10)]
    parents = {json.loads(worker.communicate(timeout=60)[0])["parent"] for worker in workers}
    assert parents == set(node.servers()) and len(parents) == 1


def test_an_idle_server_ends(node):
    """A server without workers removes its socket and exits after its idle time."""
    node.output("environment", RAY_TEST_IDLE="0.2")
    gone(node.servers())
    assert not [path for path in node.forks.iterdir() if not path.suffix]
    again = json.loads(node.output("environment", RAY_TEST_IDLE="0.2"))
    assert again["parent"] == node.servers()[1]


def test_a_server_ends_with_its_socket_or_its_raylet(node):
    """Removing the socket's file, or the raylet's end, ends a server without workers."""
    node.output("environment")
    node.socket().unlink()
    gone(node.servers())
    with subprocess.Popen(["sleep", "1000"]) as raylet:
        node.output("environment", RAY_RAYLET_PID=str(raylet.pid))
        assert alive(node.servers()[1])
        raylet.kill()
    gone(node.servers())


def test_an_image_with_an_older_rayform_has_containers_of_their_own(node):
    """If the server can't start, each worker has its own container, and later workers don't try the server again."""
    (node.folder / "old").touch()
    assert "a container of its own" in node.output("environment")
    assert "a container of its own" in node.output("environment")
    assert (node.folder / "commands").read_text().count("--detach") == 1


def test_a_folder_that_others_may_enter_is_not_used(node):
    """If others can enter the servers' folder, the worker says so and has a container of its own."""
    node.forks.mkdir()
    node.forks.chmod(0o755)
    output = node.output("environment")
    assert "must belong to this user alone" in output and "a container of its own" in output
    assert node.servers() == []


def test_a_stand_in_gives_up_before_ray_does():
    """A server that never answers costs a stand-in less time than Ray gives a worker to register."""
    from ray._raylet import Config

    patience = stand_in.START_SECONDS + stand_in.ANSWER_SECONDS
    assert patience < Config.worker_register_timeout_seconds()


@pytest.mark.parametrize("config", [{"bucket": "bucket"}, {"bucket": "b"}], ids=["of the run", "refused"])
def test_workers_find_the_runs_bucket_prepared(node, config):
    """The server makes the client of the run's bucket for all workers; if that fails, it serves without one."""
    store = {"name": "s", "kind": "artifact-store", "flavor": "s3", "config": config}
    variables = {
        "RAYFORM_STEP_ARTIFACT_STORE": json.dumps({"name": "prod", "components": {"artifact-store": store}}),
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    output = node.output("prepared", **variables, RAYFORM_STEP_VARIABLES=" ".join(variables))
    assert output == ("1\n" if config["bucket"] == "bucket" else "0\n")
