"""Forwards a port of this machine to a machine behind the cluster's head.

The OpenSSH client forwards it over a connection of its own. If that breaks (laptop asleep, network changed), the next
`ensure` or the watching thread makes it again, on the same local port.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time

from rayform_core.errors import RemoteError
from rayform_runtime.remote.ssh import SSHTarget

__all__ = ["Tunnel", "open_tunnel"]

_UP_WITHIN = 15.0
_LOOK_EVERY = 1.0


class Tunnel:
    """A forwarded port. Use as a context manager, or call `close`.

    Args:
        target: the machine that the tunnel goes through.
        host, port: where it ends, as that machine sees it.
    """

    def __init__(self, target: SSHTarget, host: str, port: int) -> None:
        self._target = target
        self._where = (host, port)
        self.local_port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._open()
        threading.Thread(target=self._watch, name="rayform-tunnel", daemon=True).start()

    def _open(self) -> None:
        host, port = self._where
        forward = f"127.0.0.1:{self.local_port}:{host}:{port}"
        # A connection of its own: a shared one would end with the process that made it.
        # `cat` ends with its input, and so with this process, however that ends; `-N` would outlive it.
        command = self._target.command("cat", options=["-L", forward], shared=False)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + _UP_WITHIN
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                output = self._process.stderr.read().decode(errors="replace") if self._process.stderr else ""
                raise self._target.failure(self._process.returncode, output, "port forwarding")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.local_port), 1):
                return
            time.sleep(0.02)
        self._end()
        raise RemoteError(
            f"The tunnel through '{self._target.name}' didn't open within {_UP_WITHIN:g} seconds.",
            hint="Check the network between this machine and the cluster.",
        )

    def ensure(self) -> None:
        """Make the tunnel again if its connection is broken.

        Raises:
            RemoteError: that fails.
        """
        with self._lock:
            if not self._closed.is_set() and (self._process is None or self._process.poll() is not None):
                self._open()

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_EVERY):
            with contextlib.suppress(RemoteError, OSError):
                self.ensure()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=3)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            for pipe in (process.stdin, process.stderr):
                if pipe is not None:
                    pipe.close()

    def close(self) -> None:
        """End the tunnel. Idempotent."""
        self._closed.set()
        with self._lock:
            self._end()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_tunnel(
    address: str,
    *,
    target_host: str,
    target_port: int,
    ssh_key: str | None = None,
    known_hosts: str | None = None,
) -> Tunnel:
    """Open a tunnel through a cluster's head.

    Args:
        address: `ssh://user@host[:port]` of the head.
        target_host, target_port: where the tunnel ends, as the head sees it.
        ssh_key: path of the private key.
        known_hosts: path of the file with the head's key.

    Returns:
        the tunnel; connect to `127.0.0.1:{local_port}`.

    Raises:
        UsageError: the address isn't valid.
        RemoteError: the head can't be reached, or isn't the machine that was deployed.

    Example:
        >>> with open_tunnel("ssh://ubuntu@head", target_host="127.0.0.1", target_port=8265) as tunnel:
        ...     print(tunnel.local_port)  # doctest: +SKIP
    """
    target = SSHTarget.parse(address, key=ssh_key, known_hosts=known_hosts)
    return Tunnel(target, target_host, target_port)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
