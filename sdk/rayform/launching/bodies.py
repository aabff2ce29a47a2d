"""Runs the bodies of dynamic pipelines next to the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from rayform.authoring.flow.dynamic_spec import local_types
from rayform.authoring.options.overrides import NOTHING, Overrides
from rayform.authoring.steps import current_trace
from rayform_runtime.spec import ArtifactInput, ListInput, PipelineSpec, ValueInput

if TYPE_CHECKING:
    from rayform.authoring.pipelines import Pipeline
    from rayform_runtime.components import Stack
    from rayform_runtime.execution.interface import RunRequest
    from rayform_runtime.execution.scheduling.dynamic.calls import Calls

__all__ = ["body_of", "run_body"]

_pipelines: dict[UUID, Pipeline[..., object]] = {}
"""The pipelines whose call started a run in this process, by the run's ID: their options are those of the call."""


@contextmanager
def body_of(run_id: UUID, pipeline: Pipeline[..., object]) -> Iterator[None]:
    """Let the body of a run be that of this very pipeline, if the run is scheduled in this process."""
    _pipelines[run_id] = pipeline
    try:
        yield
    finally:
        _pipelines.pop(run_id, None)


def run_body(
    request: RunRequest, stack: Stack, calls: Calls, code_folder: Callable[[], Path | None] | None = None
) -> None:
    """Run the body of a dynamic pipeline; each of its step calls is added to `calls`.

    Args:
        request: the run.
        stack: has the values that the body loads.
        calls: receives the calls.
        code_folder: returns the project's folder on this machine; by default the folder that the run was traced in.

    Raises:
        Exception: what the body raised.
    """
    from rayform.authoring.flow.dynamic import DynamicTrace
    from rayform.authoring.pipelines import Pipeline

    spec = request.spec
    pipeline = _pipelines.get(request.run_id) or _loaded(spec, code_folder)
    options = {**pipeline.options, "name": spec.name, "enable_cache": spec.cache_by_default}
    pipeline = Pipeline(pipeline.entrypoint, cast("Any", options))
    trace = DynamicTrace(pipeline, _overrides(spec), stack, calls, spec.step_images)
    arguments = _arguments(spec, pipeline, stack)
    token = current_trace.set(trace)
    try:
        pipeline.entrypoint(**arguments)
    finally:
        current_trace.reset(token)


def _loaded(spec: PipelineSpec, code_folder: Callable[[], Path | None] | None) -> Pipeline[..., object]:
    """Load the pipeline from the user's code on this machine."""
    from rayform.authoring.pipelines import Pipeline
    from rayform_runtime.usercode.code_ref import CodeRef
    from rayform_runtime.usercode.loading import add_code_root, load_source
    from rayform_runtime.usercode.program import Program, as_program

    source, program, root = CodeRef.of(spec.source), Program.of(spec.program), spec.code_root
    folder = code_folder() if code_folder is not None else None
    if folder is not None and root is not None:
        source, program = source.moved(root, folder), program.moved(root, folder)
        root = str(folder)
    add_code_root(root, spec.import_paths)
    with as_program(program):
        target = load_source(source)
    return target if isinstance(target, Pipeline) else Pipeline(target)


def _overrides(spec: PipelineSpec) -> Overrides:
    if spec.overrides is None:
        return NOTHING
    from rayform.authoring.configuration import PipelineConfiguration

    return PipelineConfiguration.model_validate(spec.overrides)


def _arguments(spec: PipelineSpec, pipeline: Pipeline[..., object], stack: Stack) -> dict[str, object]:
    from rayform_runtime.artifacts.exact_values import decode_argument

    local = local_types(spec, pipeline)
    arguments: dict[str, object] = {}
    for name, source in spec.arguments.items():
        if isinstance(source, ValueInput):
            exact = source.exact
            arguments[name] = source.value if exact is None else decode_argument(exact, local)
        elif isinstance(source, ArtifactInput):
            arguments[name] = _stored(source, stack, is_view=name in spec.stored_arguments)
        elif isinstance(source, ListInput):
            values = [
                _stored(item, stack, is_view=True) for item in source.items if isinstance(item, ArtifactInput)
            ]
            arguments[name] = tuple(values) if source.is_tuple else values
    return arguments


def _stored(source: ArtifactInput, stack: Stack, *, is_view: bool) -> object:
    from rayform.reading.client import Client
    from rayform_runtime.artifacts.values import load_value

    version = Client(stack=stack).get_artifact_version(source.artifact_version_id)
    if is_view:
        return version
    record = version.record
    return load_value(
        stack.artifact_store,
        record.uri,
        digest=record.digest,
        type=record.type,
        materializer=record.materializer,
    )
