"""Dynamic pipelines on a Ray of this machine, and where the project's folder is another one, as on a head."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "support" / "scripts"

ON_A_HEAD = """
import sys
from pathlib import Path
from rayform.stacks.open import open_stack
from rayform_runtime.execution.scheduling.scheduler import Scheduler
from rayform_runtime.execution.worker.in_process_executor import InProcessExecutor
from rayform_runtime.execution.on_ray.event_file import HeadRequest

request = HeadRequest.model_validate_json(Path(sys.argv[1]).read_text()).request
stack = open_stack(None)
folder = Path(sys.argv[2])
outcome = Scheduler(
    request, stack, InProcessExecutor(stack), lambda event: None, code_folder=lambda: folder
).run()
print(outcome.status, outcome.body_error, outcome.errors)
stack.close()
"""


@pytest.mark.ray
@pytest.mark.slow
def test_dynamic_pipelines_run_on_ray(tmp_path: Path) -> None:
    """Loops, futures, maps and failures that are caught do the same when Ray runs the steps."""
    environment = {**os.environ, "RAYFORM_HOME": str(tmp_path / "home"), "RAYFORM_PROGRESS": "plain"}
    for arguments in (
        ["orchestrator", "register", "rays", "--flavor", "ray", "--cpus", "2"],
        ["stack", "register", "rays", "--orchestrator", "rays"],
    ):
        subprocess.run(
            [sys.executable, "-m", "rayform.cli", *arguments], env=environment, check=True, timeout=60
        )
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "dynamic_checks.py")],
        env={**environment, "RAYFORM_STACK": "rays"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["completed"] * 3


def test_the_body_is_loaded_from_the_folder_that_the_scheduler_has(tmp_path: Path) -> None:
    """A scheduler on another machine gets the run as JSON, and loads the body from its own copy of the project."""
    project, there = tmp_path / "laptop" / "project", tmp_path / "head"
    project.mkdir(parents=True)
    (project / "pipes.py").write_text(
        "from pathlib import Path\nfrom rayform import pipeline, step\n\n\n@step\ndef one(x: int) -> int:\n"
        "    return x + 1\n\n\n@pipeline(dynamic=True)\ndef two(paths: tuple[Path, ...]) -> None:\n"
        "    assert paths == (Path('a'),)\n    if one(1).load() == 2:\n        one(2)\n"
    )
    environment = {**os.environ, "RAYFORM_HOME": str(tmp_path / "home")}
    trace = (
        "import sys; from pathlib import Path; from pipes import two\n"
        "from rayform.stacks.open import open_stack; from rayform_core.ids import new_id\n"
        "from rayform_runtime.execution.interface import RunRequest\n"
        "from rayform_runtime.execution.on_ray.event_file import HeadRequest\n"
        "request = RunRequest(new_id(), 'far', two.trace((Path('a'),)))\n"
        "head = HeadRequest(request=request, stack=open_stack(None).spec, events='/tmp/events')\n"
        "print(head.model_dump_json())\n"
    )
    traced = subprocess.run(
        [sys.executable, "-c", trace],
        cwd=project,
        env={**environment, "PYTHONPATH": "."},
        capture_output=True,
    )
    assert traced.returncode == 0, traced.stderr
    request = json.loads(traced.stdout)["request"]
    assert request["spec"]["steps"] == [] and request["spec"]["is_dynamic"]
    (tmp_path / "request.json").write_bytes(traced.stdout)
    shutil.move(str(project), str(there))
    done = subprocess.run(
        [sys.executable, "-c", ON_A_HEAD, str(tmp_path / "request.json"), str(there)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "completed None {}"
