"""`run_pipeline`: runs a pipeline call. Workers start before anything heavy is imported here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rayform.running_step import running_step
from rayform_core.errors import UsageError
from rayform_core.startup import without_pydantic_plugins
from rayform_runtime.usercode.scripts import (
    PipelineCalledWhileLoading,
    is_importing_main,
    is_loading,
    run_depth,
    script_being_loaded,
)

if TYPE_CHECKING:
    from rayform.authoring.pipelines import Pipeline
    from rayform.reading.views import RunView

__all__ = ["RunOptions", "newest_run", "run_pipeline"]

_MAX_DEPTH = 3
"""A step may start a program that runs a pipeline, whose steps may do the same; deeper nesting is a mistake."""
_USUAL_MODULES = ("rayform.authoring.steps", "rayform.authoring.pipelines", "rayform_runtime.components")
"""Modules that every user's module imports; workers import them early."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to launch a run, in addition to what the pipeline says.

    Args:
        parameters: values that override code and configuration file (`-p name=value`).
        config_path: configuration file; used instead of the pipeline's own.
        stack: stack to run on; by default the active one.
        no_cache: run every step.
        explain_cache: print for each step why it was, or wasn't, taken from the cache.
        detach: return once the run is accepted, if the stack's orchestrator can go on by itself.
    """

    parameters: Mapping[str, object] = field(default_factory=dict)
    config_path: str | Path | None = None
    stack: str | None = None
    no_cache: bool = False
    explain_cache: bool = False
    detach: bool = False


def run_pipeline(
    pipeline: Pipeline[..., object],
    args: tuple[object, ...] = (),
    kwargs: Mapping[str, object] | None = None,
    options: RunOptions | None = None,
) -> RunView:
    """Run a pipeline on a stack, show its progress, wait for its end, and return the run.

    Args:
        pipeline: the pipeline.
        args, kwargs: the call's arguments.
        options: how to launch the run; by default on the active stack.

    Raises:
        PipelineFailedError: a step failed, or the run was stopped.
        UsageError: the pipeline, an argument or the configuration is wrong, or the call is in a worker; nothing
            ran.
    """
    _refuse_within_a_worker(pipeline.name)
    options = options or RunOptions()
    if options.stack is None and os.environ.get("RAYFORM_STACK", "default") == "default":
        # Most likely a local run. If another stack turns out to be active, `launch` discards these workers.
        from rayform_runtime.execution.local.early_start import start_early

        start_early(_USUAL_MODULES)
    with without_pydantic_plugins():
        from rayform.launching.execution import launch

    return launch(pipeline, args, kwargs or {}, options)


def newest_run(pipeline: str) -> RunView:
    """Return the newest run of a pipeline.

    Raises:
        NotFoundError: the pipeline has no run.
    """
    from rayform.reading.client import Client

    return Client().get_pipeline(pipeline).last_run


def _refuse_within_a_worker(name: str) -> None:
    """Keep a pipeline call in a worker from starting a run.

    Raises:
        PipelineCalledWhileLoading: the call stands at the top level of a script that is loaded for its
            functions; that ends the loading.
        UsageError: the call is in a running step, or in a module that is imported for its functions.
    """
    if script_being_loaded() is not None:
        raise PipelineCalledWhileLoading
    if is_loading() or is_importing_main():
        raise UsageError(
            f"Pipeline '{name}' is called while its module is imported.",
            why="A worker imports the module for its steps, and the call would start another run there.",
            hint='Put the call under `if __name__ == "__main__":`, or into a function.',
        )
    if run_depth() >= _MAX_DEPTH:
        raise UsageError(
            f"Pipeline '{name}' is called {_MAX_DEPTH} runs deep: each of these runs started the next.",
            why="Runs that keep starting runs would fill the machine.",
            hint='Put the call under `if __name__ == "__main__":`.',
        )
    if running_step() is not None:
        raise UsageError(
            f"Pipeline '{name}' is called in a running step.",
            why="The inner run would wait for workers that the outer run holds.",
            hint="Call it in another pipeline's body: it becomes part of that pipeline.",
        )
