"""Makes the tasks that the scheduler hands to the executor."""

from __future__ import annotations

from uuid import UUID

from rayform_core.ids import new_id
from rayform_runtime.components import StackSpec
from rayform_runtime.execution.interface import (
    DeadStep,
    HookTask,
    PipelineFacts,
    RunRequest,
    StepFacts,
    StepTask,
)
from rayform_runtime.execution.scheduling.graph import Instance
from rayform_runtime.spec import SourceRef
from rayform_runtime.usercode.code_ref import CodeRef
from rayform_runtime.usercode.program import Program

__all__ = ["TaskMaker"]


class TaskMaker:
    """Makes the tasks of one run.

    Args:
        request: the run.
        stack: each worker builds its components from it.
        awaits_record: whether a step may start before its start is recorded.
    """

    def __init__(self, request: RunRequest, stack: StackSpec, *, awaits_record: bool) -> None:
        spec = request.spec
        self._run_id = str(request.run_id)
        self._run_name = request.run_name
        self._stack = stack.model_dump_json()
        self._pipeline = PipelineFacts(
            spec.name,
            spec.parameters,
            spec.environment,
            spec.import_paths,
            debug=request.debug,
            program=Program.of(spec.program),
            materializers=[
                f"{output.materializer.module}:{output.materializer.qualname}"
                for step in spec.steps
                for output in step.outputs
                if output.materializer is not None
            ],
        )
        self._code_root = spec.code_root
        self._awaits_record = awaits_record

    def of_step(self, instance: Instance, model: UUID | None) -> StepTask:
        """Return the task for the next try of an instance.

        Args:
            instance: its `output_ids` and `tries` are those of this try.
            model: the model version of its step.
        """
        return StepTask(
            run_id=self._run_id,
            run_name=self._run_name,
            step_run_id=str(instance.id),
            step=instance.node.facts,
            stack=self._stack,
            pipeline=self._pipeline,
            code_root=self._code_root,
            map_index=instance.map_index,
            inputs=instance.task_inputs(),
            output_ids={name: str(output) for name, output in instance.output_ids.items()},
            attempt=instance.attempt,
            is_final_attempt=instance.tries > instance.node.spec.retry.max_retries,
            model_version_id=str(model) if model else None,
            awaits_record=self._awaits_record,
        )

    def of_hook(
        self, hook: SourceRef, error: str | None, dead: Instance | None = None, model: UUID | None = None
    ) -> HookTask:
        """Return the task that calls a hook; the arguments are those of `Hooks.call`."""
        of_step_run = None
        if dead is not None:
            spec = dead.node.spec
            of_step_run = DeadStep(str(dead.id), spec.key, spec.name, dead.attempt)
        return HookTask(
            run_id=self._run_id,
            run_name=self._run_name,
            step_run_id=str(new_id()),
            step=StepFacts(f"{self._pipeline.name} hook", hook.qualname, CodeRef.of(hook)),
            stack=self._stack,
            pipeline=self._pipeline,
            code_root=self._code_root,
            error=error,
            of_step_run=of_step_run,
            model_version_id=str(model) if model else None,
            map_index=dead.map_index if dead is not None else None,
        )
