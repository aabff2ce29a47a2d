"""gcp-storage-emulator in a process of its own, with the conditional writes that it lacks and the store needs.

A write with `ifGenerationMatch=0` is refused with 412 if the object exists, atomically, as the JSON API documents.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from support.servers.loopback import free_port, server_process


@contextlib.contextmanager
def gcs_server(log: Path) -> Iterator[str]:
    """Start the emulator on a free port of loopback and yield its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-m", "support.servers.gcs", str(port)]
    with server_process(command, url=url, log=log, environment=environment):
        yield url


def _serve(port: int) -> None:
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects
    from gcp_storage_emulator.server import create_server

    lock = threading.Lock()

    def conditional(upload: Any) -> Any:
        def handle(request: Any, response: Any, storage: Any) -> Any:
            request.data  # noqa: B018 - read the body before the lock is taken
            with lock:
                if request.query.get("ifGenerationMatch") == ["0"]:
                    name = (
                        request.query["name"][0] if "name" in request.query else request.data["meta"]["name"]
                    )
                    try:
                        storage.get_file_obj(request.params["bucket_name"], name)
                    except NotFound:
                        pass
                    else:
                        response.status = HTTPStatus.PRECONDITION_FAILED
                        response.json({"error": {"code": 412, "message": "conditionNotMet"}})
                        return None
                return upload(request, response, storage)

        return handle

    objects._multipart_upload = conditional(objects._multipart_upload)
    objects._media_upload = conditional(objects._media_upload)
    server = create_server("127.0.0.1", port, in_memory=True)
    server.run()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
