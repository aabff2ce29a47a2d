"""Executes a run: traces the pipeline call, launches it on a stack, shows its progress, returns the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from rayform.authoring.code_facts import BackgroundGitFacts, code_place, environment_facts, user_name
from rayform.authoring.run_inputs import RunInputs
from rayform.authoring.tracing import trace_call
from rayform.launching.cached_values import cached_summaries
from rayform.launching.failures import failed_run_error, keep_tracebacks_short
from rayform.launching.progress import PlainProgress, Progress, cache_table
from rayform.launching.run_consent import signed
from rayform.launching.run_names import new_run_name
from rayform.stacks.open import open_stack
from rayform_core.ids import new_id
from rayform_core.terminal import printable
from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.components import ComponentKind, Stack
from rayform_runtime.execution.interface import RunRequest
from rayform_runtime.execution.local.early_start import discard_early_launcher

if TYPE_CHECKING:
    from rayform.authoring.pipelines import Pipeline
    from rayform.launching.run import RunOptions
    from rayform.reading.views import RunView
    from rayform_runtime.spec import PipelineSpec

__all__ = ["execute", "launch", "progress_for"]


def launch(
    pipeline: Pipeline[..., object],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    options: RunOptions,
) -> RunView:
    """Run a pipeline call. `rayform.launching.run.run_pipeline` calls this after it has started the workers."""
    keep_tracebacks_short()
    # Start git first, because it takes as long as the rest of the launch.
    git_facts = BackgroundGitFacts(code_place(pipeline.entrypoint.__module__).root)
    stack = open_stack(options.stack)
    if stack.component(ComponentKind.ORCHESTRATOR).flavor != "local":
        discard_early_launcher()
    stack.orchestrator.warm_up()
    with RunInputs() as run_inputs:
        spec = trace_call(
            pipeline,
            args,
            kwargs,
            config_path=options.config_path,
            parameters=options.parameters,
            run_inputs=run_inputs,
        )
        run_inputs.save(stack)
    run_id = new_id()
    request = RunRequest(
        run_id=run_id,
        run_name=new_run_name(spec, run_id),
        spec=spec,
        no_cache=options.no_cache,
        detach=options.detach,
        explain_cache=options.explain_cache,
        code_soon=git_facts,  # a run on this machine doesn't wait for them before it starts
        environment=environment_facts(),
        user=user_name(),
    )
    if spec.is_dynamic:
        from rayform.launching.bodies import body_of

        with body_of(run_id, pipeline):
            return execute(request, stack)
    return execute(request, stack)


def execute(request: RunRequest, stack: Stack) -> RunView:
    """Launch a request on a stack, show its progress, and return the run.

    `rayform runs resume` and `rayform spin` call this too, with requests of their own.

    Raises:
        PipelineFailedError: the run ended without success.
        KeyboardInterrupt: Ctrl-C stopped it.
    """
    if not request.resume:
        request = replace(request, spec=signed(request.spec, request.run_id))
    shown_spec = request.spec
    if request.only is not None:
        shown_spec = shown_spec.model_copy(
            update={"steps": [s for s in shown_spec.steps if s.key in request.only], "outputs": []}
        )
    # A debugger has the terminal to itself: no list is redrawn around it.
    show = PlainProgress if request.debug else progress_for
    progress = show(shown_spec, request.run_name, stack.name)
    progress.begin()
    try:
        outcome = stack.orchestrator.run(request, stack, progress)
    except KeyboardInterrupt:
        progress.finish(None)
        progress.out.write(
            f"Run {request.run_name} stopped; `rayform runs resume {request.run_name}` runs what is missing.\n"
        )
        raise
    except BaseException:
        progress.finish(None)
        raise
    is_silent = type(progress) is Progress
    if outcome.status is RunStatus.COMPLETED and not is_silent:
        unseen = [output for output in progress.final_outputs() if output not in progress.summaries]
        if unseen:
            progress.summaries.update(cached_summaries(stack, request.run_id, unseen))
    progress.finish(outcome)
    if request.explain_cache:
        progress.out.write("\n" + printable("\n".join(cache_table(request.spec, outcome.cache))) + "\n")
    if outcome.status not in (RunStatus.COMPLETED, RunStatus.RUNNING):
        raise failed_run_error(
            request,
            outcome,
            shown=not is_silent,
            in_images=ComponentKind.CONTAINER_REGISTRY in stack.spec.components,
        )
    from rayform.reading.client import Client

    return Client(stack=stack).get_pipeline_run(request.run_id)


def progress_for(spec: PipelineSpec, run_name: str, stack_name: str, out: IO[str] | None = None) -> Progress:
    """Return the display of a run: none for `RAYFORM_PROGRESS=off`, live on a terminal, else plain lines."""
    terminal = out or sys.stderr
    mode = os.environ.get("RAYFORM_PROGRESS", "auto").lower()
    if mode in ("off", "none", "0", "quiet"):
        return Progress(spec, run_name, stack_name, terminal)
    is_dumb = os.environ.get("TERM", "") in ("", "dumb")
    # The list of a live display is that of the steps that are known at the beginning.
    if spec.is_dynamic or mode == "plain" or (mode != "live" and (is_dumb or not terminal.isatty())):
        return PlainProgress(spec, run_name, stack_name, terminal)
    from rayform.launching.live_progress import LiveProgress

    return LiveProgress(spec, run_name, stack_name, terminal)
