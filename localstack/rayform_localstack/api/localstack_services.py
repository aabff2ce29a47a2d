"""LocalStack inside the API process: it answers its services behind the gateway, from a port on loopback.

It runs in the main thread, since it needs that; the gateway's servers run in other threads. `moto_patches.py` changes
LocalStack's own moto classes, so its EC2 boots the same machines.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

from rayform_localstack.state import CloudState

__all__ = ["FORWARDED", "Forwarder", "prepare", "run"]

FORWARDED = ("s3", "ec2", "iam", "sts", "ssm", "secretsmanager", "kms", "logs", "events", "sqs", "sns")
"""Signing names of the services that LocalStack answers; the rest is moto's."""

CHUNK = 1 << 18
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "server", "date"}


def prepare(state: CloudState, folder: Path) -> int:
    """Set the environment variables that LocalStack's import reads; return its port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    os.environ.update(
        {
            "GATEWAY_LISTEN": f"127.0.0.1:{port}",
            "FILESYSTEM_ROOT": str(folder / "localstack-files"),
            "DNS_ADDRESS": "0",
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "PERSISTENCE": "0",
            "LS_LOG": "warn",
            "AWS_DEFAULT_REGION": state.region,
            # The gateway in front has checked the signature; LocalStack needs only the account.
            "S3_SKIP_SIGNATURE_VALIDATION": "1",
            "LOCALSTACK_HOST": f"{state.gateway}:{state.api_port}",
        }
    )
    return port


def run(on_ready: Callable[[], None]) -> None:
    """Run LocalStack until the process ends; call `on_ready` once it answers."""
    importlib.import_module("localstack.logging.setup").setup_logging_from_config()
    runtime = importlib.import_module("localstack.runtime.current").initialize_runtime()
    events = importlib.import_module("localstack.runtime.events")

    def wait_for_it() -> None:
        events.infra_ready.wait()
        on_ready()

    threading.Thread(target=wait_for_it, daemon=True).start()
    runtime.run()


class Forwarder:
    """A WSGI application that forwards requests to LocalStack.

    Args:
        port: LocalStack's port on loopback.
        account: the account of every caller, which LocalStack reads from the access key.
        service: the signing name of the service.
    """

    def __init__(self, port: int, account: str, service: str) -> None:
        self.port = port
        self.account = account
        self.service = service

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        target = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ["PATH_INFO"])
        connection.putrequest(environ["REQUEST_METHOD"], target, skip_host=True, skip_accept_encoding=True)
        for name, value in self._headers(environ):
            connection.putheader(name, value)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length or environ["REQUEST_METHOD"] in {"PUT", "POST"}:
            connection.putheader("Content-Length", str(length))
        connection.endheaders()
        while length > 0:
            data = environ["wsgi.input"].read(min(CHUNK, length))
            if not data:
                break
            connection.send(data)
            length -= len(data)
        response = connection.getresponse()
        headers = [(n, v) for n, v in response.getheaders() if n.lower() not in HOP_BY_HOP]
        start_response(f"{response.status} {response.reason or 'OK'}", headers)
        return _body(connection, response)

    def _headers(self, environ: WSGIEnvironment) -> Iterator[tuple[str, str]]:
        for key, value in environ.items():
            if key.startswith("HTTP_"):
                name = key[5:].replace("_", "-").title()
                if name.lower() in HOP_BY_HOP or name in {"Content-Length", "Expect"}:
                    continue
                if name == "Authorization" and self.service != "sts":
                    value = re.sub(r"Credential=[^/]+/", f"Credential={self.account}/", value)
                yield name, value
        if environ.get("CONTENT_TYPE"):
            yield "Content-Type", environ["CONTENT_TYPE"]


def _body(connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> Iterator[bytes]:
    with contextlib.closing(connection):
        while data := response.read(CHUNK):
            yield data
