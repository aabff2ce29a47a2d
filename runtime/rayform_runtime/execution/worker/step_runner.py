"""The step worker: runs one `StepTask`. The same code in a local process and in a Ray task.

It never writes the catalog. It commits outputs to the artifact store under the IDs that the scheduler chose,
and answers with what the scheduler records.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform_core.errors import PipelineFailedError, RayformError, UsageError
from rayform_core.files import storage_error
from rayform_runtime.artifacts.values import REGISTERED, load_value, save_value
from rayform_runtime.catalog.entities import NewArtifactVersion, StepStatus
from rayform_runtime.catalog.metadata import encode
from rayform_runtime.components import Stack, StackSpec
from rayform_runtime.context import PipelineInfo, RunInfo, StepContext, StepRunInfo, running_step
from rayform_runtime.execution.interface import (
    HookTask,
    OutputFacts,
    StepFacts,
    StepResult,
    StepTask,
    StoredVersion,
    Task,
    TaskInput,
)
from rayform_runtime.execution.worker.arguments import coerced, type_hints_of
from rayform_runtime.execution.worker.surroundings import Surroundings
from rayform_runtime.record_gate import catalog_waits_for
from rayform_runtime.usercode.code_ref import CodeRef
from rayform_runtime.usercode.loading import add_code_root, load_function, load_source
from rayform_runtime.usercode.tracebacks import step_error

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore

__all__ = ["close_stacks", "failed_result", "run_step"]

_stacks: dict[str, Stack] = {}
_LARGEST_KEPT_LIST = 1 << 16
_FETCHED_AT_ONCE = 8
_kept_list: tuple[str, Any] | None = None
"""The list that mapped instances take their elements from, kept from one to the next."""


def run_step(task: Task, stack: Stack | None = None) -> StepResult:
    """Run one step and commit its outputs; never raises for what the step does.

    Args:
        task: what to run.
        stack: the stack; built from the task, and kept for the next one, unless given.

    Returns:
        the result: completed with its outputs, or failed with the person's own traceback.
    """
    started = _now()
    try:
        add_code_root(task.code_root, task.pipeline.import_paths or (".",))
        if isinstance(task, HookTask):
            return _run_hook(task, started)
        assert isinstance(task, StepTask)
        opened = stack if stack is not None else _stack_of(task.stack)
        with catalog_waits_for(partial(_is_recorded, task, opened)) if task.awaits_record else nullcontext():
            return _run(task, task.step, opened, started)
    except Exception as error:  # noqa: BLE001 - everything a step raises is its result
        return failed_result(task, error, started)


def _stack_of(spec: str) -> Stack:
    if spec not in _stacks:
        _stacks[spec] = Stack(StackSpec.model_validate_json(spec))
    return _stacks[spec]


def close_stacks() -> None:
    """Release what the stacks of earlier tasks hold."""
    while _stacks:
        _stacks.popitem()[1].close()


def failed_result(task: Task, error: BaseException, started: datetime | None = None) -> StepResult:
    """Return the result of a task that raised `error`."""
    return StepResult(
        task.step_run_id,
        StepStatus.FAILED,
        error=step_error(error),
        retryable=_is_retryable(error),
        started_at=started,
        ended_at=_now(),
    )


def _is_retryable(error: BaseException) -> bool:
    """Whether a second try could end differently: wrong input and missing types stay wrong."""
    from rayform_core.errors import IntegrityError, NotFoundError, PrerequisiteError

    lasting = (UsageError, NotFoundError, IntegrityError, PrerequisiteError)
    return not isinstance(error, (*lasting, SyntaxError, ImportError))


def _run(task: StepTask, step: StepFacts, stack: Stack, started: datetime) -> StepResult:
    function = load_function(step.source)
    hints = type_hints_of(function)
    arguments = {
        name: _load_input(name, given, hints.get(name), step, stack) for name, given in task.inputs.items()
    }
    context = _context(task, step, stack)
    surroundings = Surroundings()
    with running_step(context), ExitStack() as afterwards:
        afterwards.callback(surroundings.restore)
        try:
            returned = _call(function, arguments, surroundings)
            outputs, lengths, summaries = _save_outputs(returned, task, step, stack, context)
            _check_notes(context)
        except KeyboardInterrupt:
            raise  # only where the step runs in the person's own process
        except BaseException as error:  # noqa: BLE001 - `sys.exit()` too is how a step may end
            if task.pipeline.debug:
                _debug(error)
            if step.on_failure is not None and _is_final(task, error):
                _call_hook(step.on_failure, error)
            return replace(
                failed_result(task, error, started),
                metadata=_kept_notes(context._step_metadata),
                run_metadata=_kept_notes(context._run_metadata),
                model_metadata=_kept_notes(context._model_metadata),
            )
        if step.on_success is not None:
            _call_hook(step.on_success, None)
    return StepResult(
        task.step_run_id,
        StepStatus.COMPLETED,
        outputs=outputs,
        metadata=context._step_metadata,
        run_metadata=context._run_metadata,
        model_metadata=context._model_metadata,
        started_at=started,
        ended_at=_now(),
        map_lengths=lengths,
        summaries=summaries,
    )


def _check_notes(context: StepContext) -> None:
    """Find out here, where it fails this step alone, what the catalog couldn't keep of what the step said.

    Raises:
        UsageError: a value of the metadata, or a tag, can't be kept.
    """
    for notes in (context._step_metadata, context._run_metadata, context._model_metadata):
        if notes:
            encode(notes)
    if context._output_tags:
        from rayform_runtime.catalog.sql.rows import encode_tags

        for tags in context._output_tags.values():
            encode_tags(tags)


def _kept_notes(notes: dict[str, Any]) -> dict[str, Any]:
    """Return what a step that failed said before, unless the catalog couldn't keep it."""
    try:
        encode(notes)
    except UsageError as error:
        print(f"The step's metadata isn't kept: {error}", flush=True)  # noqa: T201 - into the step's log
        return {}
    return notes


def _is_recorded(task: StepTask, stack: Stack) -> bool:
    from rayform_core.errors import NotFoundError

    try:
        recorded = stack.catalog.get_step_run(UUID(task.step_run_id))
    except NotFoundError:
        return False
    return recorded.attempt >= task.attempt  # it may have been recorded with its end


def _call(function: Callable[..., Any], arguments: Mapping[str, Any], surroundings: Surroundings) -> Any:
    error: BaseException | None = None
    try:
        return function(**arguments)
    except BaseException as raised:
        error = raised
        raise
    finally:
        surroundings.leave_if_forked(error)
        surroundings.restore_for_saving()


def _is_final(task: StepTask, error: BaseException) -> bool:
    return task.is_final_attempt or not _is_retryable(error)


def _context(task: StepTask, step: StepFacts, stack: Stack) -> StepContext:
    return StepContext(
        pipeline=PipelineInfo(task.pipeline.name, task.pipeline.parameters),
        pipeline_run=RunInfo(UUID(task.run_id), task.run_name),
        step_run=StepRunInfo(UUID(task.step_run_id), step.key, step.name, task.attempt),
        map_index=task.map_index,
        inputs={
            n: [UUID(v.id) for v in i.versions] for n, i in task.inputs.items() if i.versions is not None
        },
        parameters={n: i.value for n, i in task.inputs.items() if i.versions is None},
        output_ids={name: UUID(chosen) for name, chosen in task.output_ids.items()},
        model_version_id=UUID(task.model_version_id) if task.model_version_id else None,
        stack=stack,
    )


# -- inputs ---------------------------------------------------------------------------------------------------


def _load_input(name: str, given: TaskInput, hint: Any, step: StepFacts, stack: Stack) -> Any:
    if given.versions is None:
        return coerced(given.value, hint, step=step.key, argument=name)
    if given.joined:
        _fetch_together(given.versions, stack.artifact_store)
        return [_load_version(version, stack) for version in given.versions]
    version = given.versions[0]
    if given.index is None:
        return _load_version(version, stack)
    return _load_list(version, stack)[given.index]


def _fetch_together(versions: Sequence[StoredVersion], store: ArtifactStore) -> None:
    """Bring a mapped step's many outputs onto this machine at once: one by one, each waits for the network.

    They are loaded in turn afterwards, since a person's materializer need not be safe in threads; what can't be
    fetched is told then.
    """
    distant = [v for v in versions if not v.uri.startswith("file:") and v.materializer != REGISTERED]
    if len(distant) < 2:
        return

    from concurrent.futures import ThreadPoolExecutor

    def fetch(version: StoredVersion) -> None:
        with contextlib.suppress(RayformError, OSError):
            if store.read_files(version.uri, digest=version.digest) is None:
                with store.open_local(version.uri, digest=version.digest):
                    pass

    with ThreadPoolExecutor(_FETCHED_AT_ONCE, thread_name_prefix="rayform-fetch") as pool:
        list(pool.map(fetch, distant))


def _load_version(version: StoredVersion, stack: Stack) -> Any:
    return load_value(
        stack.artifact_store,
        version.uri,
        digest=version.digest,
        type=version.type,
        materializer=version.materializer,
    )


def _load_list(version: StoredVersion, stack: Stack) -> Any:
    """Load the list that a mapped step's instances take their elements from.

    A short list of plain values is kept for the next instance; a large one, or one of objects that the step
    may change, is loaded anew each time.
    """
    global _kept_list
    if _kept_list is not None and _kept_list[0] == version.uri:
        return _kept_list[1]
    values = _load_version(version, stack)
    plain = all(isinstance(v, str | bytes | int | float | bool | type(None)) for v in values)
    _kept_list = (version.uri, values) if plain and len(values) < _LARGEST_KEPT_LIST else None
    return values


# -- outputs --------------------------------------------------------------------------------------------------


def _save_outputs(
    returned: Any,
    task: StepTask,
    step: StepFacts,
    stack: Stack,
    context: StepContext,
) -> tuple[list[NewArtifactVersion], dict[str, int], dict[str, str]]:
    values = _split(returned, step)
    versions, lengths, summaries = [], {}, {}
    for spec, value in zip(step.outputs, values, strict=True):
        metadata = {**spec.run_metadata, **context._output_metadata.get(spec.name, {})}
        if isinstance(value, list | tuple):
            lengths[spec.name] = len(value)
            # A later run that takes this from the cache learns from it how wide a map over it is.
            metadata.setdefault("length", len(value))
        try:
            saved = save_value(
                stack.artifact_store,
                UUID(task.output_ids[spec.name]),
                value,
                declared_type=_declared_type(spec),
                materializer=_materializer(spec),
                metadata=metadata,
                visualizations=context._output_visualizations.get(spec.name),
                step=step.key,
                output=spec.name,
            )
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise storage_error(error, stack.artifact_store.uri) from error
            raise
        manifest = saved.manifest
        versions.append(
            NewArtifactVersion(
                id=UUID(task.output_ids[spec.name]),
                artifact_name=spec.artifact_name,
                uri=saved.uri,
                type=manifest.type,
                materializer=manifest.materializer,
                digest=manifest.digest,
                size=manifest.size,
                artifact_type=str(spec.artifact_type or saved.artifact_type),
                version=_version_name(spec, task),
                tags=list(dict.fromkeys([*spec.tags, *context._output_tags.get(spec.name, ())])),
                metadata=manifest.metadata,
                visualizations=saved.visualizations,
                output_name=spec.name,
            )
        )
        summaries[spec.name] = saved.summary
    return versions, lengths, summaries


def _version_name(spec: OutputFacts, task: StepTask) -> str | None:
    if spec.version is None or task.map_index is None:
        return spec.version
    return f"{spec.version}-{task.map_index}"  # the instances of a mapped step can't share one name


def _split(returned: Any, step: StepFacts) -> list[Any]:
    """Return one value for each output.

    Raises:
        UsageError: the step returned another number of values than it declares.
    """
    count = len(step.outputs)
    if count == 0:
        return []
    if count == 1:
        return [returned]
    if not isinstance(returned, tuple | list) or len(returned) != count:
        got = f"{len(returned)} values" if isinstance(returned, tuple | list) else type(returned).__name__
        names = ", ".join(f"'{o.name}'" for o in step.outputs)
        raise UsageError(
            f"Step '{step.key}' returned {got}, and it declares {count} outputs: {names}.",
            hint=f"Return a tuple of {count} values.",
        )
    return list(returned)


def _declared_type(spec: OutputFacts) -> Any:
    """Return the annotated type, or `None` where there is none that this process can find."""
    if spec.type is None:
        return None
    try:
        return load_source(spec.type)
    except Exception:  # noqa: BLE001 - only a hint; the value's own type is what counts
        return None


def _materializer(spec: OutputFacts) -> Any:
    return None if spec.materializer is None else load_source(spec.materializer)


# -- hooks ----------------------------------------------------------------------------------------------------


def _call_hook(source: CodeRef, error: BaseException | None) -> None:
    """Call a person's hook; what it raises is printed to the step's log and changes nothing else."""
    try:
        hook = load_function(source)
        if error is None or not _takes_an_argument(hook):
            hook()
        else:
            hook(error)
    except Exception as broken:  # noqa: BLE001 - a broken hook must not turn a result into another
        print(f"Hook '{source}' failed:\n{step_error(broken).traceback}", flush=True)  # noqa: T201


def _takes_an_argument(hook: Callable[..., Any]) -> bool:
    import inspect

    try:
        parameters = inspect.signature(hook).parameters.values()
    except (TypeError, ValueError):
        return True
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in (*positional, inspect.Parameter.VAR_POSITIONAL) for p in parameters)


def _run_hook(task: HookTask, started: datetime) -> StepResult:
    error = PipelineFailedError(task.error) if task.error else None
    _call_hook(task.step.source, error)
    return StepResult(task.step_run_id, StepStatus.COMPLETED, started_at=started, ended_at=_now())


def _debug(error: BaseException) -> None:
    """Open pdb where the step raised (`rayform spin --debug`; only in a process with a terminal)."""
    import pdb
    import sys

    if error.__traceback__ is not None and sys.stdin.isatty() and not isinstance(error, RayformError):
        pdb.post_mortem(error.__traceback__)


def _now() -> datetime:
    return datetime.now(UTC)
