"""The first milliseconds of a pipeline call: workers start before anything heavy is imported here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rayform.running_step import running_step
from rayform_core.errors import UsageError
from rayform_core.startup import without_pydantic_plugins
from rayform_runtime.usercode.scripts import (
    PipelineCalledWhileLoading,
    is_loading,
    run_depth,
    script_being_loaded,
)

if TYPE_CHECKING:
    from rayform.authoring.pipelines import Pipeline
    from rayform.launching.run import RunOptions
    from rayform.reading.views import RunView

__all__ = ["refuse_within_a_worker", "run_pipeline"]

_DEEPEST = 3
"""A step may start a program that runs a pipeline of its own, and that one too; deeper is an accident."""
_USUAL_MODULES = ("rayform.authoring.steps", "rayform.authoring.pipelines", "rayform_runtime.components")
"""What a person's module brings in when a worker imports it."""


def run_pipeline(
    pipeline: Pipeline[Any, Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
) -> RunView:
    """Run a pipeline; see `rayform.launching.run.run_pipeline`, which does it."""
    refuse_within_a_worker(pipeline.name)
    if (options is None or options.stack is None) and os.environ.get("RAYFORM_STACK", "default") == "default":
        # Most likely a local run. A registered stack that is active otherwise lets go of it again.
        from rayform_runtime.execution.local.early_start import start_early

        start_early(_USUAL_MODULES)
    with without_pydantic_plugins():
        from rayform.launching import run as running

    return running.run_pipeline(pipeline, args, kwargs, options)


def refuse_within_a_worker(name: str) -> None:
    """Keep a pipeline call in a worker from starting a run.

    Raises:
        PipelineCalledWhileLoading: the call stands at the top level of a script that is loaded for its
            functions; that ends the loading.
        UsageError: the call is in a running step, or in a module that is imported for its functions.
    """
    if script_being_loaded() is not None:
        raise PipelineCalledWhileLoading
    if is_loading():
        raise UsageError(
            f"Pipeline '{name}' is called while its module is imported.",
            why="A worker imports the module for its steps, and the call would start another run there.",
            hint='Put the call under `if __name__ == "__main__":`, or into a function.',
        )
    if run_depth() >= _DEEPEST:
        raise UsageError(
            f"Pipeline '{name}' is called within {_DEEPEST} runs that started one another.",
            why="Runs that start runs without end would fill the machine.",
            hint='Put the call under `if __name__ == "__main__":`.',
        )
    if running_step() is not None:
        raise UsageError(
            f"Pipeline '{name}' is called in a running step.",
            why="A run within a run would wait for workers that the outer run holds.",
            hint="Call it in another pipeline's body: it becomes part of that pipeline.",
        )
