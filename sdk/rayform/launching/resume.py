"""Stops a run, and resumes a run that ended without success."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayform_core.errors import ConflictError, IntegrityError, NotFoundError

if TYPE_CHECKING:
    from rayform.reading.client import Client
    from rayform.reading.views import RunView
    from rayform_runtime.components import StackSpec

__all__ = ["resume_on_own_stack", "resume_run", "stop_run"]


def stop_run(client: Client, run: RunView) -> None:
    """Stop a run: everything of it that is running, and nothing else. A run that has ended isn't changed."""
    if not run.status.is_finished:
        client.active_stack.orchestrator.stop(run.id, client.active_stack)


def resume_on_own_stack(
    client: Client, run: RunView, *, no_cache: bool = False, trust: bool = False
) -> RunView:
    """Resume a run on the stack that it began on, even if `client` uses another stack with the same catalog.

    See `resume_run` for the arguments, and for what else is raised.

    Raises:
        NotFoundError: the run's stack isn't registered; names the nearest ones.
        ConflictError: the stack of that name has another catalog by now.
    """
    _refuse_unresumable(run)
    if not _began_on(run, client.active_stack_model):
        client, run = _from_own_stack(client, run)
    return resume_run(client, run, no_cache=no_cache, trust=trust)


def _from_own_stack(client: Client, run: RunView) -> tuple[Client, RunView]:
    """Return a client of the stack that the run began on, and the run as read by that client."""
    from rayform.reading.client import Client
    from rayform.stacks import stack_names

    if run.stack_name not in (names := stack_names()):
        error = NotFoundError("stack", run.stack_name, known=names, why=f"Run '{run.name}' began on it.")
        renamed = f"If it has another name now: rayform runs resume {run.name} --stack NAME"
        error.hint = f"{error.hint} {renamed}" if error.hint else renamed
        raise error
    own_client = Client(run.stack_name)
    try:
        return own_client, own_client.get_pipeline_run(run.id)
    except NotFoundError as error:
        if error.kind != "run":
            raise
        raise ConflictError(
            f"Run '{run.name}' began on stack '{run.stack_name}', whose catalog doesn't hold it.",
            why=f"The run is in the catalog of stack '{client.active_stack_model.name}'.",
            hint=f"Give stack '{run.stack_name}' that catalog, or run the pipeline again.",
        ) from error


def _began_on(run: RunView, stack: StackSpec) -> bool:
    """Whether a run began on a stack: one of that name, or one with the same parts under another name."""
    if run.stack_name == stack.name:
        return True
    recorded = run.recorded_stack
    if stack.reference is not None and recorded.get("reference") == stack.reference:
        return True
    components: object = stack.model_dump(mode="json")["components"]
    return bool(recorded.get("components") == components)


def resume_run(client: Client, run: RunView, *, no_cache: bool = False, trust: bool = False) -> RunView:
    """Resume a run that ended without success, under its own ID: run only its missing steps.

    Blocks until the run ends, and shows its progress.

    Args:
        client: a client of the stack that the run began on.
        run: the run.
        no_cache: run every missing step instead of looking for its results in the cache; by default the cache
            is used.
        trust: run the code of a run that wasn't begun on this machine.

    Returns:
        the run, as it is at its end.

    Raises:
        ConflictError: the run is running, it completed, or it began on another stack.
        UntrustedRunError: it wasn't begun on this machine, and isn't trusted.
        IntegrityError: its stored pipeline can't be read.
        PipelineFailedError: it failed again.
    """
    from pydantic import ValidationError

    from rayform.launching.execution import execute
    from rayform.launching.run_consent import refuse_untrusted
    from rayform.launching.spin import with_current_code
    from rayform_runtime.execution.interface import RunRequest
    from rayform_runtime.spec import PipelineSpec

    _refuse_unresumable(run)
    stack = client.active_stack_model
    if not _began_on(run, stack):
        raise ConflictError(
            f"Run '{run.name}' began on stack '{run.stack_name}', not on '{stack.name}'.",
            why="A run can only be resumed on the stack where it began. Nothing was changed.",
            hint=f"Resume it there: rayform runs resume {run.name}",
        )
    try:
        spec = PipelineSpec.model_validate(run.config)
    except ValidationError as error:
        raise IntegrityError(
            f"The stored pipeline of run '{run.name}' can't be read.",
            why=f"{error.error_count()} of its fields are wrong.",
            hint="Another version of Rayform wrote it; run the pipeline again.",
        ) from error
    refuse_untrusted(run, spec, is_trusted=trust or client.is_trusted)
    # The body of a dynamic pipeline makes its calls again, with the code as it is now.
    current = spec if spec.is_dynamic else with_current_code(spec)
    request = RunRequest(run_id=run.id, run_name=run.name, spec=current, resume=True, no_cache=no_cache)
    return execute(request, client.active_stack)


def _refuse_unresumable(run: RunView) -> None:
    if not run.status.is_finished:
        raise ConflictError(f"Run '{run.name}' is running.", hint=f"Watch it: rayform runs follow {run.name}")
    if run.status.value == "completed":
        raise ConflictError(
            f"Run '{run.name}' completed, so there is nothing to resume.",
            hint=f"Run its pipeline again, or one step of it: rayform spin {run.name} STEP",
        )
