"""moto's server, which answers as AWS does, in a process of its own.

Use it in a session fixture:

    @pytest.fixture(scope="session")
    def moto_url(tmp_path_factory):
        with moto_server(tmp_path_factory.mktemp("moto") / "log") as url:
            yield url
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.servers.loopback import free_port, server_process

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Environment of a client of an emulator: made-up keys, and no requests to EC2's metadata service."""


@contextlib.contextmanager
def moto_server(log: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Start a moto server on a free port of loopback and yield its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with server_process(
        command, url=f"{url}/moto-api/", log=log, environment={**CREDENTIALS, **(environment or {})}
    ):
        yield url
