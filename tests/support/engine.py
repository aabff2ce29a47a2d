"""What the engine's tests run: a small project on disk, a local stack, and hand-written pipelines over both."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from rayform_core.ids import new_id
from rayform_runtime.artifacts.values import load_value
from rayform_runtime.catalog.entities import StepRun
from rayform_runtime.components import Stack, StackSpec
from rayform_runtime.execution.interface import RunEvent, RunOutcome, RunRequest
from rayform_runtime.spec import (
    Input,
    MapInput,
    OutputSpec,
    PipelineSpec,
    SourceRef,
    StepInput,
    StepSpec,
    ValueInput,
)

PROJECT = """
import os, signal, subprocess, sys, threading, time
from pathlib import Path
from rayform_runtime.context import get_step_context

def constant(value: int = 1) -> int:
    return value

def add(x: int, y: int = 1) -> int:
    return x + y

def slow_add(x: int, y: int = 1, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return x + y

def numbers(count: int) -> list[int]:
    return list(range(count))

def square(x: int) -> int:
    return x * x

def total(values: list[int]) -> int:
    return sum(values)

def pair(x: int) -> tuple[int, str]:
    return x, str(x)

def say(text: str) -> int:
    print(text)
    print("to stderr", file=sys.stderr)
    os.system("echo from a child")
    return len(text)

def fail(x: int = 0, message: str = "no good") -> int:
    def deeper():
        raise ValueError(message)
    return deeper()

def chained_failure() -> int:
    try:
        {}["missing"]
    except KeyError as error:
        raise RuntimeError("outer") from error
    return 0

def count_and_fail(path: str, times: int) -> int:
    with open(path, "a") as file:
        file.write("x")
    tries = len(Path(path).read_text())
    if tries <= times:
        raise ConnectionError(f"try {tries}")
    return tries

def touch(folder: str, name: str, x: int = 0) -> str:
    (Path(folder) / f"{name}-{time.monotonic_ns()}").touch()
    return name

def touch_then_fail(folder: str, name: str, flag: str) -> str:
    touch(folder, name)
    if Path(flag).exists():
        raise ValueError("the flag is there")
    return name

def look_back(path: str, upstream: str, x: int) -> str:
    context = get_step_context()
    Path(path).touch()
    steps = {s.key: s for s in context.stack.catalog.list_step_runs(context.run_id)}
    return f"{steps[upstream].status} {steps[context.step_name].status}"

def note(kind: str) -> int:
    context = get_step_context()
    if kind == "tags":
        context.add_output_tags(["two\\nlines"])
    elif kind == "step metadata":
        context.add_step_metadata({"k": object()})
    else:
        context.add_run_metadata({"k": object()})
    return 1

def sleep(seconds: float, x: int = 0) -> float:
    time.sleep(seconds)
    return seconds

def sleep_if(flag: str, seconds: float, x: int = 0) -> int:
    if Path(flag).exists():
        time.sleep(seconds)
    return x

def leave_child(path: str) -> int:
    child = subprocess.Popen(["sleep", "600"])
    Path(path).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)
    return 0

def fork_and_return() -> str:
    if os.fork() == 0:
        return "child"
    os.wait()
    return "parent"

def fork_and_raise() -> str:
    child = os.fork()
    if child == 0:
        raise ValueError("only in the child")
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

def spoil(folder: str) -> str:
    os.chdir(folder)
    os.umask(0o777)
    os.environ.pop("KEEP", None)
    os.environ["PATH"] = "/nowhere"
    os.environ["ADDED"] = "yes"
    sys.path.clear()
    sys.stdout = sys.stderr = None
    return folder

def look_around(x: str = "") -> dict[str, str]:
    print("still heard")
    mask = os.umask(0)
    os.umask(mask)
    names = ("KEEP", "PATH", "ADDED")
    return {"folder": os.getcwd(), "mask": oct(mask), **{n: os.environ.get(n, "") for n in names}}

def leave_child_and_end() -> int:
    return subprocess.Popen(["sleep", "600"]).pid

def exit_hard(x: int = 0) -> int:
    os._exit(3)

def raise_exit() -> int:
    sys.exit(5)

def die_by(signum: int) -> int:
    os.kill(os.getpid(), signum)
    time.sleep(10)
    return 0

def big(size: int) -> bytes:
    return os.urandom(size)

def size_of(data: bytes) -> int:
    return len(data)

def environment(name: str) -> str:
    return os.environ.get(name, "")

def process() -> int:
    return os.getpid()

def parallel_peak(folder: str, x: int = 0) -> int:
    me = Path(folder) / f"{os.getpid()}-{x}"
    me.touch()
    time.sleep(0.15)
    peak = len(list(Path(folder).iterdir()))
    me.unlink()
    return peak

class Unknown:
    pass

def unknown() -> Unknown:
    return Unknown()

def metadata() -> int:
    context = get_step_context()
    context.add_output_metadata({"accuracy": 0.5})
    context.add_output_tags(["good", "good"])
    context.add_step_metadata({"said": "step"})
    context.add_run_metadata({"said": "run"})
    if context.model_version_id:
        context.add_model_metadata({"said": "model"})
    print(context.pipeline.name, context.step_name, context.run_name, context.attempt, context.parameters)
    return 1

def metadata_then_fail() -> int:
    metadata()
    raise ValueError("no good")

def when(moment: "datetime", days: "timedelta") -> str:
    return (moment + days).isoformat()

from datetime import datetime, timedelta
when.__annotations__.update(moment=datetime, days=timedelta)

def on_success() -> None:
    Path(os.environ["HOOKS"]).open("a").write("success\\n")

def on_failure(error) -> None:
    Path(os.environ["HOOKS"]).open("a").write(f"failure {type(error).__name__}: {error}\\n")

def broken_hook() -> None:
    raise RuntimeError("hook")
"""


def value(v: Any) -> ValueInput:
    return ValueInput(value=v)


def out(step: str, output: str = "output") -> StepInput:
    return StepInput(step=step, output=output)


def each(step: str, output: str = "output") -> MapInput:
    return MapInput(step=step, output=output)


@dataclass
class Engine:
    """Builds and runs pipelines over one project and one stack in `folder`."""

    folder: Path
    stack: Stack
    events: list[RunEvent] = field(default_factory=list)

    @classmethod
    def at(cls, folder: Path, **orchestrator: Any) -> Engine:
        project = folder / "project"
        project.mkdir(exist_ok=True, parents=True)
        (project / f"steps_of_{folder.name}.py").write_text(PROJECT)
        return cls(folder, Stack(stack_spec(folder, **orchestrator)))

    @property
    def module(self) -> str:
        return f"steps_of_{self.folder.name}"

    def source(self, function: str) -> SourceRef:
        file = self.folder / "project" / f"{self.module}.py"
        return SourceRef(module=self.module, qualname=function, file=str(file))

    def step(
        self,
        key: str,
        function: str,
        inputs: Mapping[str, Input] | None = None,
        *,
        outputs: Sequence[str] = ("output",),
        **options: Any,
    ) -> StepSpec:
        options.setdefault("code_digest", f"digest of {function}")
        return StepSpec(
            key=key,
            name=function,
            source=self.source(function),
            inputs=dict(inputs or {}),
            outputs=[OutputSpec(name=o, artifact_name=f"p::{key}::{o}") for o in outputs],
            **options,
        )

    def pipeline(self, *steps: StepSpec, **options: Any) -> PipelineSpec:
        return PipelineSpec(
            name="p",
            source=self.source("p"),
            steps=list(steps),
            code_root=str(self.folder / "project"),
            **options,
        )

    def run(self, spec: PipelineSpec, **request: Any) -> RunOutcome:
        run_id = request.pop("run_id", None) or new_id()
        self.events = []
        listener = request.pop("listener", None)

        def listen(event: RunEvent) -> None:
            self.events.append(event)
            if listener is not None:
                listener(event)

        run_request = RunRequest(run_id, request.pop("run_name", f"run-{run_id}"), spec, **request)
        return self.stack.orchestrator.run(run_request, self.stack, listen)

    def steps(self, run_id: UUID) -> dict[str, StepRun]:
        """Return the run's step runs by key, with `[index]` after the keys of mapped steps."""
        return {
            s.key if s.map_index is None else f"{s.key}[{s.map_index}]": s
            for s in self.stack.catalog.list_step_runs(run_id)
        }

    def statuses(self, run_id: UUID) -> dict[str, str]:
        return {name: str(s.status) for name, s in self.steps(run_id).items()}

    def value_of(self, run_id: UUID, step: str, output: str = "output") -> Any:
        version_id = self.steps(run_id)[step].outputs[output][0]
        version = self.stack.catalog.get_artifact_versions([version_id])[version_id]
        return load_value(self.stack.artifact_store, version.uri, digest=version.digest)

    def log_of(self, run_id: UUID, step: str) -> str:
        from rayform_runtime.execution.worker.logs import read_log

        return read_log(self.steps(run_id)[step].log_uri, self.stack.artifact_store).decode()


def stack_spec(folder: Path, **orchestrator: Any) -> StackSpec:
    """Return a local stack whose catalog and store lie in `folder`."""

    def component(kind: str, flavor: str, **config: Any) -> dict[str, Any]:
        return {"name": flavor, "kind": kind, "flavor": flavor, "config": config}

    return StackSpec.model_validate(
        {
            "name": "test",
            "components": {
                "orchestrator": component("orchestrator", "local", **orchestrator),
                "artifact-store": component("artifact-store", "local", path=str(folder / "store")),
                "catalog": component("catalog", "sqlite", path=str(folder / "catalog.db")),
            },
        }
    )


def script(text: str) -> str:
    return textwrap.dedent(text).lstrip()


Listener = Callable[[RunEvent], None]
