"""`/var/run/docker.sock` of an emulated machine: the host's engine, as if it were the machine's own.

A container that a node starts must use the node's network, processes and files, not the host's. This relay rewrites
one request, `POST /containers/create`, and passes everything else through unchanged:

- network, PID and IPC mode `host` (and a network without a name) become the node's own namespaces;
- bind mounts become folders of the node: its volumes, or its root file system as the engine keeps it;
- requests for real GPUs are dropped, since an emulated node's GPUs are logical; CPU and memory limits stay;
- labels name the cloud and the node of the container, so that it ends with the node.

Each connection carries one request (`Connection: close`), so no parser for the rest of HTTP is needed. Upgraded
connections (`docker attach`, `exec`, build sessions) carry bytes in both directions.
Docker Engine API: https://docs.docker.com/reference/api/engine/
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import sys
import threading
from pathlib import Path, PurePosixPath
from typing import Any

HOST_SOCKET = os.environ.get("RAYFORM_HOST_DOCKER_SOCKET", "/run/host/docker.sock")
OWN_SOCKET = os.environ.get("RAYFORM_DOCKER_SOCKET", "/var/run/docker.sock")
CREATE = re.compile(rb"^POST (/v[0-9.]+)?/containers/create([?][^ ]*)? HTTP/1")
NETWORK_SETTINGS = (
    "PortBindings",
    "PublishAllPorts",
    "ExtraHosts",
    "Dns",
    "DnsSearch",
    "DnsOptions",
    "Links",
)
MAX_HEAD = 1 << 16
MAX_BODY = 1 << 22


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Node:
    """The machine that this program runs on, as the engine describes it."""

    def __init__(self, container: str) -> None:
        connection = UnixConnection(HOST_SOCKET)
        connection.request("GET", f"/containers/{container}/json")
        facts = json.loads(connection.getresponse().read())
        connection.close()
        self.id: str = facts["Id"]
        self.labels: dict[str, str] = {
            key: value for key, value in facts["Config"]["Labels"].items() if key.startswith("rayform.")
        }
        self.root: str | None = (facts.get("GraphDriver", {}).get("Data") or {}).get("MergedDir")
        self.mounts: list[tuple[PurePosixPath, str]] = sorted(
            ((PurePosixPath(m["Destination"]), m["Source"]) for m in facts.get("Mounts", [])),
            key=lambda mount: -len(mount[0].parts),
        )

    def on_host(self, path: str) -> str:
        """Return the engine's path of a folder of this machine."""
        folder = PurePosixPath(path)
        for destination, source in self.mounts:
            if folder == destination or destination in folder.parents:
                return str(PurePosixPath(source) / folder.relative_to(destination))
        if self.root is None:
            raise LookupError(
                f"'{path}' isn't on a volume of this machine, and this engine's storage doesn't show its root"
            )
        # Links are resolved inside the machine: /var/run -> /run must not lead into the host.
        return self.root + os.path.realpath(path)

    def adopt(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Return a create request that stays within this machine."""
        host = spec["HostConfig"] = spec.get("HostConfig") or {}
        self._share_namespaces(spec, host)
        _drop_real_gpus(host)
        host["Binds"] = [self._bind(bind) for bind in host.get("Binds") or []]
        for mount in host.get("Mounts") or []:
            if mount.get("Type") == "bind":
                if not Path(mount["Source"]).exists():
                    raise LookupError(f"bind source path does not exist: {mount['Source']}")
                mount["Source"] = self.on_host(mount["Source"])
        spec["Labels"] = {
            **(spec.get("Labels") or {}),
            **self.labels,
            "rayform.kind": "step",
            "rayform.node": self.id,
        }
        return spec

    def _share_namespaces(self, spec: dict[str, Any], host: dict[str, Any]) -> None:
        """Replace the host's network, PID and IPC namespaces by this machine's."""
        own = f"container:{self.id}"
        if host.get("NetworkMode", "default") in {"", "default", "bridge", "host"}:
            host["NetworkMode"] = own
            # The engine refuses these with a shared network namespace, which has its own already.
            for key in ("Hostname", "Domainname", "MacAddress", "ExposedPorts", "NetworkingConfig"):
                spec.pop(key, None)
            for key in NETWORK_SETTINGS:
                host.pop(key, None)
        for key in ("PidMode", "IpcMode"):
            if host.get(key) == "host":
                host[key] = own
        if str(host.get("IpcMode", "")).startswith("container:"):
            host.pop("ShmSize", None)

    def _bind(self, bind: str) -> str:
        source, separator, rest = bind.partition(":")
        if not source.startswith("/"):
            return bind  # a named volume
        # Docker makes a missing folder. It has to exist in the machine too, so it is made here.
        if not os.path.lexists(source):
            Path(source).mkdir(parents=True, exist_ok=True)
        return self.on_host(source) + separator + rest


def _drop_real_gpus(host: dict[str, Any]) -> None:
    """Request no real GPU: a machine's GPUs are logical, so the plain runtime serves too."""
    host["DeviceRequests"] = [
        request
        for request in host.get("DeviceRequests") or []
        if not any("gpu" in group for group in request.get("Capabilities") or [])
    ]
    if host.get("Runtime") == "nvidia":
        host.pop("Runtime")


def read_head(stream: socket.socket) -> tuple[bytes, bytes]:
    """Read a request's head; return it and the bytes after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = stream.recv(65536)
        if not chunk or len(data) > MAX_HEAD:
            return b"", b""
        data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def header(head: bytes, name: bytes) -> bytes | None:
    """Return one header's value."""
    match = re.search(rb"(?im)^" + re.escape(name) + rb":[ \t]*(.*?)[ \t]*\r?$", head)
    return match.group(1) if match else None


def without(head: bytes, *names: bytes) -> bytes:
    """Return the head without these headers."""
    lines = head.split(b"\r\n")
    return b"\r\n".join(
        [lines[0], *(line for line in lines[1:] if line.partition(b":")[0].strip().lower() not in names)]
    )


def answer(stream: socket.socket, status: int, message: str) -> None:
    """Answer with an error in the engine's format."""
    body = json.dumps({"message": message}).encode()
    stream.sendall(
        b"HTTP/1.1 %d Error\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
        % (status, len(body), body)
    )


def pipe(source: socket.socket, sink: socket.socket) -> None:
    """Copy bytes until the source ends; then end the sink too."""
    with contextlib.suppress(OSError):
        while data := source.recv(262144):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def serve(client: socket.socket, node: Node) -> None:
    """Relay one connection."""
    with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as engine:
        head, rest = read_head(client)
        if not head:
            return
        engine.connect(HOST_SOCKET)
        if CREATE.match(head):
            length = int(header(head, b"content-length") or b"0")
            if length > MAX_BODY:
                answer(client, 413, "the request is larger than an emulated machine takes")
                return
            while len(rest) < length:
                chunk = client.recv(65536)
                if not chunk:
                    return
                rest += chunk
            try:
                rest = json.dumps(node.adopt(json.loads(rest))).encode()
            except (LookupError, ValueError) as error:
                answer(client, 400, str(error))
                return
            head = without(head, b"content-length", b"connection")
            head += b"\r\nContent-Length: %d\r\nConnection: close" % len(rest)
        elif header(head, b"upgrade") is None:
            head = without(head, b"connection") + b"\r\nConnection: close"
        engine.sendall(head + b"\r\n\r\n" + rest)
        upstream = threading.Thread(target=pipe, args=(client, engine), daemon=True)
        upstream.start()
        pipe(engine, client)
        # A client may keep its half open for ever, but after the engine's answer it has nothing more to send.
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RD)
        upstream.join(timeout=5)


def main() -> None:
    """Listen for the machine's Docker clients."""
    node = Node(os.environ.get("RAYFORM_CONTAINER") or socket.gethostname())
    path = Path(OWN_SOCKET)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o660)
        with contextlib.suppress(PermissionError, KeyError):
            import grp

            os.chown(path, 0, grp.getgrnam("docker").gr_gid)
        listener.listen(128)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, node), daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
