"""What Ray's exceptions mean for a step: its error, and whether the executor should try it again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rayform_runtime.catalog.entities import StepError
from rayform_runtime.cluster.step_workers.image_errors import IMAGE_ERROR_MARK

__all__ = ["ContainerEnd", "Failure", "explain"]

_KILLED = 137
"""Exit code of a container that got SIGKILL: Ray and the system send it, so it doesn't explain anything."""


@dataclass(frozen=True, slots=True)
class ContainerEnd:
    """How a step's container ended.

    Args:
        exit_code: its exit code; above 128 it is 128 and a signal; `None` if it isn't known.
        oom_killed: whether the kernel killed it because it used more memory than it may.
    """

    exit_code: int | None
    oom_killed: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """How a task was lost.

    Args:
        error: the step's error.
        elsewhere: the node caused it, not the step: the executor tries the step on another node.
        process_died: the worker process died, and the step didn't end it.
        retryable: whether the user's own retry policy may try it again.
    """

    error: StepError
    elsewhere: bool = False
    process_died: bool = False
    retryable: bool = True


def explain(
    error: BaseException,
    *,
    exit_code: int | None,
    detail: str,
    node: str | None,
    container: ContainerEnd | None = None,
) -> Failure:
    """Explain why Ray returned no result.

    Args:
        error: what Ray raised.
        exit_code: the exit code that the step's process reported before it ended; `None` if it reported none.
        detail: what the raylet reported about the worker's end, or an empty string.
        node: why the worker's node is gone, or `None` if it lives.
        container: how the step's container ended; `None` if it isn't known.
    """
    from ray import exceptions as ray_errors

    if isinstance(error, ray_errors.RuntimeEnvSetupError):
        return _image_failure(str(error))
    if isinstance(error, ray_errors.OutOfMemoryError) or "OOM" in detail.split("Some common causes")[0]:
        return _failure(
            "OutOfMemory",
            f"The step's worker was stopped because its node ran out of memory. {_first_line(error)}",
        )
    if (end := _end_of_process(exit_code, container)) is not None:
        return end
    if node is not None:
        return _failure("NodeLost", node, elsewhere=True)
    match error:
        case ray_errors.NodeDiedError() | ray_errors.OwnerDiedError():
            return _failure("NodeLost", _first_line(error), elsewhere=True)
        case ray_errors.TaskUnschedulableError():
            return _failure("Unschedulable", _first_line(error), retryable=False)
        case ray_errors.WorkerCrashedError():
            text = "The step's worker process died: it was killed, or crashed in native code."
            return _failure("Crash", f"{text} {_exit_detail(detail)}".rstrip(), process_died=True)
        case ray_errors.ObjectLostError():
            return _failure("NodeLost", _first_line(error), elsewhere=True)
        case ray_errors.RayTaskError():
            return _start_failure(error)
    return _failure(type(error).__name__, _first_line(error))


def _failure(
    kind: str,
    message: str,
    *,
    elsewhere: bool = False,
    process_died: bool = False,
    retryable: bool = True,
) -> Failure:
    return Failure(StepError(kind, message), elsewhere, process_died, retryable)


def _end_of_process(exit_code: int | None, container: ContainerEnd | None) -> Failure | None:
    """Explain an end that the step's process or container reported; `None` if neither did."""
    if container is not None and container.oom_killed:
        return _failure(
            "OutOfMemory",
            "The step's container was killed: it used more memory than the step asked for in `resources`.",
        )
    container_code = container.exit_code if container is not None else None
    if exit_code is None and container_code not in (None, 0, _KILLED):
        exit_code = container_code
        if exit_code is not None and exit_code > 128:
            text = f"The step's process was ended by signal {exit_code - 128} (exit code {exit_code})."
            return _failure("Crash", text, process_died=True)
    if exit_code is None:
        return None
    return _failure("Crash", f"The step ended its own process with exit code {exit_code}.")


def _start_failure(error: BaseException) -> Failure:
    """Explain why a worker couldn't begin. Errors of the step itself arrive as a result, never here."""
    cause = getattr(error, "cause", None) or error
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    message = f"The worker could not begin: {lines[-1].strip()}"
    return Failure(StepError(type(cause).__name__, message, "\n".join(lines[1:])))


def _image_failure(text: str) -> Failure:
    match = re.search(re.escape(IMAGE_ERROR_MARK) + r"\[(\w+)\] (.+)", text)
    if match is None:
        return _failure("EnvironmentError", _first_line(text), retryable=False)
    kind, sentence = match.groups()
    return _failure(kind, sentence.strip(), retryable=kind == "RegistryUnavailable")


def _exit_detail(detail: str) -> str:
    match = re.search(
        r"Worker exit type: (\S+) Worker exit detail: (.+?)(?: Some common causes|$)", detail, re.S
    )
    return f"Ray says: {match.group(2).strip()}" if match else ""


def _first_line(text: object) -> str:
    lines = [line for line in str(text).strip().splitlines() if line.strip()]
    return lines[0].strip() if lines else ""
