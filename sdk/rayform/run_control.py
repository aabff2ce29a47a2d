"""Stops runs and takes them up again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayform_core.errors import ConflictError, IntegrityError

if TYPE_CHECKING:
    from rayform.client import Client
    from rayform.views import RunView

__all__ = ["resume_run", "stop_run"]


def stop_run(client: Client, run: RunView) -> None:
    """End everything of a run that is at work, and nothing else. A run that has ended is left as it is."""
    if not run.status.is_finished:
        client.active_stack.orchestrator.stop(run.id, client.active_stack)


def resume_run(client: Client, run: RunView, *, no_cache: bool = False) -> RunView:
    """Go on with a run that ended without success, under its own ID: only what is missing is run.

    Blocks until it ends, and shows it.

    Args:
        client: of the stack that it ran on.
        run: the run.
        no_cache: run every missing step rather than look for its results in the cache.

    Raises:
        ConflictError: it is at work, or it completed.
        PipelineFailedError: it failed again.
    """
    from pydantic import ValidationError

    from rayform.again import with_current_code
    from rayform.running import execute
    from rayform_runtime.execution.interface import RunRequest
    from rayform_runtime.spec import PipelineSpec

    if not run.status.is_finished:
        raise ConflictError(f"Run '{run.name}' is at work.", hint=f"Watch it: rayform runs follow {run.name}")
    if run.status.value == "completed":
        raise ConflictError(
            f"Run '{run.name}' completed, so there is nothing to resume.",
            hint=f"Run its pipeline again, or one step of it: rayform spin {run.name} STEP",
        )
    try:
        spec = PipelineSpec.model_validate(run.config)
    except ValidationError as error:
        raise IntegrityError(
            f"What run '{run.name}' executed can't be read.",
            why=f"{error.error_count()} fields of its stored pipeline are wrong.",
            hint="It was written by another version of Rayform; run the pipeline anew.",
        ) from error
    request = RunRequest(
        run_id=run.id, run_name=run.name, spec=with_current_code(spec), resume=True, no_cache=no_cache
    )
    return execute(request, client.active_stack)
