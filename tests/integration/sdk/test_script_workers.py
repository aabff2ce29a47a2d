"""Scripts whose steps are called plainly, and run by Rayform: what they return is the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "support" / "scripts"
_OTHERS = ("both_ways", "dynamic_checks", "dynamic_loop", "neighbour", "reads_types")
NAMES = sorted(path.stem for path in SCRIPTS.glob("*.py") if path.stem not in _OTHERS)
SLOW = ("loaders",)
ARGUMENTS = ["--epochs", "3", "rest"]
SECONDS = 90


def started(folder: Path, how: str, target: list[str], **variables: str) -> str:
    """Run a program in a copy of the scripts' folder; return what its steps returned."""
    place = folder / how
    folder.mkdir(exist_ok=True)
    shutil.copytree(SCRIPTS, place, ignore=shutil.ignore_patterns("__pycache__"))
    outcome = folder / f"{how}.json"
    environment = {
        **os.environ,
        "HOW": how.partition("-")[0],
        "OUTCOME": str(outcome),
        "RAYFORM_HOME": str(folder / "home"),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, *target],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return outcome.read_text().replace(str(place), "/place")


def marked(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("name", [marked(name) for name in NAMES])
def test_steps_of_a_script_return_what_plain_calls_return(name: str, tmp_path: Path) -> None:
    """A run returns the same values, of the same types, as plain calls of the same functions."""
    target = [f"{name}.py", *ARGUMENTS]
    assert started(tmp_path, "run", target) == started(tmp_path, "direct", target)


@pytest.mark.timeout(2 * SECONDS)
def test_types_of_a_script_load_where_another_file_imports_it(tmp_path: Path) -> None:
    """What a script stored loads as the imported module's types, and as another type if the caller asks for one."""
    started(tmp_path, "run", ["stores_types.py"])
    environment = {**os.environ, "RAYFORM_HOME": str(tmp_path / "home")}
    for target in (["reads_types.py"], ["-m", "reads_types"]):
        done = subprocess.run(
            [sys.executable, *target],
            cwd=tmp_path / "run",
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.stdout == "loaded\n", done.stderr


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("name", ["package.train", "package"])
def test_steps_of_a_module_return_what_plain_calls_return(name: str, tmp_path: Path) -> None:
    """The same holds for a module of a package that `python -m` starts."""
    target = ["-m", name, *ARGUMENTS]
    assert started(tmp_path, "run", target) == started(tmp_path, "direct", target)


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("name", ["pools", "main_module", "own_types", "seeds"])
def test_spawned_workers_return_what_plain_calls_return(name: str, tmp_path: Path) -> None:
    """The same holds if workers are interpreters of their own."""
    target = [f"{name}.py", *ARGUMENTS]
    spawned = started(tmp_path, "run", target, RAYFORM_START_METHOD="spawn")
    assert spawned == started(tmp_path, "direct", target)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(5 * SECONDS)
def test_workers_of_ray_return_what_plain_calls_return(tmp_path: Path) -> None:
    """On a Ray of this machine the same holds, for arguments, `__main__`, own types and pools that fork."""
    environment = {**os.environ, "RAYFORM_HOME": str(tmp_path / "home")}
    for arguments in (
        ["orchestrator", "register", "rays", "--flavor", "ray", "--cpus", "2"],
        ["stack", "register", "rays", "--orchestrator", "rays"],
    ):
        command = [sys.executable, "-m", "rayform.cli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for name in ("argparse_at_top", "main_module", "own_types", "pools_without_guard"):
        target = [f"{name}.py", *ARGUMENTS]
        direct = started(tmp_path / name, "direct", target)
        run = started(
            tmp_path / name, "run", target, RAYFORM_STACK="rays", RAYFORM_HOME=str(tmp_path / "home")
        )
        assert run == direct


@pytest.mark.timeout(2 * SECONDS)
def test_results_depend_on_the_command_line_that_a_script_reads(tmp_path: Path) -> None:
    """A constant from `sys.argv` is part of the cache key; what only the guard's block reads isn't."""
    for argument in ("3", "4"):
        folder = tmp_path / argument
        shared = str(tmp_path / "home")
        run = started(folder, "run", ["argv_without_guard.py", "--epochs", argument], RAYFORM_HOME=shared)
        assert f"int {argument}" in run
