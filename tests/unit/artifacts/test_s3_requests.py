"""What the S3 store says to a server, as one hears it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rayform_runtime.artifacts.stores.config import S3StoreConfig
from rayform_runtime.artifacts.stores.s3 import S3ArtifactStore


class _Hearing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    heard: list[tuple[int, str | None]]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append((len(body), self.headers["Expect"]))
        self.send_response(200)
        self.send_header("ETag", f'"{md5(body, usedforsecurity=False).hexdigest()}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server that accepts every write."""
    _Hearing.heard = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hearing) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_only_large_bodies_wait_for_the_servers_leave(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A small one goes with its request, without the journey that `Expect: 100-continue` costs."""
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))
    config = S3StoreConfig(
        bucket="bucket", endpoint_url=f"http://127.0.0.1:{server.server_port}", region="us-east-1"
    )
    store = S3ArtifactStore(config, stack_name="test")
    store.put_bytes("small", b"x" * 1000, if_absent=True)
    store.put_bytes("large", b"x" * 100_000)
    for client in store._clients.values():
        client.close()
    assert _Hearing.heard == [(1000, None), (100_000, "100-continue")]
