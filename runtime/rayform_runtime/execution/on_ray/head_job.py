"""The scheduler as a job on the cluster's head: `python -m rayform_runtime.execution.on_ray.head_job KEY`.

It runs on the head, so closing the laptop stops nothing. It writes each event to a file that laptops follow by SSH,
and copies that file to the bucket, where it can be read once the head is gone.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_core.errors import RayformError, RemoteError, UsageError
from rayform_core.files import private_folder
from rayform_runtime.cluster.machine.settings import MachineSettings
from rayform_runtime.components import ComponentKind, Stack, StackSpec
from rayform_runtime.execution.interface import RunEvent, RunOutcome
from rayform_runtime.execution.on_ray.event_file import HeadRequest, RunEnd, RunError, end_line, event_line

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore

__all__ = ["EventFile", "events_key", "main", "stack_on_machines"]

_COPY_EVERY = 5.0


def events_key(run_id: str) -> str:
    """Return the key of a run's events in the artifact store."""
    return f"runs/{run_id}/events.jsonl"


def stack_on_machines(spec: StackSpec, settings: MachineSettings) -> StackSpec:
    """Return the stack as the cluster's machines reach it: without tunnel, by their own endpoints and role."""
    components = {kind: component.model_copy(deep=True) for kind, component in spec.components.items()}
    endpoints = settings.endpoints
    catalog = components.get(ComponentKind.CATALOG)
    if catalog is not None and catalog.flavor == "postgres":
        for name in ("tunnel", "ssh_key", "known_hosts"):
            catalog.config.pop(name, None)
        if catalog.config.get("password_secret"):
            catalog.config["region"] = catalog.config.get("region") or settings.region
            catalog.config["endpoint_url"] = endpoints.get("secretsmanager")
    store = components.get(ComponentKind.ARTIFACT_STORE)
    if store is not None and store.flavor == "s3":
        store.config["endpoint_url"] = endpoints.get("s3")
    registry = components.get(ComponentKind.CONTAINER_REGISTRY)
    if registry is not None and registry.flavor == "ecr":
        registry.config["endpoint_url"] = endpoints.get("ecr")
    orchestrator = components[ComponentKind.ORCHESTRATOR]
    for name in ("ssh_key", "known_hosts"):
        orchestrator.config.pop(name, None)
    return spec.model_copy(update={"components": components})


class EventFile:
    """A run's events in a file, which is copied to the bucket every few seconds.

    Args:
        path: the file; a resumed run appends to it.
        store: the store of the copy.
        key: the copy's key in it.
    """

    def __init__(self, path: Path, store: ArtifactStore, key: str) -> None:
        private_folder(path.parent)
        self._path, self._store, self._key = path, store, key
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        self._changed = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._copy_repeatedly, name="rayform-events", daemon=True)
        self._thread.start()

    def write(self, event: RunEvent) -> None:
        """Append one event; the scheduler's listener."""
        self._file.write(event_line(event))
        self._changed = True

    def end(self, end: RunEnd) -> None:
        """Write how the run ended, as the last line, and copy the file a last time."""
        self._file.write(end_line(end))
        self._file.close()
        self._changed = True
        self._ended.set()
        self._thread.join(30)

    def _copy_repeatedly(self) -> None:
        while True:
            ended = self._ended.wait(_COPY_EVERY)
            if self._changed:
                self._changed = False
                try:
                    self._store.put_bytes(self._key, self._path.read_bytes())
                except RayformError as error:
                    sys.stderr.write(f"The run's events were not copied to the bucket: {error}\n")
                    self._changed = True
            if ended:
                return


def main(argv: list[str]) -> int:
    """Run the request that is stored under a key of the stack's bucket; return the job's exit code."""
    if len(argv) != 1:
        raise UsageError("usage: python -m rayform_runtime.execution.on_ray.head_job KEY")
    settings = MachineSettings.read()
    request = HeadRequest.model_validate_json(_read_request(settings, argv[0]))
    # A stack is one trust domain: who may write its bucket or catalog may run code on its machines anyway.
    spec = stack_on_machines(request.stack, settings).model_copy(update={"is_trusted": True})
    stack = Stack(spec)
    events = EventFile(Path(request.events), stack.artifact_store, events_key(str(request.request.run_id)))
    try:
        events.end(RunEnd(outcome=_run(request, stack, settings, events)))
        return 0
    except RayformError as error:
        kind = type(error).__name__
        events.end(RunEnd(error=RunError(type=kind, message=error.message, why=error.why, hint=error.hint)))
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except BaseException as error:
        traceback.print_exc()
        kind = type(error).__name__
        events.end(RunEnd(error=RunError(type=kind, message=f"{kind}: {error}")))
        raise
    finally:
        stack.close()


def _run(request: HeadRequest, stack: Stack, settings: MachineSettings, events: EventFile) -> RunOutcome:
    from rayform_runtime.cluster.machine.instance_metadata import instance_facts
    from rayform_runtime.cluster.step_workers.fork_preparation import preparation_of
    from rayform_runtime.execution.on_ray.executor import RayExecutor
    from rayform_runtime.execution.on_ray.worker import CodeBundleRef
    from rayform_runtime.execution.scheduling.scheduler import Scheduler

    code = None
    if request.code_key and request.code_digest:
        code = CodeBundleRef(request.code_key, request.code_digest)
    # The catalog opens while the executor joins Ray: neither needs the other, and both wait for the network.
    opening = threading.Thread(target=lambda: stack.catalog, daemon=True)
    opening.start()
    executor = RayExecutor(
        address="auto",
        images=request.images,
        code=code,
        groups=settings.groups(),
        host=instance_facts().private_ip,
        environment={**settings.environment(), **preparation_of(stack.spec)},
        log_store=stack.artifact_store,
    )
    opening.join()
    job_id = os.environ.get("RAYFORM_JOB_ID")

    def code_folder() -> Path | None:
        if code is None:
            return None
        from rayform_runtime.usercode.bundle import fetch_bundle

        return fetch_bundle(stack.spec.model_dump(mode="json"), code.key, code.digest)

    return Scheduler(
        request.request, stack, executor, events.write, orchestrator_id=job_id, code_folder=code_folder
    ).run()


def _read_request(settings: MachineSettings, key: str) -> bytes:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        body = settings.client("s3").get_object(Bucket=settings.bucket, Key=f"{settings.prefix}/{key}")[
            "Body"
        ]
        data: bytes = body.read()
    except (BotoCoreError, ClientError) as error:
        raise RemoteError(
            f"The head can't read the request '{key}' from the stack's bucket.", why=f"{error}."
        ) from error
    return data


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except RayformError as failed:
        sys.stderr.write(f"{failed}\n")
        sys.exit(failed.exit_code)
