"""A cluster's head, as a laptop reaches it: commands and files by SSH, the job server through a tunnel."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

from rayform_core.errors import ConflictError, RemoteError
from rayform_core.version import __version__
from rayform_runtime.cluster.from_laptop.jobs import JobServer
from rayform_runtime.cluster.machine.answers import HeadStatus, SettingsChanges
from rayform_runtime.remote.ssh import SSHTarget
from rayform_runtime.remote.tunnel import Tunnel

__all__ = ["DASHBOARD_PORT", "HEAD_PYTHON", "ClusterHead"]

HEAD_PYTHON = "/opt/rayform/venv/bin/python"
DASHBOARD_PORT = 8265
_STATUS = "/run/rayform/status.json"
_TOKEN = "/etc/rayform/ray_token"  # noqa: S105 - a path


class _Config(Protocol):
    @property
    def address(self) -> str | None: ...
    @property
    def ssh_key(self) -> str | None: ...
    @property
    def known_hosts(self) -> str | None: ...


class ClusterHead:
    """The head of a stack's cluster. It connects on first use; call `close` in the end.

    Args:
        config: address, key and known hosts: the stack's orchestrator.
    """

    def __init__(self, config: _Config) -> None:
        assert config.address is not None
        self.target = SSHTarget.parse(config.address, key=config.ssh_key, known_hosts=config.known_hosts)
        self._tunnel: Tunnel | None = None
        self._lock = threading.Lock()

    def status(self) -> HeadStatus:
        """Return the head's status.

        Raises:
            RemoteError: the head can't be reached.
        """
        command = f"cat {_STATUS} 2>/dev/null || echo '{{}}'"
        return HeadStatus.read(self.target.run("sudo", "-n", "sh", "-c", command, timeout=30))

    def require_ready(self) -> HeadStatus:
        """Return the status of a head that can run something.

        Raises:
            RemoteError: it isn't ready.
            ConflictError: it runs another version of Rayform than this laptop.
        """
        status = self.status()
        if not status.ready:
            raise RemoteError(
                f"The cluster's head isn't ready: {status.phase}.",
                hint="Wait until it has booted (`rayform cluster logs head` shows its boot).",
            )
        if status.version not in (None, __version__):
            raise ConflictError(
                f"The cluster runs Rayform {status.version}, and this machine has {__version__}.",
                hint="Run `rayform stack deploy` to bring the cluster to this version.",
            )
        return status

    def take_settings(self) -> SettingsChanges:
        """Apply the settings that the last deploy changed to the running head; return the changes.

        Raises:
            RemoteError: the head can't be reached, or can't read its new settings.
        """
        answer = self.target.run(
            "sudo", "-n", HEAD_PYTHON, "-m", "rayform_runtime.cluster.machine", "take-settings", timeout=120
        )
        return SettingsChanges.model_validate_json(answer)

    @cached_property
    def token(self) -> str:
        """The cluster's token, kept in memory alone."""
        return self.target.run("sudo", "-n", "cat", _TOKEN, timeout=30).decode().strip()

    def tunnel(self) -> Tunnel:
        """Return the tunnel to dashboard and job server, opened on first use."""
        with self._lock:
            if self._tunnel is None:
                self._tunnel = Tunnel(self.target, "127.0.0.1", DASHBOARD_PORT)
            return self._tunnel

    def jobs(self) -> JobServer:
        """Return the job server."""
        return JobServer(self.tunnel().local_port, self.token)

    def follow_file(self, path: str, offset: int, stop: threading.Event) -> Iterator[bytes]:
        """Yield a file's lines from byte `offset` on, as they are written; wait for the file if it doesn't exist.

        Raises:
            RemoteError: the connection broke; call again with the offset reached.
        """
        yield from self.target.lines(
            "sudo", "-n", "tail", "--quiet", f"--bytes=+{offset + 1}", "--follow=name", "--retry",
            "--sleep-interval=0.1", path, stop=stop,
        )  # fmt: skip

    def close(self) -> None:
        """Close the tunnel. The shared SSH connection ends by itself after a minute."""
        with self._lock:
            if self._tunnel is not None:
                self._tunnel.close()
                self._tunnel = None
