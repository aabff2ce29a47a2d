"""Stops runs and takes them up again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayform_core.errors import ConflictError, IntegrityError, NotFoundError

if TYPE_CHECKING:
    from rayform.reading.client import Client
    from rayform.reading.views import RunView
    from rayform_runtime.components import StackSpec

__all__ = ["resume_on_own_stack", "resume_run", "stop_run"]


def stop_run(client: Client, run: RunView) -> None:
    """End everything of a run that is at work, and nothing else. A run that has ended is left as it is."""
    if not run.status.is_finished:
        client.active_stack.orchestrator.stop(run.id, client.active_stack)


def resume_on_own_stack(client: Client, run: RunView, *, no_cache: bool = False) -> RunView:
    """Go on with a run on the stack that it began on, whichever stack of the same catalog `client` is of.

    See `resume_run` for the rest.

    Raises:
        NotFoundError: its stack isn't registered; names its neighbours.
        ConflictError: the stack of that name has another catalog by now.
    """
    _check_may_go_on(run)
    if not _is_of(run, client.active_stack_model):
        run = _seen_from_own_stack(client, run)
    return resume_run(run.client, run, no_cache=no_cache)


def _seen_from_own_stack(client: Client, run: RunView) -> RunView:
    from rayform.reading.client import Client
    from rayform.stacks import stack_names

    if run.stack_name not in (known := stack_names()):
        error = NotFoundError("stack", run.stack_name, known=known, why=f"Run '{run.name}' began on it.")
        renamed = f"Where it has another name now, go on there: rayform runs resume {run.name} --stack NAME"
        error.hint = f"{error.hint} {renamed}" if error.hint else renamed
        raise error
    try:
        return Client(run.stack_name).get_pipeline_run(run.id)
    except NotFoundError as error:
        if error.kind != "run":
            raise
        raise ConflictError(
            f"Run '{run.name}' is of stack '{run.stack_name}', whose catalog doesn't hold it.",
            why=f"It is in the catalog of stack '{client.active_stack_model.name}'.",
            hint=f"Give stack '{run.stack_name}' that catalog, or run the pipeline anew.",
        ) from error


def _is_of(run: RunView, stack: StackSpec) -> bool:
    """Whether a run began on a stack: under that name, or with the same parts under another."""
    if run.stack_name == stack.name:
        return True
    began_on = run.recorded_stack
    if stack.reference is not None and began_on.get("reference") == stack.reference:
        return True
    parts: object = stack.model_dump(mode="json")["components"]
    return bool(began_on.get("components") == parts)


def resume_run(client: Client, run: RunView, *, no_cache: bool = False) -> RunView:
    """Go on with a run that ended without success, under its own ID: only what is missing is run.

    Blocks until it ends, and shows it.

    Args:
        client: of the stack that it ran on.
        run: the run.
        no_cache: run every missing step rather than look for its results in the cache.

    Raises:
        ConflictError: it is at work, it completed, or it began on another stack.
        PipelineFailedError: it failed again.
    """
    from pydantic import ValidationError

    from rayform.launching.run import execute
    from rayform.launching.spin import with_current_code
    from rayform_runtime.execution.interface import RunRequest
    from rayform_runtime.spec import PipelineSpec

    _check_may_go_on(run)
    stack = client.active_stack_model
    if not _is_of(run, stack):
        raise ConflictError(
            f"Run '{run.name}' is of stack '{run.stack_name}', not of '{stack.name}'.",
            why="A run goes on where it began. Nothing was changed.",
            hint=f"Go on there: rayform runs resume {run.name}",
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


def _check_may_go_on(run: RunView) -> None:
    if not run.status.is_finished:
        raise ConflictError(f"Run '{run.name}' is at work.", hint=f"Watch it: rayform runs follow {run.name}")
    if run.status.value == "completed":
        raise ConflictError(
            f"Run '{run.name}' completed, so there is nothing to resume.",
            hint=f"Run its pipeline again, or one step of it: rayform spin {run.name} STEP",
        )
