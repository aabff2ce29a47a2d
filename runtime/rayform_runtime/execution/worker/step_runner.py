"""The step worker: runs one task. The same code in a local process and in a Ray task.

It reads from top to bottom: load the arguments, call the step's function, save the outputs. It never writes the
catalog: it commits outputs to the artifact store under the IDs that the scheduler chose, and answers with what the
scheduler records.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from rayform_core.errors import PipelineFailedError, RayformError, UsageError
from rayform_runtime.catalog.entities import StepStatus
from rayform_runtime.catalog.metadata import as_stored
from rayform_runtime.components import Stack, StackSpec
from rayform_runtime.context import Additions, context_of, context_of_dead, running_step
from rayform_runtime.execution.interface import HookTask, StepResult, StepTask, Task
from rayform_runtime.execution.worker.arguments import load_arguments
from rayform_runtime.execution.worker.hooks import call_hook, call_init_hook
from rayform_runtime.execution.worker.outputs import save_outputs
from rayform_runtime.execution.worker.seeds import noticing_seeds
from rayform_runtime.execution.worker.surroundings import Surroundings, WarmWorker
from rayform_runtime.record_gate import catalog_waits_for
from rayform_runtime.usercode.loaded_modules import note_loaded_code, places_of
from rayform_runtime.usercode.loading import add_code_root, load_function
from rayform_runtime.usercode.program import enter_program
from rayform_runtime.usercode.tracebacks import step_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rayform_runtime.execution.interface import StepHooks
    from rayform_runtime.usercode.code_ref import CodeRef

__all__ = ["close_stacks", "failed_result", "run_step"]

_worker = WarmWorker()
"""This process, if it is a worker."""
_loaded: set[tuple[str, str | None]] = set()
"""Modules of steps that this process has loaded, with their files."""
_project: tuple[object, ...] = ()
"""The program and the folders that this process has entered; a worker enters them once."""
_stacks: dict[str, Stack] = {}
"""The stacks of earlier tasks, by their JSON; kept until `close_stacks`."""


def run_step(task: Task, stack: Stack | None = None) -> StepResult:
    """Run one task and commit its outputs; never raises what the user's code raises.

    Args:
        task: what to run.
        stack: the stack; by default built from the task, and kept for the next one.

    Returns:
        the result: completed with its outputs, or failed with the user's own traceback.
    """
    started = datetime.now(UTC)
    try:
        if isinstance(task, StepTask):
            opened = stack if stack is not None else _stack_of(task.stack)
            is_recorded = partial(_is_recorded, task, opened)
            with catalog_waits_for(is_recorded) if task.awaits_record else nullcontext():
                result = _run(task, opened, started, _worker if stack is None else None)
            if stack is None and not _worker.end():
                result = result._replace(worker_is_spent=True)
            return result
        assert isinstance(task, HookTask)
        _enter_project(task)
        with (
            nullcontext()
            if task.of_step_run is None
            else running_step(context_of_dead(task, _stack_of(task.stack)))
        ):
            call_hook(task.step.source, PipelineFailedError(task.error) if task.error else None)
        return StepResult(
            task.step_run_id, StepStatus.COMPLETED, started_at=started, ended_at=datetime.now(UTC)
        )
    except Exception as error:  # noqa: BLE001 - whatever a step raises is its result
        return failed_result(task, error, started)


def _run(task: StepTask, stack: Stack, started: datetime, worker: WarmWorker | None) -> StepResult:
    function = _load(task, worker)
    hooks = task.step.hooks
    with (
        note_loaded_code() as loaded,
        running_step(context_of(task, stack)) as context,
        Surroundings() as surroundings,
    ):
        arguments = load_arguments(task, function, stack)
        if worker is not None:
            worker.begin()
        try:
            if hooks.on_init is not None:
                context.additions.pipeline_state = call_init_hook(hooks.on_init, hooks.on_init_kwargs)
            if hooks.on_start is not None:
                call_hook(hooks.on_start, None)
            with _around(task):
                returned = surroundings.call(function, arguments)
            saved = save_outputs(returned, task, context, function)
        except KeyboardInterrupt:
            raise  # only if the step runs in the user's own process
        except BaseException as error:  # noqa: BLE001 - `sys.exit()` too is how a step may end
            return _fail(task, context.additions, error, started)
        _call_end_hooks(hooks, hooks.on_success, None)
    return StepResult(
        task.step_run_id,
        StepStatus.COMPLETED,
        outputs=saved.versions,
        metadata=saved.step_metadata,
        run_metadata=saved.run_metadata,
        model_metadata=saved.model_metadata,
        started_at=started,
        ended_at=datetime.now(UTC),
        map_lengths=saved.lengths,
        summaries=saved.summaries,
        loaded=places_of(loaded, task.code_root),
    )


def _load(task: StepTask, worker: WarmWorker | None) -> Callable[..., object]:
    if worker is None or _project != _project_of(task):
        _enter_project(task)
    source = task.step.source
    place = (source.module, source.file)
    if place in _loaded:
        return load_function(source)
    with noticing_seeds():
        function = load_function(source)
    if source.pickled is None:
        _loaded.add(place)
    return function


def _enter_project(task: Task) -> None:
    global _project
    enter_program(task.pipeline.program)
    add_code_root(task.code_root, task.pipeline.import_paths)
    _project = _project_of(task)


def _project_of(task: Task) -> tuple[object, ...]:
    return task.pipeline.program, task.code_root, task.pipeline.import_paths


# -- failures -------------------------------------------------------------------------------------------------


def failed_result(
    task: Task,
    error: BaseException,
    started: datetime | None = None,
    additions: Additions | None = None,
) -> StepResult:
    """Return the result of a task that raised `error`, with the metadata that the step added before."""
    additions = additions or Additions()
    return StepResult(
        task.step_run_id,
        StepStatus.FAILED,
        metadata=_storable(additions.step_metadata),
        run_metadata=_storable(additions.run_metadata),
        model_metadata=_storable(additions.model_metadata),
        error=step_error(error),
        retryable=_is_retryable(error),
        started_at=started,
        ended_at=datetime.now(UTC),
    )


def _fail(task: StepTask, additions: Additions, error: BaseException, started: datetime) -> StepResult:
    """End a step that raised: open the debugger, call its hook, return its result."""
    if task.pipeline.debug:
        _debug(error)
    hooks = task.step.hooks
    is_final = task.is_final_attempt or not _is_retryable(error)
    _call_end_hooks(hooks, hooks.on_failure if is_final else None, error)
    return failed_result(task, error, started, additions)


def _around(task: StepTask) -> AbstractContextManager[object]:
    """Return what is entered while the step's function runs."""
    around = task.step.hooks.around
    if around is None:
        return nullcontext()
    manager = load_function(around)(task.pipeline.name, task.run_name, task.run_id)
    assert isinstance(manager, AbstractContextManager)
    return manager


def _call_end_hooks(hooks: StepHooks, outcome: CodeRef | None, error: BaseException | None) -> None:
    """Call the hook of the outcome, if it has one, and those that are called however the step ended."""
    for hook, argument in ((outcome, error), (hooks.on_end, error), (hooks.on_cleanup, None)):
        if hook is not None:
            call_hook(hook, argument)


def _is_retryable(error: BaseException) -> bool:
    """Whether a second try could end differently: wrong input and missing types stay wrong."""
    from rayform_core.errors import IntegrityError, NotFoundError, PrerequisiteError

    lasting = (UsageError, NotFoundError, IntegrityError, PrerequisiteError)
    return not isinstance(error, (*lasting, SyntaxError, ImportError))


def _storable(metadata: Mapping[str, object]) -> Mapping[str, object]:
    """Return the metadata of a step that failed, or none if the catalog can't store it."""
    try:
        return as_stored(metadata)
    except UsageError as error:
        print(f"The step's metadata isn't kept: {error}", flush=True)  # noqa: T201 - into the step's log
        return {}


def _debug(error: BaseException) -> None:
    """Open pdb where the step raised (`rayform spin --debug`; only in a process with a terminal)."""
    import pdb
    import sys

    if error.__traceback__ is not None and sys.stdin.isatty() and not isinstance(error, RayformError):
        pdb.post_mortem(error.__traceback__)


# -- the stack ------------------------------------------------------------------------------------------------


def _stack_of(spec: str) -> Stack:
    if spec not in _stacks:
        _stacks[spec] = Stack(StackSpec.model_validate_json(spec))
    return _stacks[spec]


def close_stacks() -> None:
    """Release what the stacks of earlier tasks hold."""
    while _stacks:
        _stacks.popitem()[1].close()


def _is_recorded(task: StepTask, stack: Stack) -> bool:
    """Whether the catalog has the beginning of this try."""
    from rayform_core.errors import NotFoundError

    try:
        recorded = stack.catalog.get_step_run(UUID(task.step_run_id))
    except NotFoundError:
        return False
    return recorded.attempt >= task.attempt  # it may have been recorded with its end
