"""Hands steps to Ray, each with its resources, image and environment."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Protocol, cast

from rayform_runtime.execution.interface import StepResult, Task
from rayform_runtime.execution.on_ray.channel import ChannelAddress
from rayform_runtime.execution.on_ray.messages import StepTry
from rayform_runtime.execution.on_ray.placement import ray_options
from rayform_runtime.execution.on_ray.tasks import Attempt, Outcome
from rayform_runtime.execution.on_ray.worker import CodeBundleRef, Order, run_task
from rayform_runtime.spec import ANY_STEP

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ray import ObjectRef

__all__ = ["TaskLauncher", "cancel"]


class _RemoteFunction(Protocol):
    """`run_task` as Ray wraps it; Ray's own types know neither its options nor its optional argument."""

    def options(self, **options: object) -> _RemoteFunction: ...

    def remote(self, *arguments: object) -> ObjectRef[bytes]: ...


@cache
def _remote_function() -> _RemoteFunction:
    """Return `run_task` as Ray's; one for the process, since Ray sends each new one to the cluster again."""
    import ray

    return cast(_RemoteFunction, ray.remote(run_task))


class TaskLauncher:
    """Submits step tasks to a Ray that this process has joined.

    Args:
        entry: import path of the worker function, or the function.
        images: image reference by step key, for the steps that run in images.
        code: the project's code bundle, for workers that don't share this machine's disk.
        environment: variables that every worker gets.
        on_end: called with the outcome of each try, from one of Ray's threads.
    """

    def __init__(
        self,
        entry: str | Callable[[Task], StepResult],
        *,
        images: Mapping[str, str],
        code: CodeBundleRef | None,
        environment: Mapping[str, str],
        on_end: Callable[[StepTry, Outcome], None],
    ) -> None:
        import ray

        self._entry = entry if isinstance(entry, str) else None
        self._functions = () if isinstance(entry, str) else (ray.put(entry),)
        self._images = images
        self._code = code
        self._environment = environment
        self._on_end = on_end
        self._handles: dict[object, _RemoteFunction] = {}
        """Ray's function with a step's options, by step and resources: making one costs more than calling it."""

    def launch(
        self, task: Task, resources: Mapping[str, float], number: int, line: ChannelAddress
    ) -> Attempt:
        """Submit a task; return its attempt.

        Args:
            task: what to run.
            resources: what it asks for, by Ray's names.
            number: which of the executor's tries this is.
            line: where the worker reports to.
        """
        order = pickle.dumps(Order(task, self._entry, line, self._code, number), 5)
        ref = self._handle(task, resources).remote(order, *self._functions)
        about, on_end = StepTry(task.step_run_id, number), self._on_end

        def ended(future: Future[bytes]) -> None:
            on_end(about, _outcome(future))

        ref.future().add_done_callback(ended)
        return Attempt(number, ref, time.monotonic())

    def _handle(self, task: Task, resources: Mapping[str, float]) -> _RemoteFunction:
        key = task.step.key
        options_key = (key, *sorted(resources.items()))
        handle = self._handles.get(options_key)
        if handle is None:
            # A try elsewhere is the executor's decision and an event; Ray's own retries are silent.
            options = {"name": key, "max_retries": 0, **ray_options(resources)}
            if runtime_env := self._runtime_env(task, key, resources):
                options["runtime_env"] = runtime_env
            handle = self._handles[options_key] = _remote_function().options(**options)
        return handle

    def _runtime_env(self, task: Task, key: str, resources: Mapping[str, float]) -> dict[str, object]:
        environment = {**self._environment, **task.pipeline.environment, **task.step.environment}
        # Keys of static pipelines; names, and one image for all others, of dynamic ones.
        image = next((self._images[k] for k in (key, task.step.name, ANY_STEP) if k in self._images), None)
        if image is None:
            return {"env_vars": environment} if environment else {}
        container: dict[str, object] = {"image": image, "environment": environment}
        if memory := resources.get("memory"):
            container["memory"] = int(memory)
        return {"rayform_image": container}


def cancel(attempt: Attempt) -> None:
    """Stop an attempt by force; its outcome still comes. One that has ended is no error."""
    import ray
    from ray.exceptions import RayError

    try:
        ray.cancel(attempt.ref, force=True, recursive=True)
    except (ValueError, RayError):
        pass  # It ended meanwhile; its outcome is on the way.


def _outcome(future: Future[bytes]) -> Outcome:
    error = future.exception()
    if error is None:
        try:
            result, messages = pickle.loads(future.result())  # noqa: S301 - of our own worker
            return Outcome(result, messages)
        except BaseException as unreadable:  # noqa: BLE001 - an error that is raised here reaches nobody
            error = unreadable
    return Outcome(error=error)
