"""Worker functions that replace a step's own code; the step's parameters say what they do."""

import os
import signal
import sys
import time
from pathlib import Path

from rayform_runtime.catalog.entities import StepError, StepStatus
from rayform_runtime.execution.interface import (
    PipelineFacts,
    StepFacts,
    StepResources,
    StepResult,
    StepTask,
    TaskInput,
)
from rayform_runtime.usercode.code_ref import CodeRef


def run(task: StepTask) -> StepResult:
    act = task.inputs["act"].value
    times = int(task.inputs["times"].value) if "times" in task.inputs else 0
    folder = Path(task.inputs["folder"].value) if "folder" in task.inputs else None
    tries = 0
    if folder is not None:
        tries = len(list(folder.iterdir()))
        (folder / f"{tries}-{os.getpid()}").touch()
    if act == "print":
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.write(1, b"from a library\n")
    elif act == "kill" and tries < times:
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "exit":
        print("last words", flush=True)
        os._exit(7)
    elif act == "fork":
        child = os.fork()
        if child == 0:
            os._exit(42)
        os.waitpid(child, 0)
        if tries < times:
            os.kill(os.getpid(), signal.SIGKILL)
    elif act == "close":
        sys.stdout.close()
    elif act == "sleep":
        print("sleeping", flush=True)
        time.sleep(60)
    elif act == "raise":
        error = StepError("ValueError", "no good")
        return StepResult(task.step_run_id, StepStatus.FAILED, error=error)
    return StepResult(task.step_run_id, StepStatus.COMPLETED, metadata={"pid": os.getpid(), "tries": tries})


def task(
    key: str = "step", *, id: str | None = None, timeout: float | None = None, resources=None, **inputs
) -> StepTask:
    return StepTask(
        run_id="run",
        run_name="run",
        step_run_id=id or f"{key}-{time.monotonic_ns()}",
        step=StepFacts(
            key,
            key,
            CodeRef("module", key),
            timeout=timeout,
            resources=StepResources(**(resources or {"cpus": 1})),
        ),
        inputs={name: TaskInput(value=value) for name, value in inputs.items()},
        output_ids={},
        stack="{}",
        pipeline=PipelineFacts(),
    )
