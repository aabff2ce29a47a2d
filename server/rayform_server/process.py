"""The dashboard's process: start it, find one that runs, stop it.

`$RAYFORM_HOME/dashboard/state.json`, readable only by the user, says which process serves which port, and holds the
key that one-time tokens are signed with.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rayform_core.errors import ConflictError, PrerequisiteError
from rayform_core.files import home, private_folder, write_atomically
from rayform_runtime.processes.identity import process_started

__all__ = ["PORT", "Running", "running", "serve", "start_detached", "stop"]

PORT = 8237
_HOST = "127.0.0.1"
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A dashboard that runs.

    Args:
        pid: its process.
        started: when that process started; tells it from a later one with the same ID.
        port: the port on loopback.
        stack: the stack that it shows by default.
        key: the key of its tokens.
    """

    pid: int
    started: float
    port: int
    stack: str
    key: str

    @property
    def address(self) -> str:
        """The address of its first page, for a browser that has a session."""
        return f"http://{_HOST}:{self.port}"

    def entrance(self, *, lifetime: int = 600) -> str:
        """Return an address that starts a session, once, within `lifetime` seconds."""
        from rayform_server.security import Sessions

        return f"{self.address}/enter?token={Sessions.token(bytes.fromhex(self.key), lifetime=lifetime)}"


def _state_file() -> Path:
    return home() / "dashboard" / "state.json"


def running() -> Running | None:
    """Return this home's dashboard, or `None` if none runs."""
    try:
        state = Running(**json.loads(_state_file().read_text()))
    except (OSError, ValueError, TypeError):
        return None
    started = process_started(state.pid)
    return state if started is not None and abs(started - state.started) < 2 else None


def serve(*, stack: str, port: int, ready: Callable[[Running], None] = lambda state: None) -> None:
    """Serve the dashboard until the process is asked to end.

    Args:
        stack: the stack to show by default.
        port: the port on loopback; 0 takes a free one.
        ready: called once the port is open.

    Raises:
        ConflictError: the port is taken.
    """
    import uvicorn

    from rayform_server.app import create_app

    listener = _listener(port)
    port = listener.getsockname()[1]
    key = secrets.token_bytes(32)
    app = create_app(stack=stack, key=key, port=port)
    state = Running(os.getpid(), process_started(os.getpid()) or time.time(), port, stack, key.hex())
    write_atomically(_state_file(), asdict(state))
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        loop="asyncio",
        http="h11",
        timeout_graceful_shutdown=1,
    )
    ready(state)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        current = running()
        if current is None or current.pid == os.getpid():
            _state_file().unlink(missing_ok=True)


def _listener(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConflictError(
            f"Port {port} can't be used.", why=f"{error.strerror}.", hint="Choose another one: --port 8238."
        ) from error
    return listener


def start_detached(*, stack: str, port: int) -> Running:
    """Start the dashboard in the background, and return it once it answers.

    Raises:
        PrerequisiteError: it didn't start; names its log.
    """
    log = private_folder(home() / "dashboard") / "log"
    with log.open("wb") as output:
        log.chmod(0o600)
        process = subprocess.Popen(
            [sys.executable, "-m", "rayform_server", str(port), stack],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        state = running()
        if state is not None and state.pid == process.pid and _answers(state.port):
            process.returncode = 0  # it outlives this process on purpose: no warning about that
            return state
        time.sleep(0.05)
    if process.poll() is None:
        process.terminate()
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise PrerequisiteError(
        "The dashboard didn't start.", why=last[0] if last else None, hint=f"Its log: {log}"
    )


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((_HOST, port), timeout=1):
        return True
    return False


def stop() -> bool:
    """Stop this home's dashboard; return whether one ran.

    Raises:
        ConflictError: it doesn't end.
    """
    state = running()
    if state is None:
        return False
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if process_started(state.pid) is None or running() is None:
            return True
        time.sleep(0.05)
    raise ConflictError(
        f"The dashboard (process {state.pid}) doesn't end.", hint=f"End it: kill -9 {state.pid}"
    )
