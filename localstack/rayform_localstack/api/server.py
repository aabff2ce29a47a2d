"""Starts the API process: `python -m rayform_localstack.api.server STATE_FILE READY_FD`.

It writes one line to the file descriptor READY_FD: `ready` once every port answers, or an error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rayform_localstack.api.authorization import Authorizer
from rayform_localstack.api.backends import Backends
from rayform_localstack.api.gateway import Gateway
from rayform_localstack.api.http_server import serve
from rayform_localstack.api.layers import KeptLayers
from rayform_localstack.api.metadata import MetadataService
from rayform_localstack.api.moto_parts import part, remembering_hosts
from rayform_localstack.api.moto_patches import patch_moto
from rayform_localstack.api.registry import RegistryGate
from rayform_localstack.labels import container_name
from rayform_localstack.state import CloudState

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from werkzeug.serving import WSGIRequestHandler

__all__ = ["main"]

log = logging.getLogger("rayform.api")


def set_environment(state: CloudState) -> None:
    """Set the environment variables that the imports of moto and botocore read."""
    os.environ["MOTO_ACCOUNT_ID"] = state.account
    os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "true")
    os.environ["AWS_DEFAULT_REGION"] = state.region
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        os.environ.pop(name, None)


class Parts(NamedTuple):
    """What the API process serves; `handler` is moto's own, which extends the environ."""

    gateway: Gateway
    metadata: MetadataService
    handler: type[WSGIRequestHandler] | None


def build(state: CloudState, folder: Path, localstack_port: int) -> Parts:
    """Build the parts of the API process."""
    dispatcher = part("moto_server.werkzeug_app:DomainDispatcherApplication")
    create_backend_app = part("moto_server.werkzeug_app:create_backend_app")
    try:
        handler = part("moto_server.werkzeug_app:MotoRequestHandler")
    except AttributeError:  # the fork inside LocalStack is older
        handler = None
    backends = Backends(state.account, state.region, state.slot, state.registry, state.registry_password)
    patch_moto(backends)
    authorizer = Authorizer(state.access_key, state.secret_key, state.account, enforce=state.enforce_iam)
    limit = state.layers_limit
    layers = KeptLayers(container_name(state.id, "registry"), limit) if limit else None
    registry = RegistryGate(backends, state.registry, authorizer, layers)
    registry.write_certificate(folder / "registry.pem")
    registry.follow_deletions()
    others: dict[str, WSGIApplication] = {}
    facts: dict[str, object] = {"engine": state.engine, "cloud": state.id, "region": state.region}
    if state.engine == "localstack":
        from rayform_localstack.api.localstack_services import FORWARDED, Forwarder

        others = {name: Forwarder(localstack_port, state.account, name) for name in FORWARDED}
        facts["localstack_services"] = sorted(others)
    gateway = Gateway(
        authorizer,
        backends,
        registry,
        state.token,
        remembering_hosts(dispatcher(create_backend_app)),
        others,
        facts,
        state.notice_seconds,
    )
    return Parts(gateway, MetadataService(backends, state.endpoint), handler)


def warm_up(gateway: Gateway) -> None:
    """Load the services that every stack uses: otherwise the first call to each takes up to a second."""
    get_application = getattr(gateway.default, "get_application", None)
    if get_application is not None:
        for service in ("ec2", "iam", "sts", "s3", "rds", "ecr", "secretsmanager", "autoscaling", "tagging"):
            with contextlib.suppress(Exception):
                get_application(
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
    state = CloudState.read(state_file)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    set_environment(state)
    localstack_port = 0
    if state.engine == "localstack":
        from rayform_localstack.api.localstack_services import prepare

        localstack_port = prepare(state, state_file.parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        # The whole state is in memory and ends with the cloud, so there is nothing to wait for.
        signal.signal(number, lambda *_: os._exit(0))
    try:
        parts = build(state, state_file.parent, localstack_port)
        serve(parts.gateway, state.gateway, state.api_port, parts.handler)
        serve(parts.metadata, state.gateway, state.metadata_port)
    except Exception as error:
        log.exception("The API could not start")
        os.write(ready, f"error: {error}\n".encode())
        return 1

    def report_ready() -> None:
        os.write(ready, b"ready\n")
        os.close(ready)
        threading.Thread(target=warm_up, args=(parts.gateway,), daemon=True).start()

    if localstack_port:
        from rayform_localstack.api.localstack_services import run

        run(report_ready)
    else:
        report_ready()
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
