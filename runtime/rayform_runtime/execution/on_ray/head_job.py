"""The scheduler as a job on the cluster's head: `python -m rayform_runtime.execution.on_ray.head_job KEY`.

Runs there, so a laptop that is closed stops nothing. It writes each event to a file that laptops follow by SSH,
and copies that file to the bucket, where it is read once the head is gone.
"""

from __future__ import annotations

import json
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
from rayform_runtime.execution.on_ray.event_file import HeadRequest, event_to_json, outcome_to_json

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore

__all__ = ["END_MARK", "EventFile", "events_key", "main", "stack_on_machines"]

END_MARK = b'{"rayform_end":'
_COPY_EVERY = 5.0


def events_key(run_id: str) -> str:
    """Return where a run's events lie below the artifact store's root."""
    return f"runs/{run_id}/events.jsonl"


def stack_on_machines(spec: StackSpec, settings: MachineSettings) -> StackSpec:
    """Return the stack as the cluster's machines reach it: no tunnel, the machines' own endpoints and role."""
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
    """A run's events, appended to a file and copied to the bucket now and then.

    Args:
        path: the file; a resumed run goes on in it.
        store: where it is copied to.
        key: under which key.
    """

    def __init__(self, path: Path, store: ArtifactStore, key: str) -> None:
        private_folder(path.parent)
        self._path, self._store, self._key = path, store, key
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        self._changed = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._copy_now_and_then, name="rayform-events", daemon=True)
        self._thread.start()

    def write(self, event: RunEvent) -> None:
        """Append one event; the scheduler's listener."""
        self._file.write(event_to_json(event) + b"\n")
        self._changed = True

    def end(self, **facts: object) -> None:
        """Write how the run ended, as the last line, and copy the file a last time."""
        self._file.write(json.dumps({"rayform_end": facts}).encode() + b"\n")
        self._file.close()
        self._changed = True
        self._ended.set()
        self._thread.join(30)

    def _copy_now_and_then(self) -> None:
        while True:
            ended = self._ended.wait(_COPY_EVERY)
            if self._changed:
                self._changed = False
                try:
                    self._store.put_bytes(self._key, self._path.read_bytes())
                except RayformError as error:
                    sys.stderr.write(f"events were not copied: {error}\n")
                    self._changed = True
            if ended:
                return


def main(argv: list[str]) -> int:
    """Run the request that lies under a key of the stack's bucket; return the job's exit code."""
    if len(argv) != 1:
        raise UsageError("usage: python -m rayform_runtime.execution.on_ray.head_job KEY")
    settings = MachineSettings.read()
    asked = HeadRequest.model_validate_json(_read_request(settings, argv[0]))
    stack = Stack(stack_on_machines(asked.stack, settings))
    events = EventFile(Path(asked.events), stack.artifact_store, events_key(str(asked.request.run_id)))
    try:
        outcome = _run(asked, stack, settings, events)
        events.end(outcome=outcome_to_json(outcome))
        return 0
    except RayformError as error:
        events.end(
            error={
                "type": type(error).__name__,
                "message": error.message,
                "why": error.why,
                "hint": error.hint,
            }
        )
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except BaseException as error:
        traceback.print_exc()
        events.end(error={"type": type(error).__name__, "message": f"{type(error).__name__}: {error}"})
        raise
    finally:
        stack.close()


def _run(asked: HeadRequest, stack: Stack, settings: MachineSettings, events: EventFile) -> RunOutcome:
    from rayform_runtime.cluster.machine.instance_metadata import instance_facts
    from rayform_runtime.cluster.step_workers.fork_preparation import preparation_of
    from rayform_runtime.execution.on_ray.executor import RayExecutor
    from rayform_runtime.execution.on_ray.worker import CodeBundleRef
    from rayform_runtime.execution.scheduling.scheduler import Scheduler

    code = None
    if asked.code_key and asked.code_digest:
        code = CodeBundleRef(asked.code_key, asked.code_digest)
    # Opened while Ray is joined: neither needs the other, and both wait for the network.
    opening = threading.Thread(target=lambda: stack.catalog, daemon=True)
    opening.start()
    executor = RayExecutor(
        address="auto",
        images=asked.images,
        code=code,
        groups=settings.groups(),
        host=instance_facts().private_ip,
        environment={**settings.environment(), **preparation_of(stack.spec)},
        log_store=stack.artifact_store,
    )
    opening.join()
    job_id = os.environ.get("RAYFORM_JOB_ID")
    return Scheduler(asked.request, stack, executor, events.write, orchestrator_id=job_id).run()


def _read_request(settings: MachineSettings, key: str) -> bytes:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        body = settings.client("s3").get_object(Bucket=settings.bucket, Key=f"{settings.prefix}/{key}")[
            "Body"
        ]
        data: bytes = body.read()
    except (BotoCoreError, ClientError) as error:
        raise RemoteError(
            f"The request '{key}' can't be read from the stack's bucket.", why=f"{error}."
        ) from error
    return data


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except RayformError as failed:
        sys.stderr.write(f"{failed}\n")
        sys.exit(failed.exit_code)
