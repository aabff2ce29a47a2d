"""A real LocalStack in a process of its own, with an environment that is made once, outside of the checkout."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.servers.loopback import free_port, server_process
from support.servers.moto import CREDENTIALS

_ROOT = Path(__file__).resolve().parents[3]


def localstack_python() -> str:
    """Make LocalStack's environment if it is missing, and return its Python."""
    done = subprocess.run(
        [_ROOT / "scripts" / "setup_localstack.sh"], capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode:
        raise RuntimeError(f"scripts/setup_localstack.sh failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1]


@contextlib.contextmanager
def localstack_server(
    folder: Path, *, services: str = "s3,sts", environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Start LocalStack on a free port of loopback and yield its URL.

    Args:
        folder: for its state and its log.
        services: the services that it serves.
        environment: further variables for it.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    for name in ("var", "static", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    settings = {
        **CREDENTIALS,
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "LOCALSTACK_HOST": f"localhost.localstack.cloud:{port}",
        "SERVICES": services,
        "STRICT_SERVICE_LOADING": "1",
        "EAGER_SERVICE_LOADING": "0",
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "LOCALSTACK_VOLUME_DIR": str(folder / "var"),
        "FILESYSTEM_ROOT": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "OVERRIDE_IN_DOCKER": "0",
        **(environment or {}),
    }
    command = [localstack_python(), "-m", "localstack.runtime.main"]
    with server_process(
        command, url=f"{url}/_localstack/health", log=folder / "log", environment=settings, timeout=120
    ):
        yield url
