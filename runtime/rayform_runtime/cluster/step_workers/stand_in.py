"""Stands in, on the node, for one Ray worker that a step image's fork server made.

Ray starts this in Python's place: `python -I -S -E stand_in.py IMAGE ARGUMENTS...`. `setup_worker` runs it in its own
process, which saves a second Python. It runs once per worker, so it imports little, and nothing of Rayform. It asks the
fork server of its image on this node for a worker, and starts the server's container if none answers. Then it waits
until the worker ends, and exits with the worker's exit code. The server kills the worker when this process's connection
closes, however this process ends.

Arguments, variables (with the cluster's token) and the three standard streams go over a socket in a folder that only
this user can open, never on a command line. The socket's name holds a digest of all that a process reads when it starts
or imports Ray, such as the job's ID: workers of another job, or with other variables, have another server. If there can
be no server, for instance because the image's Rayform is older, the worker gets a container of its own from
`step_container.sh`.
"""

# pathlib takes longer to import than all the rest of this.
# ruff: noqa: PTH100, PTH103, PTH107, PTH104, PTH110, PTH113, PTH116, PTH118, PTH119, PTH120, PTH123

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time

try:
    from _blake2 import blake2b  # `hashlib` loads OpenSSL
except ImportError:
    from hashlib import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

FORKS = os.environ.get("RAYFORM_STEP_FORKS", "/tmp/ray/rayform/forks")  # noqa: S108 - Ray's own folder
EXITS = os.environ.get("RAYFORM_STEP_EXITS", "/tmp/ray/rayform/exits")  # noqa: S108 - Ray's own folder
# Ray kills a worker that hasn't registered after 60 s. Both times together are less, so that a worker that gets no
# answer from a server still gets a container of its own, and leaves a mark for later workers.
START_SECONDS = 35.0
ANSWER_SECONDS = 15.0
FAILURE_HOLDS_SECONDS = 600.0
KILLED = 137
# What a step's container can't do, as in `step_container.sh`. It shares the node's user and three of its namespaces,
# since Ray needs them: workers and the raylet connect to each other's ports at the node's address (network), the raylet
# knows, watches and kills workers by their process IDs (PID), and values lie in shared memory (IPC).
CONFINED = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
PIDS, PIDS_PER_CPU = 4096, 512


def main(image: str, arguments: list[str]) -> NoReturn:
    """Run one worker in an image; exit with its exit code."""
    name = f"rayform-step-{os.getpid()}-{int(time.time())}"
    common = common_variables()
    connection = worker = None
    try:
        if (connection := connected(image, common)) is not None:
            worker = ask(connection, name, arguments, common)
            if worker is None:
                connection.close()
    except OSError as error:
        sys.stderr.write(f"step fork server: {error}; using a container of its own.\n")
        sys.stderr.flush()
    if connection is not None and worker is not None:
        code = await_end(connection, worker)
        write_end(name, code)
        sys.exit(code)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "step_container.sh")
    os.execv("/bin/sh", ["/bin/sh", script, image, "0", *arguments])  # noqa: S606 - a script of Rayform


def common_variables() -> list[str]:
    """Return the names of the variables that all workers of one server share, sorted."""
    names = {name for name in os.environ if name.startswith("RAY_")}
    names.update(os.environ.get("RAYFORM_STEP_VARIABLES", "").split())
    return sorted(name for name in names if name in os.environ)


def connected(image: str, common: list[str]) -> socket.socket | None:
    """Return a connection to the image's server; start it if none runs. None if there can't be one."""
    os.makedirs(FORKS, mode=0o700, exist_ok=True)
    folder = os.stat(FORKS)
    if folder.st_uid != os.getuid() or folder.st_mode & 0o077:
        raise PermissionError(f"'{FORKS}' must belong to this user alone")
    digest = blake2b(digest_size=12)
    for part in (image, str(os.getuid()), *(f"{name}={os.environ[name]}" for name in common)):
        digest.update(os.fsencode(part) + b"\0")
    path = os.path.join(FORKS, digest.hexdigest())
    if (connection := connect(path)) is not None:
        return connection
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (connection := connect(path)) is not None:
            return connection
        if failed_lately(path):
            return None
        return start(path, image, common)


def connect(path: str) -> socket.socket | None:
    """Return a connection to the server at a path, or None if none listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def failed_lately(path: str) -> bool:
    try:
        return time.time() - os.stat(path + ".failed").st_mtime < FAILURE_HOLDS_SECONDS
    except FileNotFoundError:
        return False


def start(path: str, image: str, common: list[str]) -> socket.socket | None:
    """Start the server's container and wait until it listens. If it doesn't, leave a mark for others; return None."""
    import subprocess

    forget_old()
    name = f"rayform-step-server-{os.path.basename(path)}-{os.getpid()}-{int(time.time())}"
    command = ["docker", "run", "--detach", "--rm", "--name", name, "--pull", "never"]
    command += [
        "--network",
        "host",
        "--pid",
        "host",
        "--ipc",
        "host",
        "--user",
        f"{os.getuid()}:{os.getgid()}",
    ]
    command += CONFINED
    command += ["--pids-limit", str(PIDS + PIDS_PER_CPU * (os.cpu_count() or 1))]
    command += ["--volume", "/tmp/ray:/tmp/ray", "--log-driver", "none", "--label", f"io.rayform.step={name}"]  # noqa: S108 - Ray's own folder
    for variable in common:
        command += ["--env", variable]
    token = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    if token and os.path.isfile(token):
        command += ["--volume", f"{token}:{token}:ro"]
    if os.path.exists("/dev/nvidiactl"):
        command += ["--gpus", "all"]
    command += [
        "--entrypoint",
        "python",
        image,
        "-m",
        "rayform_runtime.cluster.step_workers.fork_server",
        path,
    ]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    deadline = time.monotonic() + START_SECONDS
    if subprocess.run(command, check=False, **quiet).returncode == 0:  # type: ignore[call-overload]
        with subprocess.Popen(["docker", "wait", name], **quiet) as end:  # type: ignore[call-overload]
            try:
                while end.poll() is None and time.monotonic() < deadline:
                    if (connection := connect(path)) is not None:
                        return connection
                    time.sleep(0.02)
            finally:
                end.kill()
    subprocess.run(["docker", "rm", "--force", name], check=False, **quiet)  # type: ignore[call-overload]
    with open(path + ".failed", "w"):
        os.utime(path + ".failed")
    return None


def ask(connection: socket.socket, name: str, arguments: list[str], common: list[str]) -> int | None:
    """Ask for a worker; return its process ID, or None if the server may not fork."""
    os.environ["RAYFORM_STEP_CONTAINER"] = name
    names = [*common, "RAYFORM_STEP_CONTAINER"]
    fields = [name, str(len(arguments)), *arguments, *(f"{n}={os.environ[n]}" for n in names)]
    body = b"\0".join(os.fsencode(field) for field in fields)
    message = len(body).to_bytes(4, "big") + body
    connection.settimeout(ANSWER_SECONDS)
    sent = socket.send_fds(connection, [message], [0, 1, 2])
    connection.sendall(message[sent:])
    answer = read_line(connection)
    connection.settimeout(None)
    return int(answer[1:]) if answer.startswith(b"P") else None


def await_end(connection: socket.socket, worker: int) -> int:
    """Wait for the worker's end; return its exit code, or that of a killed process if the server is gone."""
    try:
        answer = read_line(connection)
    except OSError:
        answer = b""
    if answer.startswith(b"E"):
        return int(answer[1:])
    try:
        os.killpg(worker, 9)
    except (ProcessLookupError, PermissionError):
        pass  # The kernel killed it when the server died.
    return KILLED


def read_line(connection: socket.socket) -> bytes:
    """Read an answer up to its end of line; empty if the server is gone."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := connection.recv(1)):
            return b""
        line += byte
    return line[:-1]


def write_end(name: str, code: int) -> None:
    """Write down how the worker ended, for the scheduler (`execution.on_ray.worker.container_end`)."""
    os.makedirs(EXITS, exist_ok=True)
    path = os.path.join(EXITS, name)
    with open(path + ".part", "w") as file:
        file.write(f'{{"exit_code": {code}, "oom_killed": false, "error": ""}}\n')
    os.rename(path + ".part", path + ".json")


def forget_old() -> None:
    """Remove files about workers and servers that are more than a day old."""
    for folder in (EXITS, FORKS):
        try:
            files = [entry for entry in os.scandir(folder) if entry.is_file()]
        except FileNotFoundError:
            continue
        for entry in files:
            try:
                if time.time() - entry.stat().st_mtime > 86400:
                    os.remove(entry.path)
            except FileNotFoundError:
                continue


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
