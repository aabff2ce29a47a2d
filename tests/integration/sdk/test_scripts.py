"""Scripts as people write them: wherever they lie, however they start, and when they fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import Command

BODY = """
from dataclasses import dataclass
from typing import Annotated
from rayform import pipeline, step

@dataclass
class Point:
    x: int

@step
def make(x: int) -> Annotated[Point, "point"]:
    print("making", x)
    return Point(x)

@step
def take(point: Point) -> int:
    return point.x + 1

@pipeline
def flow(x: int = 1) -> None:
    take(make(x))
"""
GUARDED = (
    BODY
    + """
if __name__ == "__main__":
    run = flow()
    print("value", run.steps["take"].output.load(), run.steps["make"].outputs["point"].load().x)
"""
)
UNGUARDED = (
    BODY
    + """
run = flow()
print("value", run.steps["take"].output.load(), run.steps["make"].outputs["point"].load().x)
"""
)
FAILING = """
from rayform import pipeline, step

def helper(n):
    return 1 / n

@step
def zero() -> int:
    return 0

@step
def divide(n: int) -> float:
    return helper(n)

@pipeline
def flow() -> None:
    divide(zero())

if __name__ == "__main__":
    flow()
"""


def runs(command: Command) -> list[dict[str, object]]:
    """Return all runs, newest first."""
    listed = json.loads(command("rayform", "runs", "list", "--json").stdout)
    items: list[dict[str, object]] = listed["items"] if isinstance(listed, dict) else listed
    return items


@pytest.mark.parametrize("text", [GUARDED, UNGUARDED], ids=["guarded", "unguarded"])
def test_a_script_runs_with_python_and_with_rayform_run(tmp_path: Path, command: Command, text: str) -> None:
    """Guarded or not, a script runs its pipeline exactly once, and its own types load again."""
    (tmp_path / "job.py").write_text(text)
    done = command("python", "job.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "value 2 1\n"
    assert "[make] making 1" in done.stderr
    assert len(runs(command)) == 1
    done = command("rayform", "run", "job.py", "-p", "x=5", "--explain-cache")
    assert done.returncode == 0, done.stderr
    assert "take  6" in done.stderr and "miss" in done.stderr
    assert len(runs(command)) == 2


def test_a_script_runs_from_another_folder_with_modules_beside_it(tmp_path: Path, command: Command) -> None:
    """A script imports modules next to it, wherever it is started from."""
    folder = tmp_path / "deep" / "project"
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "flows.py").write_text(BODY)
    (folder / "job.py").write_text("from parts.flows import flow\nprint(flow().status.value)\n")
    done = command("python", "deep/project/job.py")
    assert (done.returncode, done.stdout) == (0, "completed\n"), done.stderr
    done = command("rayform", "run", "parts.flows:flow", folder=folder)
    assert done.returncode == 0, done.stderr


def test_code_without_a_file_runs(tmp_path: Path, command: Command) -> None:
    """Functions of a notebook or an interactive session travel to the workers by value."""
    done = command("python", "-c", UNGUARDED.replace("@dataclass\nclass Point:\n    x: int\n", "")
                   .replace("Point(x)", "x").replace("Point", "int").replace("point.x", "point")
                   .replace(".load().x", ".load()"))  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "value 2 1\n"), done.stderr


def test_a_module_that_calls_a_pipeline_when_imported_is_told(tmp_path: Path, command: Command) -> None:
    """A call at the top of an imported module would start runs from runs; it is an error with the fix."""
    (tmp_path / "inner.py").write_text(BODY + "\nif __name__ != '__main__':\n    flow()\n")
    (tmp_path / "job.py").write_text(
        "import inner\nfrom rayform import pipeline, step\n"
        "@step\ndef one() -> int:\n    return 1\n"
        "@pipeline\ndef outer() -> None:\n    one()\nouter()\n"
    )
    done = command("python", "job.py")
    assert done.returncode == 1
    assert "called while its module is imported" in done.stderr and '__name__ == "__main__"' in done.stderr


def test_a_failed_step_shows_the_persons_frames_alone(tmp_path: Path, command: Command) -> None:
    """The traceback has the step's own frames and none of Rayform's; the script ends with code 1."""
    (tmp_path / "job.py").write_text(FAILING)
    done = command("python", "job.py")
    assert done.returncode == 1
    assert "in divide\n" in done.stderr and "in helper\n" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "rayform/" not in done.stderr and "rayform_runtime" not in done.stderr
    assert "rayform runs resume" in done.stderr


def test_a_failed_run_is_resumed_and_a_step_spun(tmp_path: Path, command: Command) -> None:
    """After mending the code a step can be tried alone, and the same run goes on where it ended."""
    (tmp_path / "job.py").write_text(FAILING)
    assert command("rayform", "run", "job.py").returncode == 1
    failed = runs(command)[0]
    name = str(failed["name"])
    (tmp_path / "job.py").write_text(FAILING.replace("1 / n", "1 / (n + 1)"))
    spun = command("rayform", "spin", name, "divide")
    assert spun.returncode == 0 and "divide  1.0" in spun.stderr, spun.stderr
    resumed = command("rayform", "runs", "resume", name)
    assert resumed.returncode == 0, resumed.stderr
    assert "zero" not in [line.split()[0] for line in resumed.stderr.splitlines() if line.endswith("started")]
    again = {r["name"]: r for r in runs(command)}
    assert again[name]["id"] == failed["id"] and again[name]["status"] == "completed"
    wrong = command("rayform", "spin", name, "divid")
    assert wrong.returncode == 3 and "Did you mean 'divide'" in wrong.stderr


def test_one_instance_of_a_mapped_step_is_spun(tmp_path: Path, command: Command) -> None:
    """`key[index]`, as errors name it, runs that instance alone; one that isn't there names those that are."""
    mapped = FAILING.replace("-> int:\n    return 0", "-> list[int]:\n    return [1, 0, 4]")
    (tmp_path / "job.py").write_text(mapped.replace("divide(zero())", "divide.map(zero())"))
    assert "Step 'divide[1]' raised" in command("rayform", "run", "job.py").stderr
    name = str(runs(command)[0]["name"])
    spun = command("rayform", "spin", name, "divide[2]")
    assert spun.returncode == 0 and "divide[2]  completed" in spun.stderr, spun.stderr
    assert "divide[0]" not in spun.stderr and "divide[1]" not in spun.stderr
    cases = {
        "divide[3]": (3, "Did you mean 'divide[2]'"),
        "divid[2]": (3, "Did you mean 'divide'"),
        "zero[0]": (2, "Step 'zero' isn't mapped"),
    }
    for step, (code, text) in cases.items():
        done = command("rayform", "spin", name, step)
        assert (done.returncode, text in done.stderr) == (code, True), (step, done.stderr)
    assert len(runs(command)) == 2


def test_rayform_run_tells_wrong_input(tmp_path: Path, command: Command) -> None:
    """Wrong parameters, configurations and names are usage errors with exit code 2 or 3, and nothing runs."""
    (tmp_path / "job.py").write_text(GUARDED)
    (tmp_path / "wrong.yaml").write_text("paramters:\n  x: 1\n")
    cases = {
        ("job.py", "-p", "x=many"): (2, "Parameter 'x' of pipeline 'flow' can't be 'many'"),
        ("job.py", "-p", "y=1"): (3, "no parameter 'y' of pipeline 'flow'"),
        ("job.py", "-p", "x"): (2, "Write -p name=value"),
        ("job.py", "--config", "wrong.yaml"): (2, "wrong.yaml:1: unknown key 'paramters'. Did you mean"),
        ("jop.py",): (3, "Did you mean 'job.py'"),
        ("job.py:flaw",): (3, "Did you mean 'flow'"),
        ("job.py", "--stack", "nowhere"): (3, "nowhere"),
    }
    for arguments, (code, text) in cases.items():
        done = command("rayform", "run", *arguments)
        assert (done.returncode, text in done.stderr) == (code, True), (arguments, done.stderr)
    assert runs(command) == []


@pytest.mark.slow
def test_the_digits_example_trains_promotes_and_predicts(command: Command) -> None:
    """The example's three pipelines run, and inference reads digits with the promoted model."""
    example = Path(__file__).parents[3] / "examples" / "digits"
    done = command("python", str(example / "run.py"))
    assert done.returncode == 0, done.stderr
    assert "Accuracy: 0.99" in done.stdout and "20 of 20 digits read rightly" in done.stdout
    done = command(
        "rayform", "run", f"{example / 'run.py'}:training", "--config", str(example / "training.yaml"),
        "--explain-cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = command("rayform", "run", str(example / "network.py"), "-p", "epochs=60")
    assert done.returncode == 0 and "network_accuracy  0.9" in done.stderr, done.stderr
    models = json.loads(command("rayform", "model", "versions", "digits", "--json").stdout)
    versions = models["items"] if isinstance(models, dict) else models
    assert [v["stage"] for v in versions].count("production") == 1


@pytest.mark.slow
def test_the_starter_template_works(tmp_path: Path, command: Command) -> None:
    """`rayform init --template starter` makes a project that trains, promotes, predicts, and whose test passes."""
    done = command("rayform", "init", "wines", "--template", "starter")
    assert done.returncode == 0, done.stderr
    project = tmp_path / "wines"
    done = command("python", "run.py", folder=project)
    assert done.returncode == 0 and "Accuracy: " in done.stdout, done.stderr
    assert command("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=project).returncode == 0
    again = command("rayform", "init", "wines", "--template", "starter")
    assert again.returncode == 4 and "Nothing was written" in again.stderr


def test_the_minimal_project_works(tmp_path: Path, command: Command) -> None:
    """`rayform init` writes one small pipeline that runs."""
    assert command("rayform", "init").returncode == 0
    done = command("python", "run.py")
    assert (done.returncode, done.stdout) == (0, "HELLO, WORLD!\n"), done.stderr
