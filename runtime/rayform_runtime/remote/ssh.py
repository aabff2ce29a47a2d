"""Calls the OpenSSH client, with one key, a pinned host key and one shared connection.

Paramiko was rejected: OpenSSH is on every laptop, keeps one connection for many uses (`ControlMaster`), and gets its
security fixes with the system.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rayform_core.errors import PrerequisiteError, RemoteError, UsageError
from rayform_core.files import private_folder

__all__ = ["SSHTarget"]

_CONNECT_SECONDS = 10
_SHARED_FOR = 60
"""Seconds that a shared connection stays open after its last use, so that the next command starts at once."""


@dataclass(frozen=True, slots=True)
class SSHTarget:
    """A machine that answers by SSH.

    Args:
        user, host, port: the login.
        key: path of the private key; by default the agent's keys and the user's own.
        known_hosts: path of the file with the host's key, which is always checked strictly.
    """

    user: str
    host: str
    port: int = 22
    key: str | None = None
    known_hosts: str | None = None

    @classmethod
    def parse(cls, address: str, *, key: str | None = None, known_hosts: str | None = None) -> SSHTarget:
        """Read `ssh://user@host[:port]`.

        Raises:
            UsageError: the address has another form.
        """
        try:
            parts = urlsplit(address)
            port = 22 if parts.port is None else parts.port
        except ValueError:  # no number, none of a port, or half an IPv6 address
            parts, port = urlsplit(""), 0
        user, host = parts.username or "", parts.hostname or ""
        # OpenSSH would read a name that begins with a hyphen as an option.
        fits = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", user) and re.fullmatch(
            r"[A-Za-z0-9][A-Za-z0-9.:-]*", host
        )
        if parts.scheme != "ssh" or not fits or parts.password or parts.path not in ("", "/") or not port:
            raise UsageError(
                f"'{address}' isn't a valid address of a cluster.", hint="Write it as ssh://user@host[:port]."
            )
        return cls(user, host, port, key, known_hosts)

    @property
    def name(self) -> str:
        """The machine's name in messages."""
        return self.host if self.port == 22 else f"{self.host}:{self.port}"

    def options(self, *, shared: bool = True) -> list[str]:
        """Return the options of every call: strict host key, no prompts, keep-alive, the shared connection."""
        words = [
            "-p", str(self.port),
            "-o", "BatchMode=yes",
            "-o", "StrictHostKeyChecking=yes",
            "-o", f"ConnectTimeout={_CONNECT_SECONDS}",
            "-o", "ServerAliveInterval=5",
            "-o", "ServerAliveCountMax=4",
            "-o", "ExitOnForwardFailure=yes",
            "-o", "LogLevel=ERROR",
        ]  # fmt: skip
        if self.known_hosts:
            words += [
                "-o",
                f"UserKnownHostsFile={_quoted(self.known_hosts)}",
                "-o",
                "GlobalKnownHostsFile=/dev/null",
            ]
        if self.key:
            words += ["-i", self.key, "-o", "IdentitiesOnly=yes"]
        if shared:
            words += [
                "-o", "ControlMaster=auto",
                "-o", f"ControlPath={_quoted(str(self.control_path()))}",
                "-o", f"ControlPersist={_SHARED_FOR}",
            ]  # fmt: skip
        return words

    def control_path(self) -> Path:
        """Return the socket of the shared connection, in a private folder; a socket's path must be short."""
        folder = private_folder(Path(tempfile.gettempdir()) / f"rayform-ssh-{os.getuid()}")
        status = folder.lstat()  # everyone may put a link there
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise PrerequisiteError(
                f"'{folder}' isn't private to your user.", hint="Remove it; Rayform makes it again."
            )
        facts = f"{self.user}@{self.host}:{self.port} {self.key} {self.known_hosts}"
        return folder / hashlib.sha256(facts.encode()).hexdigest()[:16]

    def command(self, *remote: str, options: Sequence[str] = (), shared: bool = True) -> list[str]:
        """Return the command line that runs `remote` on the machine; its words arrive unchanged."""
        import shlex

        words = [ssh_program(), *self.options(shared=shared), *options, f"{self.user}@{self.host}"]
        return [*words, "--", shlex.join(remote)] if remote else words

    def run(self, *remote: str, timeout: float = 60.0, input: bytes | None = None) -> bytes:
        """Run a command on the machine and return what it prints.

        Raises:
            RemoteError: the machine can't be reached, its key isn't the pinned one, or the command failed.
        """
        try:
            done = subprocess.run(
                self.command(*remote), capture_output=True, timeout=timeout, input=input or b""
            )
        except subprocess.TimeoutExpired as error:
            raise RemoteError(f"'{self.name}' didn't answer within {timeout:g} seconds.") from error
        if done.returncode != 0:
            raise self.failure(done.returncode, done.stderr.decode(errors="replace"), " ".join(remote[:4]))
        return done.stdout

    def failure(self, code: int, output: str, command: str) -> RemoteError:
        """Return the error that explains a failed call of ssh.

        Args:
            code: ssh's exit code.
            output: what it printed to stderr.
            command: what it ran, for the message.
        """
        last = " ".join(line.strip() for line in output.strip().splitlines()[-3:] if line.strip())
        if "REMOTE HOST IDENTIFICATION HAS CHANGED" in output or "Host key verification failed" in output:
            return RemoteError(
                f"'{self.name}' isn't the machine that was deployed.",
                why="Its host key differs from the one that the deploy pinned, or the deploy pinned none.",
                hint="If you replaced the head, run `rayform stack refresh`. Otherwise somebody may intercept the "
                "connection.",
            )
        if "Permission denied" in output and code == 255:
            return RemoteError(
                f"'{self.name}' refuses the key.",
                why=last,
                hint="Check `ssh_key` of the stack's orchestrator (`rayform stack describe`). A key from "
                "`rayform stack new-key` works after the next `rayform stack deploy`.",
            )
        if code == 255:
            return RemoteError(
                f"'{self.name}' can't be reached by SSH.",
                why=last or None,
                hint="`rayform stack start` wakes a stopped head. Your address must be among the allowed CIDRs.",
            )
        return RemoteError(f"'{command}' failed on '{self.name}' with exit code {code}.", why=last or None)

    def lines(self, *remote: str, stop: threading.Event) -> Iterator[bytes]:
        """Run a command on the machine and yield its lines as they come, until it ends or `stop` is set.

        Raises:
            RemoteError: the connection broke, or the command failed.
        """
        with subprocess.Popen(
            self.command(*remote, shared=True),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            ended = threading.Event()

            def watch() -> None:
                while not ended.is_set():
                    if stop.wait(0.2):
                        process.terminate()
                        return

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            try:
                yield from process.stdout
                code = process.wait()
                if code != 0 and not stop.is_set():
                    output = process.stderr.read().decode(errors="replace")
                    raise self.failure(code, output, " ".join(remote[:4]))
            finally:
                ended.set()
                if process.poll() is None:
                    process.terminate()
                watcher.join(timeout=1)

    def disconnect(self) -> None:
        """End the shared connection, if there is one."""
        if self.control_path().exists():
            subprocess.run(
                [ssh_program(), *self.options(), "-O", "exit", f"{self.user}@{self.host}"],
                capture_output=True,
                check=False,
                timeout=10,
            )


def ssh_program() -> str:
    """Return the path of the OpenSSH client.

    Raises:
        PrerequisiteError: there is none.
    """
    program = shutil.which("ssh")
    if program is None:
        raise PrerequisiteError(
            "The OpenSSH client 'ssh' isn't on PATH.",
            hint="Install it (Debian: apt-get install openssh-client).",
        )
    return program


def _quoted(path: str) -> str:
    # OpenSSH splits an option's value at blanks, and expands percent signs.
    return '"' + path.replace("%", "%%").replace('"', "") + '"'
