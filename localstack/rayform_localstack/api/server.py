"""Starts the API process: `python -m rayform_localstack.api.server STATE_FILE READY_FD`.

Writes one line to the file descriptor READY_FD once every port answers, or the error that kept it from it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from rayform_localstack.api.authorization import Authorizer
from rayform_localstack.api.backends import Backends
from rayform_localstack.api.gateway import Application, Gateway
from rayform_localstack.api.http_server import serve
from rayform_localstack.api.layers import KeptLayers
from rayform_localstack.api.metadata import MetadataService
from rayform_localstack.api.moto_parts import part, remembering_hosts
from rayform_localstack.api.moto_patches import patch_moto
from rayform_localstack.api.registry import RegistryGate
from rayform_localstack.labels import container_name

__all__ = ["main"]

log = logging.getLogger("rayform.api")


def settings(state: dict[str, Any]) -> None:
    """Set what moto and botocore read from the environment when they are imported."""
    os.environ["MOTO_ACCOUNT_ID"] = state["account"]
    os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "true")
    os.environ["AWS_DEFAULT_REGION"] = state["region"]
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        os.environ.pop(name, None)


def build(state: dict[str, Any], folder: Path, localstack_port: int) -> tuple[Gateway, MetadataService, Any]:
    """Put the parts together."""
    dispatcher = part("moto_server.werkzeug_app:DomainDispatcherApplication")
    create_backend_app = part("moto_server.werkzeug_app:create_backend_app")
    try:
        handler = part("moto_server.werkzeug_app:MotoRequestHandler")
    except AttributeError:  # the fork inside LocalStack is older
        handler = None
    registry_address = f"127.77.{state['slot']}.1:{state['registry_port']}"
    endpoint = f"http://{state['gateway']}:{state['api_port']}"
    backends = Backends(
        state["account"], state["region"], state["slot"], registry_address, state["registry_password"]
    )
    patch_moto(backends)
    authorizer = Authorizer(
        state["access_key"], state["secret_key"], state["account"], enforce=state["enforce_iam"]
    )
    limit = state["layers_limit"]
    layers = KeptLayers(container_name(state["id"], "registry"), limit) if limit else None
    registry = RegistryGate(backends, registry_address, authorizer, layers)
    registry.write_certificate(folder / "registry.pem")
    registry.follow_deletions()
    others: dict[str, Application] = {}
    versions: dict[str, Any] = {}
    if state["engine"] == "localstack":
        from rayform_localstack.api.localstack_services import FORWARDED, Forwarder

        others = {name: Forwarder(localstack_port, state["account"], name) for name in FORWARDED}
        versions["localstack_services"] = sorted(others)
    gateway = Gateway(
        authorizer,
        backends,
        registry,
        state["token"],
        remembering_hosts(dispatcher(create_backend_app)),
        others,
        {"engine": state["engine"], "cloud": state["id"], "region": state["region"], **versions},
        state["notice_seconds"],
    )
    return gateway, MetadataService(backends, endpoint), handler


def warm_up(gateway: Gateway) -> None:
    """Load the services of every stack now, in the background: the first call to each costs up to a second."""
    application: Any = gateway.default
    if hasattr(application, "get_application"):
        for service in ("ec2", "iam", "sts", "s3", "rds", "ecr", "secretsmanager", "autoscaling", "tagging"):
            with contextlib.suppress(Exception):
                application.get_application(
                    {
                        "PATH_INFO": "/",
                        "HTTP_HOST": "localhost",
                        "HTTP_AUTHORIZATION": (
                            f"AWS4-HMAC-SHA256 Credential=k/20200101/us-east-1/{service}/aws4_request, x"
                        ),
                    }
                )


def main(arguments: list[str]) -> int:
    """Run until SIGTERM."""
    state_file, ready = Path(arguments[0]), int(arguments[1])
    state = json.loads(state_file.read_text())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    settings(state)
    localstack_port = 0
    if state["engine"] == "localstack":
        from rayform_localstack.api.localstack_services import prepare

        localstack_port = prepare(state, state_file.parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Everything is in memory and its end is the cloud's end: nothing is left to wait for.
        signal.signal(number, lambda *_: os._exit(0))
    try:
        gateway, metadata, handler = build(state, state_file.parent, localstack_port)
        serve(gateway, state["gateway"], state["api_port"], handler)
        serve(metadata, state["gateway"], state["metadata_port"])
    except Exception as error:
        log.exception("The API could not start")
        os.write(ready, f"error: {error}\n".encode())
        return 1

    def tell_ready() -> None:
        os.write(ready, b"ready\n")
        os.close(ready)
        threading.Thread(target=warm_up, args=(gateway,), daemon=True).start()

    if localstack_port:
        from rayform_localstack.api.localstack_services import run

        run(tell_ready)
    else:
        tell_ready()
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
