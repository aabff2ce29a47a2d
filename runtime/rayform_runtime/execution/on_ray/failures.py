"""What Ray's exceptions mean for a step: its error, and whether another try elsewhere is ours to make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayform_runtime.catalog.entities import StepError
from rayform_runtime.cluster.step_workers.image_errors import IMAGE_ERROR_MARK

__all__ = ["Failure", "explain"]


@dataclass(frozen=True, slots=True)
class Failure:
    """How a task was lost.

    Args:
        error: for the step.
        elsewhere: the cause lies in the node, not in the step: it is tried again on another.
        process_died: the worker process ended and nothing says that the step itself ended it.
        retryable: whether the person's own retry policy may try it again.
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
    container: Mapping[str, Any] | None = None,
) -> Failure:
    """Explain why Ray gave no result.

    Args:
        error: what Ray raised.
        exit_code: the code that the step's process said it ends with, or the container's, where known.
        detail: what the raylet said of the worker's end, or an empty string.
        node: why the worker's node is gone, or `None` where it lives.
        container: how the step's container ended: `exit_code`, `oom_killed`.
    """
    from ray import exceptions as ray_errors

    if isinstance(error, ray_errors.RuntimeEnvSetupError):
        return _image_failure(str(error))
    if isinstance(error, ray_errors.OutOfMemoryError) or "OOM" in detail.split("Some common causes")[0]:
        return Failure(
            StepError(
                "OutOfMemory",
                f"The step's worker was stopped because its node ran out of memory. {_first(str(error))}",
            )
        )
    if container is not None and container.get("oom_killed"):
        return Failure(
            StepError(
                "OutOfMemory",
                "The step's container was killed: it used more memory than the step asked for in `resources`.",
            )
        )
    if exit_code is None and container is not None and container.get("exit_code") not in (None, 0, 137):
        exit_code = int(container["exit_code"])
        if exit_code > 128:
            return Failure(
                StepError(
                    "Crash",
                    f"The step's process was ended by signal {exit_code - 128} (exit code {exit_code}).",
                ),
                process_died=True,
            )
    if exit_code is not None:
        return Failure(StepError("Crash", f"The step ended its own process with exit code {exit_code}."))
    if isinstance(error, ray_errors.NodeDiedError | ray_errors.OwnerDiedError) or node is not None:
        return Failure(StepError("NodeLost", node or _first(str(error))), elsewhere=True)
    if isinstance(error, ray_errors.TaskUnschedulableError):
        return Failure(StepError("Unschedulable", _first(str(error))), retryable=False)
    if isinstance(error, ray_errors.WorkerCrashedError):
        return Failure(
            StepError(
                "Crash",
                "The step's worker process died: it was killed, or crashed in native code. "
                + _exit_detail(detail),
            ),
            process_died=True,
        )
    if isinstance(error, ray_errors.ObjectLostError):
        return Failure(StepError("NodeLost", _first(str(error))), elsewhere=True)
    if isinstance(error, ray_errors.RayTaskError):
        # Not the step's own error, which the worker answers: the worker could not even begin.
        cause = getattr(error, "cause", None) or error
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        name = type(cause).__name__
        return Failure(
            StepError(name, f"The worker could not begin: {lines[-1].strip()}", "\n".join(lines[1:]))
        )
    return Failure(StepError(type(error).__name__, _first(str(error))))


def _image_failure(text: str) -> Failure:
    found = re.search(re.escape(IMAGE_ERROR_MARK) + r"\[(\w+)\] (.+)", text)
    if found is None:
        return Failure(StepError("EnvironmentError", _first(text)), retryable=False)
    kind, sentence = found.groups()
    return Failure(StepError(kind, sentence.strip()), retryable=kind in ("RegistryUnavailable",))


def _exit_detail(detail: str) -> str:
    found = re.search(
        r"Worker exit type: (\S+) Worker exit detail: (.+?)(?: Some common causes|$)", detail, re.S
    )
    return f"Ray says: {found.group(2).strip()}" if found else ""


def _first(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[0].strip() if lines else ""
