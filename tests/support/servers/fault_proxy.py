"""An HTTP proxy on loopback that injects the faults of networks and busy servers into some requests."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

FAULTS = ("reset", "lost answer", "500", "503", "truncated", "corrupt answer", "corrupt request")

_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_BROKEN = b"<Error><Code>InternalError</Code><Message>We met an error.</Message></Error>"


class FaultProxy(ThreadingHTTPServer):
    """Passes requests on to `target`, a share of them (`rate`) with one of `faults`. `done` counts the faults."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target: str, *, rate: float, faults: tuple[str, ...] = FAULTS, seed: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        parts = urlsplit(target)
        self.target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.rate, self.faults = rate, faults
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.done: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self, method: str, body: bytes, path: str) -> str | None:
        with self.lock:
            if self.random.random() >= self.rate:
                return None
            fault = self.random.choice(self.faults)
            if fault in ("truncated", "corrupt answer") and (method != "GET" or "?" in path):
                return None  # only the bodies of objects
            if fault == "corrupt request" and (method != "PUT" or len(body) < 300):
                return None
            self.done[fault] += 1
            return fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: clients that go away are expected here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def log_message(self, format: str, *args: Any) -> None:
        """Do nothing: requests are not logged."""

    def handle_expect_100(self) -> bool:
        self.send_response_only(100)
        self.end_headers()
        return True

    def _reset(self) -> None:
        # Closing with a linger time of zero sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _handle(self) -> None:
        body = self._body()
        fault = self.server.next_fault(self.command, body, self.path)
        if fault == "reset":
            return self._reset()
        if fault in ("500", "503"):
            return self._answer(int(fault), _BUSY if fault == "503" else _BROKEN)
        if fault == "corrupt request":
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        upstream = http.client.HTTPConnection(*self.server.target, timeout=60)
        try:
            headers = {
                k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "expect")
            }
            headers["Content-Length"] = str(len(body))
            upstream.request(self.command, self.path, body=body, headers=headers)
            answer = upstream.getresponse()
            data = answer.read()
        finally:
            upstream.close()
        if fault == "lost answer":
            return self._reset()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        if fault == "truncated" and data:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            return self._reset()
        if fault == "corrupt answer" and data:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        self.wfile.write(data)
        return None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle


@contextlib.contextmanager
def fault_proxy(target: str, **options: Any) -> Iterator[FaultProxy]:
    """Run a `FaultProxy` in threads of this process."""
    proxy = FaultProxy(target, **options)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join(10)
