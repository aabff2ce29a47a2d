"""From a pipeline call to a finished run: trace it, choose the stack, launch, show, and answer with the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform.authoring.code_facts import GitFactsSoon, code_place, environment_facts, user_name
from rayform.authoring.overrides import NOTHING, Overrides
from rayform.authoring.tracing import trace_pipeline
from rayform.launching.cached_values import cached_summaries
from rayform.launching.failures import failed_run_error, keep_tracebacks_short
from rayform.launching.progress import PlainProgress, Progress, cache_table, progress_for
from rayform.stacks.open import open_stack
from rayform_core.errors import UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.components import ComponentKind, Stack
from rayform_runtime.execution.interface import RunRequest
from rayform_runtime.execution.local.early_start import discard_early_launcher

if TYPE_CHECKING:
    from rayform.authoring.pipelines import Pipeline
    from rayform.reading.views import RunView
    from rayform_runtime.spec import PipelineSpec

__all__ = ["RunOptions", "execute", "open_stack", "run_name_for", "run_pipeline", "traced"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is launched, beside what the pipeline says.

    Args:
        parameters: values that go before code and configuration file (`-p name=value`).
        config_path: configuration file; goes before the pipeline's own.
        stack: stack to run on; the active one unless told.
        no_cache: run every step.
        explain_cache: say for each step why it was, or wasn't, taken from the cache.
        detach: return once the run is accepted, where the stack's orchestrator can go on by itself.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    config_path: str | Path | None = None
    stack: str | None = None
    no_cache: bool = False
    explain_cache: bool = False
    detach: bool = False


def traced(
    pipeline: Pipeline[Any, Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
) -> PipelineSpec:
    """Return what a run of this pipeline call would execute.

    Raises:
        UsageError: an argument, an option, the configuration or the body is wrong.
    """
    options = options or RunOptions()
    path = options.config_path or pipeline.options.get("config_path")
    configuration: Overrides = NOTHING
    if path:
        from rayform.authoring.configuration import read_configuration

        configuration = read_configuration(path)
    if options.parameters:
        configuration = configuration.with_parameters(options.parameters)
    spec = trace_pipeline(pipeline, args, dict(kwargs or {}), configuration)
    place = code_place(pipeline.entrypoint.__module__)
    return spec.model_copy(update={"code_root": str(place.root), "import_paths": list(place.import_paths)})


def run_pipeline(
    pipeline: Pipeline[Any, Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
) -> RunView:
    """Run a pipeline on a stack, show it, wait for its end, and return the run.

    Raises:
        PipelineFailedError: a step failed, or the run was stopped.
        UsageError: the pipeline, an argument or the configuration is wrong; nothing ran.
    """
    keep_tracebacks_short()
    options = options or RunOptions()
    place = code_place(pipeline.entrypoint.__module__)
    code = GitFactsSoon(place.root)
    stack = open_stack(options.stack)
    if stack.component(ComponentKind.ORCHESTRATOR).flavor != "local":
        discard_early_launcher()
    stack.orchestrator.warm_up()
    spec = traced(pipeline, args, kwargs, options)
    run_id = new_id()
    request = RunRequest(
        run_id=run_id,
        run_name=run_name_for(spec, run_id),
        spec=spec,
        no_cache=options.no_cache,
        detach=options.detach,
        explain_cache=options.explain_cache,
        code_soon=code,  # a run on this machine needn't wait for it
        environment=environment_facts(),
        user=user_name(),
    )
    return execute(request, stack, explain_cache=options.explain_cache)


def execute(
    request: RunRequest,
    stack: Stack,
    *,
    explain_cache: bool = False,
    progress: Callable[[PipelineSpec, str, str], Progress] = progress_for,
) -> RunView:
    """Launch a request on a stack, show it, and return the run.

    `rayform runs resume` and `rayform spin` come in here too, with requests of their own.

    Raises:
        PipelineFailedError: the run ended without success.
        KeyboardInterrupt: it was stopped by Ctrl-C.
    """
    seen = request.spec
    if request.only is not None:
        seen = seen.model_copy(
            update={"steps": [s for s in seen.steps if s.key in request.only], "outputs": []}
        )
    # A debugger has the terminal to itself: no list is redrawn around it.
    shown = (PlainProgress if request.debug else progress)(seen, request.run_name, stack.name)
    shown.begin()
    try:
        outcome = stack.orchestrator.run(request, stack, shown)
    except KeyboardInterrupt:
        shown.finish(None)
        shown.out.write(
            f"Run {request.run_name} stopped; `rayform runs resume {request.run_name}` runs what is missing.\n"
        )
        raise
    except BaseException:
        shown.finish(None)
        raise
    if outcome.status is RunStatus.COMPLETED and type(shown) is not Progress:
        unseen = [one for one in shown.final_outputs() if one not in shown.summaries]
        if unseen:
            shown.summaries.update(cached_summaries(stack, request.run_id, unseen))
    shown.finish(outcome)
    if explain_cache:
        shown.out.write("\n" + "\n".join(cache_table(request.spec, outcome.cache)) + "\n")
    if outcome.status not in (RunStatus.COMPLETED, RunStatus.RUNNING):
        raise failed_run_error(
            request,
            outcome,
            shown=bool(type(shown) is not Progress),
            in_images=ComponentKind.CONTAINER_REGISTRY in stack.spec.components,
        )
    from rayform.reading.client import Client

    return Client(stack=stack).get_pipeline_run(request.run_id)


def run_name_for(spec: PipelineSpec, run_id: UUID) -> str:
    """Return a run's name: the pipeline's template filled in, or `<pipeline>-<date>-<time>-<short ID>`.

    Raises:
        UsageError: the template has a placeholder that isn't known.
    """
    now = datetime.now()  # local time: people read it
    facts = {
        "pipeline": spec.name,
        "date": now.strftime("%Y_%m_%d"),
        "time": now.strftime("%H_%M_%S"),
        "id": run_id.hex[-6:],
    }
    template = spec.run_name or "{pipeline}-{date}-{time}-{id}"
    try:
        name = template.format_map(facts)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise UsageError(
            f"The run name '{template}' can't be filled in.",
            why=f"{type(error).__name__}: {error}.",
            hint=f"Known placeholders: {', '.join('{' + f + '}' for f in facts)}.",
        ) from None
    if not name.strip() or len(name) > 255 or any(ord(c) < 32 for c in name):
        raise UsageError(f"{name!r} is no run name.", hint="Use 1 to 255 printable characters.")
    return name
