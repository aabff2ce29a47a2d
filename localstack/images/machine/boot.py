"""The first program of an emulated machine. It does what firmware, systemd and cloud-init do on an instance.

It routes 169.254.169.254 to the cloud's metadata service, starts the machine's Docker socket and sshd, authorizes
the instance's key pair, and runs user data once, as root, with its output in `/var/log/cloud-init-output.log`.
Then it waits until SIGTERM (a stop through the API), `shutdown` or `reboot` ends it.

Its exit code tells the supervisor why it ended: 0 after `shutdown`, 3 after `reboot`, 143 after SIGTERM; anything
else is a crash.

The formats of user data are cloud-init's: shell script (`#!`), cloud-config (`write_files`, `bootcmd`, `runcmd`),
MIME multipart of these, each perhaps gzipped.
https://cloudinit.readthedocs.io/en/latest/explanation/format.html
"""

from __future__ import annotations

import base64
import contextlib
import email
import gzip
import http.client
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

METADATA = "169.254.169.254"
INSTANCE = Path("/var/lib/cloud/instance")
PER_BOOT = Path("/var/lib/cloud/scripts/per-boot")
OUTPUT = Path("/var/log/cloud-init-output.log")
LOGIN_USERS = ("ubuntu", "root")
POWERED_OFF, REBOOT_ASKED, STOPPED = 0, 3, 143
HERE = Path(__file__).parent

WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2}


def log(text: str) -> None:
    """Write one line to the machine's console, which `rayform localstack logs` shows."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} boot: {text}\n")
    sys.stderr.flush()


def unblock() -> None:
    """Unblock signals in a child: this program blocks them, since it waits for them with `sigtimedwait`."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def route_metadata(service: str) -> None:
    """Send the machine's packets for 169.254.169.254:80 to the cloud's metadata service.

    The address is rewritten inside the machine's own network namespace, so nothing changes on the host, and clouds
    don't affect each other. Step containers share the namespace and see the same metadata.
    """
    rule = ["OUTPUT", "-d", METADATA, "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", service]
    if subprocess.run(["iptables", "-w", "-t", "nat", "-C", *rule], capture_output=True).returncode != 0:
        subprocess.run(["iptables", "-w", "-t", "nat", "-A", *rule], check=True)


class Metadata:
    """The instance metadata service, version 2."""

    def __init__(self) -> None:
        self.token = self._call("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "21600"})

    def get(self, path: str) -> bytes | None:
        """Return the metadata at `/latest/{path}`, or `None` if there is none."""
        return self._call(
            "GET", f"/latest/{path}", {"X-aws-ec2-metadata-token": (self.token or b"").decode()}
        )

    def report(self, **facts: object) -> None:
        """Report to the cloud how the boot goes; `rayform localstack status` shows it."""
        with contextlib.suppress(OSError):
            self._call("PUT", "/rayform/boot", {}, json.dumps(facts).encode())

    @staticmethod
    def _call(method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> bytes | None:
        # A machine may boot a moment before the API process has its address.
        for attempt in range(40):
            connection = http.client.HTTPConnection(METADATA, timeout=5)
            try:
                connection.request(method, path, body=body, headers=headers)
                response = connection.getresponse()
                data = response.read()
                if response.status == 404 and response.headers.get("X-Rayform-Unknown"):
                    raise ConnectionError("The metadata service doesn't know this address yet.")
                return data if response.status == 200 else None
            except OSError:
                if attempt == 39:
                    raise
                time.sleep(0.1)
            finally:
                connection.close()
        return None


def authorize(public_keys: list[str]) -> None:
    """Write the instance's public keys for the users that can log in."""
    for user in LOGIN_USERS:
        record = pwd.getpwnam(user)
        folder = Path(record.pw_dir) / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / "authorized_keys"
        file.write_text("".join(f"{key.strip()}\n" for key in public_keys))
        file.chmod(0o600)
        for path in (folder, file):
            os.chown(path, record.pw_uid, record.pw_gid)


def start_sshd() -> subprocess.Popen[bytes]:
    """Make the machine's own host key (Ed25519 alone: an RSA key costs a second) and start sshd."""
    key = Path("/etc/ssh/ssh_host_ed25519_key")
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    # Logins get the environment of the machine's own processes, which sshd doesn't pass on by itself.
    names = (
        "PATH",
        "VIRTUAL_ENV",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "AWS_ENDPOINT_URL",
        "AWS_DEFAULT_REGION",
    )
    values = " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)
    return subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e", "-o", f"SetEnv={values}"], stdin=subprocess.DEVNULL
    )


def start_docker_socket() -> subprocess.Popen[bytes] | None:
    """Serve `/var/run/docker.sock`: the host's engine, as if it were this machine's own."""
    if not Path("/run/host/docker.sock").exists():
        return None
    return subprocess.Popen(
        [sys.executable, "-I", str(HERE / "docker_socket.py")], stdin=subprocess.DEVNULL, preexec_fn=unblock
    )


def parts(data: bytes) -> list[bytes]:
    """Split user data into its parts, unpacked."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    head = data.lstrip()[:64].lower()
    if head.startswith((b"content-type:", b"mime-version:")):
        unpacked: list[bytes] = []
        for part in email.message_from_bytes(data).walk():
            if not part.is_multipart():
                payload = part.get_payload(decode=True)
                unpacked += parts(payload if isinstance(payload, bytes) else b"")
        return unpacked
    return [data] if data.strip() else []


def write_file(entry: dict[str, Any]) -> None:
    """Write one entry of cloud-config's `write_files`."""
    content = entry.get("content", "")
    raw = content if isinstance(content, bytes) else str(content).encode()
    encoding = str(entry.get("encoding", "")).lower()
    if encoding in {"b64", "base64", "gz+b64", "gz+base64", "gzip+b64", "gzip+base64"}:
        raw = base64.b64decode(raw)
    if encoding.startswith("gz"):
        raw = gzip.decompress(raw)
    path = Path(entry["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab" if entry.get("append") else "wb") as file:
        file.write(raw)
    path.chmod(int(str(entry.get("permissions", "0644")), 8))
    if owner := entry.get("owner"):
        subprocess.run(["chown", str(owner), str(path)], check=True)


def run_script(text: bytes, name: str) -> int:
    """Run one script as root; its output goes to the log."""
    folder = INSTANCE / "scripts"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    script = folder / name
    script.write_bytes(text if text.startswith(b"#!") else b"#!/bin/sh\n" + text)
    script.chmod(0o700)
    with OUTPUT.open("ab") as output:
        return run([str(script)], output)


def run(command: list[str], output: IO[bytes]) -> int:
    """Run a command as root at the root folder, as cloud-init does; return its exit code."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={**os.environ, "HOME": "/root", "USER": "root", "LOGNAME": "root"},
        start_new_session=True,
        preexec_fn=unblock,
    ).returncode


def run_cloud_config(text: bytes, number: int) -> int:
    """Run one cloud-config: files, then commands."""
    import yaml

    config = yaml.safe_load(text) or {}
    supported = {"write_files", "bootcmd", "runcmd"}
    if ignored := sorted(set(config) - supported):
        with OUTPUT.open("a") as output:
            output.write(f"cloud-config: the emulated machine ignores {', '.join(ignored)}\n")
    for entry in config.get("write_files") or []:
        write_file(entry)
    lines = ["#!/bin/sh"]
    for command in [*(config.get("bootcmd") or []), *(config.get("runcmd") or [])]:
        if isinstance(command, list):
            import shlex

            lines.append(shlex.join(map(str, command)))
        else:
            lines.append(str(command))
    return run_script("\n".join(lines).encode() + b"\n", f"runcmd-{number}") if len(lines) > 1 else 0


def run_user_data(data: bytes) -> int:
    """Run every part; return the first exit code that isn't 0, or 0."""
    failed = 0
    for number, part in enumerate(parts(data)):
        if part.lstrip().startswith(b"#cloud-config"):
            code = run_cloud_config(part, number)
        elif part.lstrip().startswith(b"#!"):
            code = run_script(part.lstrip(), f"part-{number:03d}")
        else:
            with OUTPUT.open("a") as output:
                output.write(
                    f"Part {number} of the user data is neither a script (#!) nor #cloud-config, and is ignored.\n"
                )
            continue
        failed = failed or code
    return failed


def run_boot_scripts() -> int:
    """Run the scripts in cloud-init's folder for every boot; return the first exit code that isn't 0, or 0."""
    failed = 0
    for script in sorted(PER_BOOT.iterdir()) if PER_BOOT.is_dir() else []:
        if os.access(script, os.X_OK):
            with OUTPUT.open("ab") as output:
                failed = failed or run([str(script)], output)
    return failed


def run_scripts(metadata: Metadata, instance_id: str) -> None:
    """Run the scripts of every boot and, at the instance's first boot, user data; in a process of their own."""
    done = INSTANCE / f"started-{instance_id}"
    first = not done.exists()
    done.touch()
    data = (metadata.get("user-data") or b"") if first else b""
    if not data.strip() and not PER_BOOT.is_dir():
        (INSTANCE / "boot-finished").touch()
        metadata.report(phase="done", code=0, again=not first)
        return
    metadata.report(phase="user-data", again=not first)
    child = os.fork()
    if child == 0:
        unblock()
        code = 1
        try:
            started = time.monotonic()
            code = run_boot_scripts()
            code = run_user_data(data) or code
            (INSTANCE / "boot-finished").touch()
            metadata.report(
                phase="done", code=code, seconds=round(time.monotonic() - started, 3), again=not first
            )
            log(f"user data ended with exit code {code} after {time.monotonic() - started:.1f} s")
        except Exception as error:  # noqa: BLE001 - every error belongs in the machine's log
            with OUTPUT.open("a") as output:
                output.write(f"User data could not be run: {error!r}\n")
            metadata.report(phase="done", code=1, error=repr(error)[:300])
        finally:
            os._exit(0 if code == 0 else 1)


def main() -> int:
    """Boot the machine, then wait until it has to end."""
    Path("/run/rayform-boot.pid").write_text(f"{os.getpid()}\n")
    INSTANCE.mkdir(parents=True, exist_ok=True)
    docker = start_docker_socket()
    route_metadata(os.environ["RAYFORM_METADATA"])
    metadata = Metadata()
    machine = json.loads(metadata.get("rayform/machine") or b"{}")
    machine["cpu_limit"] = int(os.environ.get("RAYFORM_CPU_LIMIT", "0")) or None
    machine["memory_limit_bytes"] = int(os.environ.get("RAYFORM_MEMORY_LIMIT", "0")) or None
    Path("/etc/rayform").mkdir(mode=0o755, exist_ok=True)
    Path("/etc/rayform/machine.json").write_text(json.dumps(machine, indent=2) + "\n")
    authorize(machine.get("public_keys", []))
    sshd = start_sshd()
    OUTPUT.touch(mode=0o600)
    run_scripts(metadata, str(machine.get("instance_id")))
    children = [child for child in (docker, sshd) if child is not None]
    while True:
        happened = signal.sigtimedwait(WATCHED, 3600)
        if happened is not None and happened.si_signo != signal.SIGCHLD:
            break
        for child in children[:]:
            if child.poll() is not None:
                log(f"{child.args} ended with {child.returncode}")
                children.remove(child)
        reap()
    ended = {signal.SIGUSR1: POWERED_OFF, signal.SIGUSR2: REBOOT_ASKED}
    return power_down(ended.get(signal.Signals(happened.si_signo), STOPPED))


def reap() -> None:
    """Collect children that have ended, such as the process of user data."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def power_down(code: int) -> int:
    """End every process as an operating system does: SIGTERM, a moment's wait, SIGKILL. Return `code`."""
    log({POWERED_OFF: "powering off", REBOOT_ASKED: "rebooting", STOPPED: "stopping"}[code])
    own = {1, os.getpid()}
    for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 0.5)):
        deadline = time.monotonic() + patience
        others = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and int(p.name) not in own]
        for pid in others:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        while others and time.monotonic() < deadline:
            reap()
            others = [pid for pid in others if Path(f"/proc/{pid}").exists()]
            time.sleep(0.02)
    return code


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    sys.exit(main())
