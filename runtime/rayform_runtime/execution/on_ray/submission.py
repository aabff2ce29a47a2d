"""One run on a cluster, from the laptop: prepare it, submit it, follow it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from rayform_core.errors import (
    ConflictError,
    IntegrityError,
    NotFoundError,
    PipelineFailedError,
    PrerequisiteError,
    RayformError,
    RemoteError,
    UsageError,
)
from rayform_core.files import home
from rayform_core.wheel import build_wheel
from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.execution.interface import Listener, RunEvent, RunOutcome, RunRequest
from rayform_runtime.execution.on_ray.event_file import HeadRequest, RunEnd, read_line

if TYPE_CHECKING:
    from rayform_runtime.cluster.config import RayOrchestratorConfig
    from rayform_runtime.cluster.from_laptop.head import ClusterHead
    from rayform_runtime.cluster.machine.answers import HeadStatus
    from rayform_runtime.components import Stack, StackSpec
    from rayform_runtime.usercode.bundle import CodeBundle

__all__ = ["StartedRun", "events_path", "follow_run", "job_prefix", "start_run"]

_ASK_EVERY = 2.0
"""Seconds between questions for the job's status."""
_LAST_LINES = 6.0
"""Seconds that a run without a job waits for its last events."""
_OFFLINE_FOR = 900.0
"""Seconds that the head may be out of reach before following gives up."""


class StartedRun(NamedTuple):
    """A run's job on the head.

    Args:
        job_id: ID of the job.
        offset: bytes of events that were there before the job: a resumed run appends to the same file.
    """

    job_id: str
    offset: int


def job_prefix(run_id: UUID) -> str:
    """Return what the IDs of a run's jobs begin with; each start or resume of the run is one job."""
    return f"rayform-{run_id}"


def events_path(run_id: UUID) -> str:
    """Return the file on the head that a run's events are written to."""
    return f"/var/lib/rayform/runs/{run_id}/events.jsonl"


def start_run(
    request: RunRequest, stack: Stack, head: ClusterHead, config: RayOrchestratorConfig, listener: Listener
) -> StartedRun:
    """Build and push images, upload the code, and submit the scheduler as a job on the head.

    Raises:
        RayformError: a part failed; nothing was started.
    """
    report = _Phases(listener, str(request.run_id))
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="rayform-start") as pool:
        ready = pool.submit(head.require_ready)
        token = pool.submit(lambda: head.token)
        tunnel = pool.submit(head.tunnel)
        code = pool.submit(_upload_code, request, stack, listener)
        if request.code_soon is not None:
            request = replace(request, code=request.code_soon.wait(), code_soon=None)
        status = ready.result()
        images = _images(request, stack, config, status, report)
        bundle = code.result()
        token.result()
        tunnel.result()
    number = int(time.time() * 1000)
    job_id = f"{job_prefix(request.run_id)}-{number}"
    head_request = HeadRequest(
        request=request,
        stack=_for_machines(stack.spec),
        images=images,
        code_key=bundle.key if bundle else None,
        code_digest=bundle.digest if bundle else None,
        events=events_path(request.run_id),
    )
    key = f"runs/{request.run_id}/request-{number}.json"
    stack.artifact_store.put_bytes(key, head_request.model_dump_json().encode())
    offset = _length_of(head, head_request.events) if request.resume else 0
    from rayform_runtime.cluster.from_laptop.head import HEAD_PYTHON

    head.jobs().submit(
        job_id,
        f"{HEAD_PYTHON} -m rayform_runtime.execution.on_ray.head_job {key}",
        metadata={
            "rayform_run": str(request.run_id),
            "rayform_run_name": request.run_name,
            "rayform_pipeline": request.spec.name,
        },
        environment={"RAYFORM_JOB_ID": job_id, "PYTHONUNBUFFERED": "1"},
    )
    return StartedRun(job_id, offset)


def follow_run(
    run_id: UUID,
    job_id: str | None,
    stack: Stack,
    head: ClusterHead,
    listener: Listener,
    *,
    offset: int = 0,
    until_running: bool = False,
) -> RunOutcome:
    """Show a run's events as they happen, until the run has ended.

    A status call without an answer, or a connection that breaks, changes nothing: the run goes on in the cluster,
    and following continues at the same event.

    Raises:
        RemoteError: the head was out of reach for a quarter of an hour; the run goes on.
        RayformError: the error that ended the scheduler.
    """
    follower = _Follower(run_id, head, offset)
    job = _JobWatch(run_id, job_id, head)
    try:
        while True:
            item = follower.take(0.2)
            if isinstance(item, RunEvent):
                listener(item)
                if until_running and item.kind == "run" and item.run_status is RunStatus.RUNNING:
                    return RunOutcome(run_id, RunStatus.RUNNING)
                continue
            if isinstance(item, RunEnd):
                return _outcome_of(item)
            if job.is_gone():
                return _died(run_id, job_id, stack, head, listener)
    finally:
        follower.stop()


class _JobWatch:
    """Asks now and then whether a run's job still runs."""

    def __init__(self, run_id: UUID, job_id: str | None, head: ClusterHead) -> None:
        self._run_id, self._job_id, self._head = run_id, job_id, head
        self._asked_at = time.monotonic()
        self._dead_since: float | None = None
        self._unreachable_since: float | None = None

    def is_gone(self) -> bool:
        """Whether the job has ended, and the run's last events had time to arrive.

        Raises:
            RemoteError: the head was out of reach for a quarter of an hour.
        """
        now = time.monotonic()
        if now - self._asked_at < _ASK_EVERY:
            return False
        self._asked_at = now
        self._dead_since = (self._dead_since or now) if self._is_finished(now) else None
        return self._dead_since is not None and now - self._dead_since > _LAST_LINES

    def _is_finished(self, now: float) -> bool:
        try:
            finished = self._job_id is not None and self._head.jobs().status(self._job_id).is_finished
        except NotFoundError:
            return True  # The head was replaced, and its job is gone with it.
        except RemoteError:
            self._unreachable_since = self._unreachable_since or now
            if now - self._unreachable_since > _OFFLINE_FOR:
                raise RemoteError(
                    "The cluster has been out of reach for a quarter of an hour. The run goes on in it.",
                    hint=f"`rayform runs follow {self._run_id}` shows the run once the cluster can be reached.",
                ) from None
            return False
        self._unreachable_since = None
        return finished


class _Follower:
    """Reads a run's events in a thread, and continues at the same event after a broken connection."""

    def __init__(self, run_id: UUID, head: ClusterHead, offset: int) -> None:
        self._head, self._path, self._offset = head, events_path(run_id), offset
        self._queue: queue.SimpleQueue[RunEvent | RunEnd] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="rayform-follow", daemon=True)
        self._thread.start()

    def take(self, timeout: float) -> RunEvent | RunEnd | None:
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=3)

    def _read(self) -> None:
        pause = 0.2
        while not self._stop.is_set():
            try:
                for line in self._head.follow_file(self._path, self._offset, self._stop):
                    if not line.endswith(b"\n"):
                        break  # Half a line: the next connection reads it whole.
                    self._offset += len(line)
                    pause = 0.2
                    item = read_line(line)
                    self._queue.put(item)
                    if isinstance(item, RunEnd):
                        return
            except (RemoteError, OSError):
                pass  # Out of reach for now; `follow_run` counts how long.
            self._stop.wait(pause)
            pause = min(pause * 2, 10.0)


class _Phases:
    """Reports the slow phases before the run starts."""

    def __init__(self, listener: Listener, run_id: str) -> None:
        self._listener, self._run_id = listener, run_id

    def __call__(self, text: str, seconds: float | None) -> None:
        self._listener(RunEvent("phase", datetime.now(UTC), self._run_id, text=text, seconds=seconds))


def _images(
    request: RunRequest,
    stack: Stack,
    config: RayOrchestratorConfig,
    status: HeadStatus,
    report: Callable[[str, float | None], None],
) -> dict[str, str]:
    registry = stack.container_registry
    if registry is None:
        return {}
    from rayform_runtime.images.build_context import ImagePlatform
    from rayform_runtime.images.builder import ensure_images, plan_images

    python = status.python_version or "3.11"
    platform = ImagePlatform(str(status.ray_version), python, build_wheel(home() / "cache" / "wheel"))
    plans = plan_images(
        request.spec,
        project=Path(request.spec.code_root or "."),
        base_image=config.base_image or f"python:{python}-slim",
        platform=platform,
    )
    return {key: _pulled_name(str(image)) for key, image in ensure_images(plans, registry, report).items()}


def _pulled_name(reference: str) -> str:
    """Name an image by its tag alone: tags are digests of content, and a node that has the tag needs no pull."""
    return reference.partition("@")[0]


def _for_machines(spec: StackSpec) -> StackSpec:
    """Return the stack with what is a file of this machine, and needed on others, as text."""
    from rayform_runtime.catalog.tls import as_text
    from rayform_runtime.components import ComponentKind

    catalog = spec.components.get(ComponentKind.CATALOG)
    if catalog is None or not catalog.config.get("ca_bundle"):
        return spec
    config = {**catalog.config, "ca_bundle": as_text(str(catalog.config["ca_bundle"]))}
    changed = catalog.model_copy(update={"config": config})
    return spec.model_copy(update={"components": {**spec.components, ComponentKind.CATALOG: changed}})


def _upload_code(request: RunRequest, stack: Stack, listener: Listener) -> CodeBundle | None:
    root = request.spec.code_root
    if root is None:
        return None
    from rayform_runtime.usercode.bundle import left_out_note, make_bundle, upload_bundle

    bundle = make_bundle(Path(root))
    is_new = upload_bundle(bundle, stack.artifact_store)
    if is_new and (note := left_out_note(bundle)):
        listener(RunEvent("log", datetime.now(UTC), str(request.run_id), text=note))
    return bundle


def _length_of(head: ClusterHead, path: str) -> int:
    size = head.target.run("sudo", "-n", "sh", "-c", f"stat --format=%s {path} 2>/dev/null || echo 0")
    return int(size.split()[0])


_ERRORS: dict[str, type[RayformError]] = {
    error.__name__: error
    for error in (
        ConflictError,
        IntegrityError,
        PipelineFailedError,
        PrerequisiteError,
        RemoteError,
        UsageError,
    )
}


def _outcome_of(end: RunEnd) -> RunOutcome:
    """Return the run's outcome, or raise the error that ended its scheduler."""
    if end.outcome is not None:
        return end.outcome
    if end.error is None:
        raise RayformError("The run's scheduler failed.")
    raise _ERRORS.get(end.error.type, RayformError)(
        end.error.message or "The run's scheduler failed.", why=end.error.why, hint=end.error.hint
    )


def _died(
    run_id: UUID, job_id: str | None, stack: Stack, head: ClusterHead, listener: Listener
) -> RunOutcome:
    """Record a run as interrupted whose job ended without a result; it can be resumed."""
    why = "The scheduler's job on the head died"
    try:
        if job_id is not None:
            why = head.jobs().status(job_id).message.strip() or why
    except (RemoteError, NotFoundError):
        pass
    run = stack.catalog.get_run(run_id, hydrate=False)
    if not run.status.is_finished:
        stack.catalog.mark_interrupted(dead=[run_id])
        run = stack.catalog.get_run(run_id, hydrate=False)
    cause = why.splitlines()[0].partition(", last available logs")[0][:300]
    text = f"the scheduler's job on the head ended without a result ({cause})"
    now = datetime.now(UTC)
    listener(RunEvent("phase", now, str(run_id), text=text))
    listener(RunEvent("run", now, str(run_id), run_status=run.status, text=text))
    return RunOutcome(run_id, run.status)
