"""One run on a cluster, seen from the laptop: prepare, submit, follow."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
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
from rayform_runtime.execution.on_ray.event_file import HeadRequest, event_from_json, outcome_from_json

if TYPE_CHECKING:
    from rayform_runtime.cluster.config import RayOrchestratorConfig
    from rayform_runtime.cluster.from_laptop.head import ClusterHead
    from rayform_runtime.components import Stack

__all__ = ["events_path", "follow_run", "job_prefix", "start_run"]

_ASK_EVERY = 2.0
_LAST_LINES = 6.0
_OFFLINE_FOR = 900.0


def job_prefix(run_id: UUID) -> str:
    """Return what the IDs of a run's jobs begin with; each start or resume of the run is one job."""
    return f"rayform-{run_id}"


def events_path(run_id: UUID) -> str:
    """Return the file on the head that a run's events are written to."""
    return f"/var/lib/rayform/runs/{run_id}/events.jsonl"


def start_run(
    request: RunRequest, stack: Stack, head: ClusterHead, config: RayOrchestratorConfig, listener: Listener
) -> tuple[str, int]:
    """Build and push images, upload the code, and submit the scheduler as a job on the head.

    Returns:
        the job's ID, and how long the run's events were before it (a resumed run goes on in the same file).

    Raises:
        RayformError: something can't be had; nothing was started.
    """
    told = _Phases(listener, str(request.run_id))
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="rayform-start") as pool:
        ready = pool.submit(head.require_ready)
        token = pool.submit(lambda: head.token)
        tunnel = pool.submit(head.tunnel)
        code = pool.submit(_upload_code, request, stack)
        if request.code_soon is not None:
            request = replace(request, code=request.code_soon.wait(), code_soon=None)
        status = ready.result()
        images = _images(request, stack, config, status, told)
        bundle = code.result()
        token.result()
        tunnel.result()
    number = int(time.time() * 1000)
    job_id = f"{job_prefix(request.run_id)}-{number}"
    asked = HeadRequest(
        request=request,
        stack=stack.spec,
        images=images,
        code_key=bundle.key if bundle else None,
        code_digest=bundle.digest if bundle else None,
        events=events_path(request.run_id),
    )
    key = f"runs/{request.run_id}/request-{number}.json"
    stack.artifact_store.put_bytes(key, asked.model_dump_json().encode())
    offset = _length_of(head, asked.events) if request.resume else 0
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
    return job_id, offset


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
    """Show a run's events as they happen, until it ended.

    A status call that isn't answered, or a connection that breaks, changes nothing: the run goes on there, and
    following goes on where it was.

    Raises:
        RemoteError: the head was out of reach for a quarter of an hour; the run goes on.
        RayformError: what ended the scheduler itself.
    """
    follower = _Follower(run_id, head, offset)
    follower.start()
    asked_at, dead_since, unreachable_since = time.monotonic(), None, None
    try:
        while True:
            item = follower.take(0.2)
            if isinstance(item, RunEvent):
                listener(item)
                if until_running and item.kind == "run" and item.run_status is RunStatus.RUNNING:
                    return RunOutcome(run_id, RunStatus.RUNNING)
                continue
            if isinstance(item, dict):
                return _ended(run_id, item)
            now = time.monotonic()
            if now - asked_at < _ASK_EVERY:
                continue
            asked_at = now
            try:
                finished = job_id is not None and head.jobs().status(job_id).is_finished
                unreachable_since = None
            except NotFoundError:
                finished = True  # The head was replaced: its job went with it.
            except RemoteError:
                finished = False
                unreachable_since = unreachable_since or now
                if now - unreachable_since > _OFFLINE_FOR:
                    raise RemoteError(
                        "The cluster has been out of reach for a quarter of an hour; the run goes on there.",
                        hint=f"`rayform runs follow {run_id}` shows it once the cluster is in reach.",
                    ) from None
            dead_since = (dead_since or now) if finished else None
            if dead_since is not None and now - dead_since > _LAST_LINES:
                return _died(run_id, job_id, stack, head, listener)
    finally:
        follower.stop()


class _Follower:
    """Reads the run's events in a thread, going on where it was when a connection breaks."""

    def __init__(self, run_id: UUID, head: ClusterHead, offset: int) -> None:
        self._head, self._path, self._offset = head, events_path(run_id), offset
        self._queue: queue.SimpleQueue[RunEvent | dict[str, Any]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="rayform-follow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self, timeout: float) -> RunEvent | dict[str, Any] | None:
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
                        break  # Half a line: it is read again, whole.
                    self._offset += len(line)
                    pause = 0.2
                    if self._give(line):
                        return
            except (RemoteError, OSError):
                pass  # Out of reach for now; the loop that asks for the job's status counts how long.
            self._stop.wait(pause)
            pause = min(pause * 2, 10.0)

    def _give(self, line: bytes) -> bool:
        from rayform_runtime.execution.on_ray.head_job import END_MARK

        if line.startswith(END_MARK):
            import json

            self._queue.put(json.loads(line)["rayform_end"])
            return True
        self._queue.put(event_from_json(line))
        return False


class _Phases:
    """Tells about what takes a while before the run starts."""

    def __init__(self, listener: Listener, run_id: str) -> None:
        self._listener, self._run_id = listener, run_id

    def __call__(self, text: str, seconds: float | None) -> None:
        self._listener(RunEvent("phase", datetime.now(UTC), self._run_id, text=text, seconds=seconds))


def _images(
    request: RunRequest,
    stack: Stack,
    config: RayOrchestratorConfig,
    status: dict[str, Any],
    told: Callable[[str, float | None], None],
) -> dict[str, str]:
    registry = stack.container_registry
    if registry is None:
        return {}
    from rayform_runtime.images.build_context import ImagePlatform
    from rayform_runtime.images.builder import ensure_images, plan_images

    python = str(status.get("python_version") or "3.11")
    platform = ImagePlatform(str(status.get("ray_version")), python, build_wheel(home() / "cache" / "wheel"))
    plans = plan_images(
        request.spec,
        project=Path(request.spec.code_root or "."),
        base_image=config.base_image or f"python:{python}-slim",
        platform=platform,
    )
    return {key: _pulled_name(str(found)) for key, found in ensure_images(plans, registry, told).items()}


def _pulled_name(reference: str) -> str:
    """Name an image by its tag alone: tags are digests of content, and a node that has the tag needs no pull."""
    return reference.partition("@")[0]


def _upload_code(request: RunRequest, stack: Stack) -> Any:
    root = request.spec.code_root
    if root is None:
        return None
    from rayform_runtime.usercode.bundle import make_bundle, upload_bundle

    bundle = make_bundle(Path(root))
    upload_bundle(bundle, stack.artifact_store)
    return bundle


def _length_of(head: ClusterHead, path: str) -> int:
    said = head.target.run("sudo", "-n", "sh", "-c", f"stat --format=%s {path} 2>/dev/null || echo 0")
    return int(said.split()[0])


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


def _ended(run_id: UUID, facts: dict[str, Any]) -> RunOutcome:
    if "outcome" in facts:
        return outcome_from_json(facts["outcome"])
    error = facts.get("error") or {}
    kind = _ERRORS.get(str(error.get("type")), RayformError)
    raise kind(
        str(error.get("message") or "The run's scheduler failed."),
        why=error.get("why"),
        hint=error.get("hint"),
    )


def _died(
    run_id: UUID, job_id: str | None, stack: Stack, head: ClusterHead, listener: Listener
) -> RunOutcome:
    """The scheduler's job is gone without a word: the run is interrupted and can be resumed."""
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
