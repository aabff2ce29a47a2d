"""Starts the supervisor: `python -m rayform_localstack.supervisor.main STATE_FILE READY_FD`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path

from rayform_core.errors import RayformError
from rayform_localstack.control import Control
from rayform_localstack.engine import docker_client
from rayform_localstack.state import CloudState
from rayform_localstack.supervisor.errors import BootError
from rayform_localstack.supervisor.reconcile import Reconciler

__all__ = ["main"]

API_WITHIN = 90.0
log = logging.getLogger("rayform.supervisor")


def main(arguments: list[str]) -> int:
    """Run until SIGTERM."""
    state_file, ready = Path(arguments[0]), int(arguments[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    state = CloudState.read(state_file)
    control = Control(state)
    try:
        client = docker_client()
        await_api(control)
        reconciler = Reconciler(client, state, control, state_file.parent)
        reconciler.services.start_registry()
    except (RayformError, BootError) as error:
        log.exception("The supervisor could not start")
        os.write(ready, f"error: {error}\n".encode())
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: reconciler.stop())
    control.report_supervisor()
    os.write(ready, b"ready\n")
    os.close(ready)
    reconciler.run()
    reconciler.pool.shutdown(wait=True, cancel_futures=True)
    # The threads that follow the API and Docker block in reads, and hold nothing that must be closed.
    os._exit(0)


def await_api(control: Control) -> None:
    """Wait for the API process, which is started at the same time."""
    deadline = time.monotonic() + API_WITHIN
    while control.health(timeout=1.0) is None:
        if time.monotonic() > deadline:
            raise BootError("The API process doesn't answer.")
        time.sleep(0.03)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
