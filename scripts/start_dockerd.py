"""Start Docker Engine by hand where no service manager runs, and return once it answers.

Run as root with the system's own Python: `python3 scripts/start_dockerd.py [LOG]`. The daemon gets a session of
its own, so it outlives this script. The daemon itself reports when it is ready: it sends `READY=1` to
`NOTIFY_SOCKET` (the protocol of sd_notify(3)), which needs no systemd.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

READY_WITHIN = 60.0


def default_route_mtu() -> int:
    """Return the MTU of the interface that the default route leaves by.

    Docker's bridges use 1500 by default. Behind a tunnel with a smaller MTU, large packets of containers get lost.
    """
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000":
            return int(Path(f"/sys/class/net/{fields[0]}/mtu").read_text())
    return 1500


def command() -> list[str]:
    """Return the daemon's command line."""
    binary = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if binary is None:
        raise SystemExit("dockerd isn't installed. Debian, Ubuntu: apt-get install docker.io")
    words = [binary, "--storage-driver=overlay2"]
    if (mtu := default_route_mtu()) != 1500:
        words.append(f"--mtu={mtu}")
    return words


def forget_dead_daemon() -> None:
    """Remove PID files of daemons that died with `kill -9`, which would keep a new one from starting."""
    for name in ("/var/run/docker.pid", "/var/run/docker/containerd/containerd.pid"):
        file = Path(name)
        if not file.exists():
            continue
        pid = file.read_text().strip()
        comm = Path(f"/proc/{pid}/comm")
        if (
            not pid.isdigit()
            or not comm.exists()
            or comm.read_text().strip() not in {"dockerd", "containerd"}
        ):
            file.unlink()


def start(log: Path) -> None:
    """Start the daemon and wait for its READY=1; its last log lines are the error otherwise."""
    forget_dead_daemon()
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice:
        address = f"{folder}/notify"
        notice.bind(address)
        with log.open("ab") as output:
            daemon = subprocess.Popen(
                command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "NOTIFY_SOCKET": address},
            )
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            readable, _, _ = select.select([notice], [], [], 0.5)
            if readable and b"READY=1" in notice.recv(4096):
                return
            if daemon.poll() is not None:
                break
        else:
            daemon.terminate()
    tail = "\n  ".join(log.read_text(errors="replace").splitlines()[-15:])
    raise SystemExit(f"dockerd did not start (log: {log}):\n  {tail}")


if __name__ == "__main__":
    start(Path(sys.argv[1] if len(sys.argv) > 1 else "/var/log/rayform-dockerd.log"))
